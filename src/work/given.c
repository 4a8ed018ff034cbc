/* SPDX-License-Identifier: MIT */
/* A text is appended to its file as it comes, in pieces. What fails (a full disk) is
 * kept with the file and told by er_given_check, before the attempt is spawned. Deleting
 * never fails anything: what stays goes when the next worker has the lock. */
#include "work/given.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "work/command.h"

bool
er_given_is_name(const char *name)
{
    static const char begin[] = "ERRAND_";
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    return strncmp(name, begin, sizeof begin - 1) == 0 &&
           name[sizeof begin - 1] != '\0' && strlen(name) <= 64 &&
           name[strspn(name, letters)] == '\0' && !er_command_sets(name);
}

/* ---- the folder ---- */

static void
empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            (void)unlinkat(dirfd(dir), e->d_name, 0);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

void
er_given_begin(struct er_given_folder *f, const char *lock_path)
{
    size_t n = strlen(lock_path);
    if (n > 5 && strcmp(lock_path + n - 5, ".lock") == 0) {
        n -= 5;
    }
    er_given_end(f);
    f->path = er_xasprintf("%.*s.given", (int)n, lock_path);
    empty_folder(f->path);
}

void
er_given_end(struct er_given_folder *f)
{
    er_given_drop_waiting(f);
    if (f->path) {
        (void)rmdir(f->path); /* often it was never made */
    }
    er_free(f->path);
    f->path = NULL;
}

/* ---- files ---- */

static struct er_given *
find(const struct er_given_folder *f, er_task_id task, int attempt, const char *name)
{
    for (struct er_given *g = f->waiting; g; g = g->next) {
        if (g->task == task && g->attempt == attempt && strcmp(g->name, name) == 0) {
            return g;
        }
    }
    return NULL;
}

static struct er_given *
make(struct er_given_folder *f, er_task_id task, int attempt, const char *name)
{
    struct er_given *g = er_xzalloc(sizeof *g);
    g->task = task;
    g->attempt = attempt;
    g->name = er_xstrdup(name);
    g->path = er_xasprintf("%s/%lld-%d.%s", f->path, (long long)task, attempt, name);
    g->next = f->waiting;
    f->waiting = g;
    if (mkdir(f->path, 0700) != 0 && errno != EEXIST) {
        g->failed = errno;
    }
    (void)unlink(g->path);
    return g;
}

static void
append(struct er_given *g, const char *text, size_t n)
{
    int fd = open(g->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || er_write_all(fd, text, n) != 0) {
        g->failed = errno ? errno : EIO;
    }
    er_close(&fd);
}

void
er_given_add(struct er_given_folder *f, er_task_id task, int attempt, const char *name,
             const char *text, size_t n)
{
    if (!f->path) {
        return;
    }
    struct er_given *g = find(f, task, attempt, name);
    if (!g) {
        g = make(f, task, attempt, name);
    }
    if (!g->failed) {
        append(g, text, n);
    }
}

struct er_given *
er_given_take(struct er_given_folder *f, er_task_id task, int attempt)
{
    struct er_given *taken = NULL;
    for (struct er_given **at = &f->waiting; *at;) {
        struct er_given *g = *at;
        if (g->task == task && g->attempt == attempt) {
            *at = g->next;
            g->next = taken;
            taken = g;
        } else {
            at = &g->next;
        }
    }
    return taken;
}

void
er_given_drop_waiting(struct er_given_folder *f)
{
    er_given_free(&f->waiting);
}

int
er_given_check(const struct er_given *list, struct er_err *err)
{
    for (const struct er_given *g = list; g; g = g->next) {
        if (g->failed) {
            return er_fail(err, er_error_from_errno(g->failed),
                           "cannot write the file of %s ('%s'): %s", g->name, g->path,
                           strerror(g->failed));
        }
    }
    return 0;
}

void
er_given_free(struct er_given **list)
{
    while (*list) {
        struct er_given *g = *list;
        *list = g->next;
        (void)unlink(g->path);
        er_free(g->name);
        er_free(g->path);
        er_free(g);
    }
}
