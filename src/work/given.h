/* SPDX-License-Identifier: MIT */
/* Texts that the daemon hands to an attempt as files (`given` lines, docs/PROTOCOL.md):
 * written when they come, found by the command under a variable, deleted when its tree is
 * gone, however it ended.
 *
 * They lie in a folder beside the worker's lock (workers/w1.lock: workers/w1.given), 0600
 * in 0700. Who holds the lock owns the folder: what a dead worker of that name has left
 * there is deleted when the next one has the lock. A file that can't be written fails the
 * attempt before its spawn, by name. Loop thread. */
#ifndef ER_WORK_GIVEN_H
#define ER_WORK_GIVEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/task.h"

/* One file. */
struct er_given {
    er_task_id task;
    int attempt;
    char *name; /* of the variable */
    char *path;
    int failed; /* errno of the first error */
    struct er_given *next;
};

struct er_given_folder {
    char *path;               /* NULL = no session yet */
    struct er_given *waiting; /* those whose run order has not come yet */
};

/* Whether a variable may be given: [A-Z_][A-Z0-9_]*, begins with ERRAND_, and none of
 * those that the worker sets itself. */
bool er_given_is_name(const char *name);

/* The session has begun and its lock is ours: takes the folder and empties it. */
void er_given_begin(struct er_given_folder *f, const char *lock_path);
/* The session is over: deletes what waits, and the folder. Fine without a session. */
void er_given_end(struct er_given_folder *f);
/* Adds n bytes to the file of that name, or makes it. */
void er_given_add(struct er_given_folder *f, er_task_id task, int attempt,
                  const char *name, const char *text, size_t n);
/* Hands over those of an attempt: a list, NULL when there are none. */
struct er_given *er_given_take(struct er_given_folder *f, er_task_id task, int attempt);
/* Forgets those that wait: the daemon will say it anew. */
void er_given_drop_waiting(struct er_given_folder *f);
/* 0, or the first error among them with words. */
int er_given_check(const struct er_given *list, struct er_err *err) ER_MUSTCHECK;
/* Deletes files and records. */
void er_given_free(struct er_given **list);

#endif
