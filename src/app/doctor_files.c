/* SPDX-License-Identifier: MIT */
/* Only looks: no lock is tried, since that would keep a daemon which starts just now from
 * taking it; who holds one is read from /proc/locks. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/doctor.h"
#include "base/mem.h"
#include "model/duration.h"
#include "wire/autostart.h"

#define DISK_LOW ((uint64_t)256 << 20)
#define LOG_BIG  ((int64_t)256 << 20)
#define MIB      ((int64_t)1 << 20)
#define LOG_TAIL 65536L
#define KEEP_A_COPY                                                                      \
    "keep a copy of it, then move it aside with its -wal and -shm and the folder of "    \
    "the "                                                                               \
    "logs: the next command begins with an empty one"
#define MOVE_STORE "move it away: the next command begins with an empty one"
#define YOUR_OWN   "it must be yours and writable: chown and chmod u+rw it and its folder"

/* Whether some process has a flock on the file of that inode. */
static bool
is_locked(ino_t inode)
{
    char line[256];
    bool found = false;
    FILE *f = fopen("/proc/locks", "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        unsigned long long number = 0;
        const char *dev = strchr(line, ':');     /* behind the line's own number */
        dev = dev ? strchr(dev + 1, ':') : NULL; /* MAJOR:MINOR:INODE */
        dev = dev ? strchr(dev + 1, ':') : NULL;
        if (dev && strstr(line, "FLOCK") && sscanf(dev + 1, "%llu", &number) == 1) {
            found = number == (unsigned long long)inode;
        }
    }
    if (f) {
        (void)fclose(f);
    }
    return found;
}

/* What lies at a path where a folder, a file or a socket is to be (S_IFDIR, S_IFREG,
 * S_IFSOCK) and nothing like it is; NULL = it will do, or there is nothing. A pipe or a
 * device may stand for a file. */
static const char *
find_wrong_kind(const char *path, mode_t wanted)
{
    struct stat st;
    int rc = wanted == S_IFSOCK ? lstat(path, &st) : stat(path, &st);
    mode_t kind = rc == 0 ? st.st_mode & S_IFMT : wanted;
    bool fits =
        kind == wanted || (wanted == S_IFREG && (kind == S_IFCHR || kind == S_IFIFO));
    return fits               ? NULL
           : kind == S_IFDIR  ? "a folder"
           : kind == S_IFREG  ? "a file"
           : kind == S_IFLNK  ? "a link"
           : kind == S_IFSOCK ? "a socket"
                              : "a pipe or a device";
}

/* Notes a path of the wrong kind; false = it is none. */
static bool
note_wrong_kind(struct er_doctor *d, const char *name, const char *path, mode_t wanted,
                const char *advice)
{
    const char *kind = find_wrong_kind(path, wanted);
    if (kind) {
        er_doctor_note(d, name, false, advice, "%.300s is %s, not a %s", path, kind,
                       wanted == S_IFDIR   ? "folder"
                       : wanted == S_IFREG ? "file"
                                           : "socket");
    }
    return kind != NULL;
}

/* The folder of a path; the caller frees it. */
static char *
folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash > path ? er_xstrndup(path, (size_t)(slash - path))
                                 : er_xstrdup("/");
}

bool
er_doctor_is_blocked(const struct er_places *p)
{
    char *run_dir = folder_of(p->socket);
    const struct {
        const char *path;
        mode_t wanted;
    } all[] = {{p->state_dir, S_IFDIR}, {run_dir, S_IFDIR},      {p->logs, S_IFDIR},
               {p->workers, S_IFDIR},   {p->store, S_IFREG},     {p->lock, S_IFREG},
               {p->socket, S_IFSOCK},   {p->daemon_log, S_IFREG}};
    bool blocked = false;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        blocked = blocked || find_wrong_kind(all[i].path, all[i].wanted);
    }
    er_free(run_dir);
    return blocked;
}

/* A folder of ours: there (or to be made), our own, and closed to others. */
static void
check_folder(struct er_doctor *d, const char *name, const char *path)
{
    struct stat st;
    if (note_wrong_kind(d, name, path, S_IFDIR, "move it away, or set ERRAND_HOME")) {
        return;
    }
    if (stat(path, &st) != 0) {
        int code = errno;
        er_doctor_note(d, name, code == ENOENT,
                       "make the folder readable, or set ERRAND_HOME", "%.300s: %s%s",
                       path, strerror(code),
                       code == ENOENT ? " (it is made when needed)" : "");
        return;
    }
    bool owned = st.st_uid == geteuid();
    bool closed = (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    er_doctor_note(d, name, owned && closed,
                   owned ? "chmod 700 it"
                         : "it belongs to somebody else: use another ERRAND_HOME",
                   "%.300s, mode %03o, uid %u", path, (unsigned)(st.st_mode & 0777),
                   (unsigned)st.st_uid);
}

static void
check_disk(struct er_doctor *d, const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0) {
        return; /* the folder's own check has said it */
    }
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    bool files = fs.f_files == 0 || fs.f_favail > 0;
    er_doctor_note(d, "disk-space", left >= DISK_LOW && files,
                   "make room, or errand clean", "%" PRIu64 " MiB free at %.300s%s",
                   left >> 20, path, files ? "" : ", but no more files can be made");
}

