/* SPDX-License-Identifier: MIT */
/* Which attempts a program with handlers has begun and not yet reported: a small table in
 * a file that the program maps, so that it outlives the program's sudden end as it is.
 * What is given ahead of free threads and was never begun is told by it from what was,
 * without a file an attempt and without a system call each.
 *
 * It survives the process, not the machine: after another boot nothing is known. */
#ifndef ER_WIRE_BEGUN_H
#define ER_WIRE_BEGUN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/task.h"

#define ER_BEGUN_MAX 2048 /* attempts at a time; beyond that nothing is known */

/* ---- the program's side; one thread at a time ---- */

struct er_begun;
/* Makes the session's table in the folder of the logs. NULL: it cannot be made; then
 * nothing will be known, which is fine. */
struct er_begun *er_begun_open(const char *logs, int64_t session);
/* Notes an attempt before it begins: its place, for er_begun_remove; -1 = no place left,
 * after which the table says that it knows nothing. b may be NULL. */
int er_begun_add(struct er_begun *b, er_task_id task, int attempt);
/* Its end is on disk. place may be -1. */
void er_begun_remove(struct er_begun *b, int place);
/* The file stays for who buries the session. NULL is fine. */
void er_begun_close(struct er_begun *b);

/* ---- the side of who buries it; any thread ---- */

struct er_begun_list {
    bool known; /* else whatever was given may have begun */
    size_t n;
    struct er_begun_entry {
        er_task_id task;
        int attempt;
    } * entries; /* to be freed with er_free */
};
/* Reads the table of a session whose program is dead. ER_EBUSY (no descriptor is left),
 * ER_ENOMEM: it cannot be seen now. */
int er_begun_read(const char *logs, int64_t session,
                  struct er_begun_list *out) ER_MUSTCHECK;
bool er_begun_has(const struct er_begun_list *list, er_task_id task, int attempt);
void er_begun_delete(const char *logs, int64_t session);

#endif
