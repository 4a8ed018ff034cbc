/* SPDX-License-Identifier: MIT */
/* What is moved aside is called NAME.old-TIME, beside where it was; nothing is
 * deleted. */
#include "serve/fresh.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define NAMES 100 /* tries to find one that is free */

static bool
has_entries(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    bool has = false;
    while (dir && !has && (e = readdir(dir)) != NULL) {
        has = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    if (dir) {
        (void)closedir(dir);
    }
    return has;
}

/* A name that is free: of this second, with a number if need be. The caller frees it. */
static char *
free_name(const char *path)
{
    char at[32];
    struct tm tm;
    struct stat st;
    time_t now = time(NULL);
    (void)strftime(at, sizeof at, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    char *name = er_xasprintf("%s.old-%s", path, at);
    for (int i = 2; i < NAMES && lstat(name, &st) == 0; i++) {
        er_free(name);
        name = er_xasprintf("%s.old-%s-%d", path, at, i);
    }
    return name;
}

static int
move_aside(const char *path, const char *what, const char *store, struct er_err *err)
{
    char *name = free_name(path);
    int rc = 0;
    if (rename(path, name) == 0) {
        er_log(ER_LOG_WARN, "store",
               "there is no store '%s', but %s of an earlier one: moved aside, to '%s'",
               store, what, name);
    } else {
        int code = errno;
        rc =
            er_fail(err, er_error_from_errno(code),
                    "there is no store, but %s of an earlier one, '%.200s', which cannot "
                    "be moved aside: %s",
                    what, path, strerror(code));
    }
    er_free(name);
    return rc;
}

/* A store that cannot be made is perhaps only away (a link to a disk that is not
 * mounted): then what it has left stays where it is. */
static int
make_store(const char *path, struct er_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        int code = errno;
        return er_fail(err, er_error_from_errno(code),
                       "the store '%.300s' cannot be made: %s (if it is on another disk, "
                       "is that mounted?)",
                       path, strerror(code));
    }
    er_close(&fd);
    return 0;
}

int
er_fresh_make_way(const struct er_places *places, struct er_err *err)
{
    struct stat st;
    if (stat(places->store, &st) == 0 && st.st_size > 0) {
        return 0;
    }
    char *wal = er_xasprintf("%s-wal", places->store);
    char *shm = er_xasprintf("%s-shm", places->store);
    bool has_wal = stat(wal, &st) == 0 && st.st_size > 0;
    bool has_logs = has_entries(places->logs);
    int rc = has_wal || has_logs ? make_store(places->store, err) : 0;
    if (rc == 0 && has_wal) {
        rc = move_aside(wal, "the journal (the newest of its tasks)", places->store, err);
        (void)unlink(shm);
    }
    if (rc == 0 && has_logs) {
        rc = move_aside(places->logs, "the output of the tasks", places->store, err);
        if (rc == 0 && mkdir(places->logs, 0700) != 0) {
            int code = errno;
            rc = er_fail(err, er_error_from_errno(code),
                         "cannot make folder '%.300s': %s", places->logs, strerror(code));
        }
    }
    er_free(wal);
    er_free(shm);
    return rc;
}