/* ---- the daemon's last start ---- */

/* What to do about a store that a daemon could not open, by its words. */
static const char *
advise_start(const char *words)
{
    static const struct {
        const char *part, *advice;
    } table[] = {
        {"made by a newer version",
         "install that newer version of errand; or set ERRAND_HOME for another instance"},
        {"damaged", KEEP_A_COPY},
        {"not a store", KEEP_A_COPY},
        {"not a database", KEEP_A_COPY},
        {"malformed", KEEP_A_COPY},
        {"Permission denied", YOUR_OWN},
        {"readonly", YOUR_OWN},
        {"unable to open", YOUR_OWN},
        {"No space left", "make room on that disk"},
        {"full", "make room on that disk"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strstr(words, table[i].part)) {
            return table[i].advice;
        }
    }
    return "errand serve --foreground shows whether it still is so";
}

/* The last line of errandd itself in the log's tail, if it tells of an error: its text is
 * cut out of the buffer. NULL = it is not there. */
static char *
find_last_words(struct er_buf *b)
{
    static const char mark[] = " level=error src=errandd msg=\"";
    char *found = NULL;
    for (char *at = b->data; at && *at;) {
        char *end = at + strcspn(at, "\n");
        char *msg = strstr(at, mark);
        char *ours = strstr(at, " src=errandd ");
        if (ours && ours < end) {
            found = msg && msg < end ? msg + sizeof mark - 1 : NULL;
        }
        at = *end ? end + 1 : end;
    }
    if (found) {
        char *to = found;
        for (const char *p = found; *p && *p != '"' && *p != '\n'; p++) {
            p += *p == '\\' && p[1];
            *to++ = *p;
        }
        *to = '\0';
    }
    return found;
}

bool
er_doctor_start(struct er_doctor *d, const struct er_places *p)
{
    struct stat st;
    struct er_buf b;
    char *words = NULL;
    er_buf_init(&b, 0);
    FILE *f = fopen(p->daemon_log, "re");
    if (f && fstat(fileno(f), &st) == 0) {
        char piece[4096];
        (void)fseek(f, st.st_size > LOG_TAIL ? -LOG_TAIL : 0, SEEK_END);
        if (st.st_size <= LOG_TAIL) {
            rewind(f);
        }
        for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;) {
            er_buf_add(&b, piece, n);
        }
        words = find_last_words(&b);
    }
    if (f) {
        (void)fclose(f);
    }
    if (words) {
        er_doctor_note(d, "daemon", false, advise_start(words),
                       "none answers; the last one ended with: %.500s", words);
    }
    er_buf_fini(&b);
    return words != NULL;
}

/* ---- the store ---- */

/* The store's file as far as it can be seen from outside; a daemon that answers has
 * looked into it. */
static void
check_store(struct er_doctor *d, const char *path)
{
    static const char magic[16] = "SQLite format 3";
    char head[sizeof magic] = "";
    struct stat st;
    if (note_wrong_kind(d, "store", path, S_IFREG, MOVE_STORE)) {
        return;
    }
    FILE *f = fopen(path, "re");
    if (!f) {
        int code = errno;
        er_doctor_note(d, "store", code == ENOENT, "make the file readable for you",
                       "%.300s: %s", path,
                       code == ENOENT ? "there is none yet" : strerror(code));
        return;
    }
    size_t n = fread(head, 1, sizeof head, f);
    bool writable = access(path, W_OK) == 0;
    int failed = fstat(fileno(f), &st);
    (void)fclose(f);
    bool whole = n == 0 || (n == sizeof head && memcmp(head, magic, sizeof head) == 0);
    er_doctor_note(
        d, "store", !failed && whole && writable,
        whole ? YOUR_OWN
              : "this is no store of errand: move it away, or restore a backup",
        "%.300s, %" PRId64 " KiB%s", path, failed ? 0 : (int64_t)st.st_size / 1024,
        !whole     ? ", which is no store, or it is damaged"
        : writable ? ""
                   : ", which you may not write");
}

