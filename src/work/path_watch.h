/* SPDX-License-Identifier: MIT */
/* Tells when something may have changed about a path: it, or a folder on the way to it,
 * appeared, vanished or was renamed. By inotify, without polling: all folders on the way
 * that exist are watched, each for the next name. (The folder alone would not do: an open
 * file below it, such as our lock, keeps a removed folder from ever saying that it is
 * gone.) Loop thread. */
#ifndef ER_WORK_PATH_WATCH_H
#define ER_WORK_PATH_WATCH_H

#include <stdbool.h>

#include "work/watch.h"

#define ER_PATH_DEPTH 64

struct er_path_watch;
typedef void er_path_watch_fn(struct er_path_watch *p);

/* Embedded by its owner; start sets it. */
struct er_path_watch {
    struct er_watches *watches;
    struct er_fd_watch watch;
    int fd; /* inotify; -1 = off */
    er_path_watch_fn *fn;
    char *path; /* its names, each ended by a NUL */
    int n;
    struct {
        int wd;           /* of the folder */
        const char *name; /* what it is watched for, within path */
    } steps[ER_PATH_DEPTH];
};

void er_path_watch_init(struct er_path_watch *p, struct er_watches *watches);
/* Watches an absolute path; when it is on already, the folders are looked up anew. false
 * when nothing can be watched. */
bool er_path_watch_start(struct er_path_watch *p, const char *path, er_path_watch_fn *fn);
void er_path_watch_stop(struct er_path_watch *p);

#endif
