/* SPDX-License-Identifier: MIT */
/* Ids as they are given to commands: `42`, `3-7`, `@last`, several of them, also with
 * commas (`1,4-6`). Pure; one thread. */
#ifndef ER_MODEL_IDLIST_H
#define ER_MODEL_IDLIST_H

#include <stddef.h>

#include "base/error.h"
#include "model/task.h"

#define ER_IDLIST_MAX  100000          /* ids in one list */
#define ER_IDLIST_LAST ((er_task_id)0) /* stands for `@last` until it is known */

struct er_idlist {
    er_task_id *ids; /* in the order given, each once */
    size_t n, size;
};

void er_idlist_init(struct er_idlist *l);
void er_idlist_fini(struct er_idlist *l);
/* Adds what one argument names: 0; ER_EINVALID such as `invalid id 'x' (try 42, 3-7 or
 * @last)`; ER_ETOOBIG beyond ER_IDLIST_MAX; ER_ENOMEM. Nothing is added on an error. */
int er_idlist_parse(struct er_idlist *l, const char *text,
                    struct er_err *err) ER_MUSTCHECK;
/* Whether `@last` is in it and er_idlist_resolve is due. */
bool er_idlist_has_last(const struct er_idlist *l);
/* Puts the id that `@last` means in its place. */
void er_idlist_resolve(struct er_idlist *l, er_task_id last);
/* Drops ids that came before in the list. ER_ENOMEM leaves the list as it was. */
int er_idlist_unique(struct er_idlist *l) ER_MUSTCHECK;

#endif
