/* SPDX-License-Identifier: MIT */
/* Happy path: read a folder's names, look at each, sort (a folder as if its name ended
 * with a slash: so the files come in the order of their whole paths), visit.
 *
 * Failure modes: what cannot be opened or looked at is told to the visitor; what vanished
 * since the folder was read counts as bad too. A link that leads into a folder above
 * would have no end: told as bad (ELOOP). */
#include "types/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM ((size_t)ER_TREE_DEPTH * (NAME_MAX + 1) + NAME_MAX + 2)

struct entry {
    char *name;
    bool folder;
    int code; /* why it cannot be looked at; 0 = it can */
    int64_t size;
};

struct list {
    struct entry *entries;
    size_t n, room;
};

struct walk {
    const struct er_tree_visitor *v;
    int code;
    int depth;
    struct {
        dev_t dev;
        ino_t ino;
    } above[ER_TREE_DEPTH];
    size_t len; /* of the path */
    char path[PATH_ROOM];
};

/* ---- a folder's names ---- */

static int
by_path(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    size_t n = strlen(a->name), m = strlen(b->name);
    int c = memcmp(a->name, b->name, n < m ? n : m);
    if (c != 0) {
        return c;
    }
    /* one begins with the other: the next byte, or the slash, decides */
    unsigned char p = n > m ? (unsigned char)a->name[m] : a->folder ? '/' : 0;
    unsigned char q = m > n ? (unsigned char)b->name[n] : b->folder ? '/' : 0;
    return (p > q) - (p < q);
}

static void
free_list(struct list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->entries[i].name);
    }
    free(l->entries);
}

/* Adds what is of interest: false when memory is out. */
static bool
add(struct list *l, int fd, const char *name, bool follow)
{
    struct stat st = {0};
    struct entry e = {0};
    if (fstatat(fd, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
        e.code = errno;
    } else if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        return true;
    }
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        struct entry *more = reallocarray(l->entries, room, sizeof *more);
        if (!more) {
            return false;
        }
        l->entries = more;
        l->room = room;
    }
    e.folder = S_ISDIR(st.st_mode);
    e.size = st.st_size;
    e.name = strdup(name);
    if (!e.name) {
        return false;
    }
    l->entries[l->n++] = e;
    return true;
}

/* Reads and sorts: 0, or errno's code. */
static int
read_folder(struct walk *w, DIR *d, struct list *l)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) {
            break;
        }
        const char *name = e->d_name;
        bool dot = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
        if (dot || (name[0] == '.' && !w->v->hidden)) {
            continue;
        }
        if (!add(l, dirfd(d), name, w->v->follow)) {
            return ENOMEM;
        }
    }
    int code = errno;
    if (l->n > 0) {
        qsort(l->entries, l->n, sizeof *l->entries, by_path);
    }
    return code;
}

/* ---- the walk ---- */

static bool walk_folder(struct walk *w, int fd);

static bool
is_above(const struct walk *w, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return false;
    }
    for (int i = 0; i < w->depth; i++) {
        if (w->above[i].dev == st.st_dev && w->above[i].ino == st.st_ino) {
            return true;
        }
    }
    return false;
}

/* The path is the folder's, with its slash. */
static bool
visit_folder(struct walk *w, int in, const char *name)
{
    if (w->v->enter && !w->v->enter(w->v->ctx, w->path)) {
        return true;
    }
    if (w->depth == ER_TREE_DEPTH) {
        return w->v->bad(w->v->ctx, w->path, ENAMETOOLONG);
    }
    int fd = openat(in, name,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | (w->v->follow ? 0 : O_NOFOLLOW));
    if (fd < 0) {
        return w->v->bad(w->v->ctx, w->path, errno);
    }
    if (w->v->follow && is_above(w, fd)) {
        (void)close(fd);
        return w->v->bad(w->v->ctx, w->path, ELOOP);
    }
    return walk_folder(w, fd);
}

static bool
visit(struct walk *w, int fd, const struct entry *e)
{
    size_t len = w->len, n = strlen(e->name);
    bool ok;
    memcpy(w->path + len, e->name, n + 1);
    w->len += n;
    if (e->code != 0) {
        ok = w->v->bad(w->v->ctx, w->path, e->code);
    } else if (e->folder) {
        memcpy(w->path + w->len, "/", 2);
        w->len++;
        ok = visit_folder(w, fd, e->name);
    } else {
        ok = w->v->file(w->v->ctx, fd, e->name, w->path, e->size);
    }
    w->len = len;
    w->path[len] = '\0';
    return ok;
}

static bool
walk_folder(struct walk *w, int fd)
{
    struct list l = {0};
    struct stat st;
    DIR *d = fdopendir(fd);
    if (!d || fstat(fd, &st) != 0) {
        int code = errno;
        (void)(d ? closedir(d) : close(fd));
        return w->v->bad(w->v->ctx, w->path, code);
    }
    w->above[w->depth].dev = st.st_dev;
    w->above[w->depth].ino = st.st_ino;
    w->depth++;
    int code = read_folder(w, d, &l);
    bool ok = code != ENOMEM;
    if (!ok) {
        w->code = ENOMEM;
    } else if (code != 0) {
        ok = w->v->bad(w->v->ctx, w->path, code);
    }
    for (size_t i = 0; ok && i < l.n; i++) {
        ok = visit(w, fd, &l.entries[i]);
    }
    w->depth--;
    free_list(&l);
    (void)closedir(d);
    return ok;
}

bool
er_tree_walk(int fd, const struct er_tree_visitor *v, int *out_code)
{
    struct walk *w = calloc(1, sizeof *w);
    *out_code = w ? 0 : ENOMEM;
    if (!w) {
        (void)close(fd);
        return false;
    }
    w->v = v;
    bool ok = walk_folder(w, fd);
    *out_code = w->code;
    free(w);
    return ok;
}