static void
check_lock(struct er_doctor *d, const struct er_places *p)
{
    struct stat st;
    int pid = 0;
    char *socket_path = NULL;
    if (note_wrong_kind(d, "lock of the store", p->lock, S_IFREG, "move it away")) {
        return;
    }
    if (stat(p->lock, &st) != 0 && errno != ENOENT) {
        er_doctor_note(d, "lock of the store", false, YOUR_OWN, "%.300s: %s", p->lock,
                       strerror(errno));
        return;
    }
    bool held = stat(p->lock, &st) == 0 && is_locked(st.st_ino);
    if (er_autostart_owner(p, &pid, &socket_path) == 0) {
        er_free(socket_path);
    }
    if (held) {
        er_doctor_note(
            d, "lock of the store", d->daemon > 0 || d->fails,
            d->hangs
                ? ER_DOCTOR_HANGS
                : "the daemon hangs, or is just starting: look into its log; kill it "
                  "if it stays so",
            "held by pid %d%s", pid,
            d->daemon > 0 || d->fails ? "" : ", which does not answer");
    } else if (pid > 0 && d->daemon == 0) {
        er_doctor_note(d, "lock of the store", true, NULL,
                       "left by pid %d, which has ended; the next daemon takes it over",
                       pid);
    } else {
        er_doctor_note(d, "lock of the store", true, NULL, "%s",
                       d->daemon > 0 ? "held by the daemon" : "nobody holds it");
    }
}

static void
check_socket(struct er_doctor *d, const char *path)
{
    struct stat st;
    if (d->hangs) {
        er_doctor_note(d, "socket", true, NULL, "%.300s takes connections", path);
    } else if (d->daemon > 0 || d->fails) {
        er_doctor_note(d, "socket", true, NULL, "%.300s answers", path);
    } else if (lstat(path, &st) != 0 && errno != ENOENT) {
        er_doctor_note(d, "socket", false, "ask as the user whose daemon it is",
                       "%.300s: %s", path, strerror(errno));
    } else if (lstat(path, &st) != 0) {
        er_doctor_note(d, "socket", true, NULL, "there is none at %.300s", path);
    } else if (!note_wrong_kind(d, "socket", path, S_IFSOCK,
                                "move it away, or set ERRAND_SOCKET to another path")) {
        er_doctor_note(d, "socket", true, NULL,
                       "%.300s is left over: nobody listens; the next daemon replaces it",
                       path);
    }
}

/* The locks of workers: which of them live, which are left over. */
static void
check_worker_locks(struct er_doctor *d, const char *folder)
{
    int held = 0, left = 0;
    DIR *dir = opendir(folder);
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL) {
        struct stat st;
        size_t n = strlen(e->d_name);
        if (n > 5 && strcmp(e->d_name + n - 5, ".lock") == 0 &&
            fstatat(dirfd(dir), e->d_name, &st, 0) == 0) {
            bool locked = is_locked(st.st_ino);
            held += locked;
            left += !locked;
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    if (held + left > 0) {
        er_doctor_note(
            d, "locks of workers", true, NULL, "%d held%s, %d left over%s", held,
            held > 0 && d->daemon == 0 && !d->fails
                ? " (they wait for a daemon, or end 60 s after their last task)"
                : "",
            left, left > 0 ? " (they do no harm)" : "");
    }
}

static void
check_log(struct er_doctor *d, const char *path)
{
    struct stat st;
    char age[ER_DURATION_SIZE];
    if (note_wrong_kind(d, "daemon's log", path, S_IFREG,
                        "move it away: a daemon that a command starts writes there")) {
        return;
    }
    if (stat(path, &st) != 0) {
        er_doctor_note(d, "daemon's log", errno == ENOENT, "make it readable for you",
                       "%.300s: %s", path,
                       errno == ENOENT ? "there is none yet (a daemon in the foreground "
                                         "writes to standard error)"
                                       : strerror(errno));
        return;
    }
    er_age_format(er_clock_wall(er_clock_system()) -
                      (er_usec)st.st_mtim.tv_sec * ER_USEC_PER_SEC,
                  age);
    er_doctor_note(d, "daemon's log", (int64_t)st.st_size < LOG_BIG,
                   "it can be cut while the daemon runs: truncate -s 0 FILE",
                   "%.300s, %" PRId64 " %s, last written to %s", path,
                   (int64_t)st.st_size / (st.st_size < MIB ? 1024 : MIB),
                   st.st_size < MIB ? "KiB" : "MiB", age);
}

void
er_doctor_files(struct er_doctor *d, const struct er_places *p)
{
    char *run_dir = folder_of(p->socket);
    check_folder(d, "folder of the store", p->state_dir);
    check_folder(d, "folder of the socket", run_dir);
    er_free(run_dir);
    (void)note_wrong_kind(d, "folder of the logs", p->logs, S_IFDIR, "move it away");
    (void)note_wrong_kind(d, "folder of the workers", p->workers, S_IFDIR,
                          "move it away");
    if (d->daemon == 0) { /* else the daemon has looked */
        check_store(d, p->store);
        check_disk(d, p->state_dir);
    }
    check_lock(d, p);
    check_socket(d, p->socket);
    check_worker_locks(d, p->workers);
    check_log(d, p->daemon_log);
}
