/* SPDX-License-Identifier: MIT */
/* The tasks that a command is about: ids as arguments, `@last` looked up. */
#ifndef ER_APP_TARGETS_H
#define ER_APP_TARGETS_H

#include "app/app.h"
#include "model/idlist.h"

/* Reads n arguments as ids, each once, in their order. *out is empty on an error. */
int er_targets_read(struct er_app *app, int n, const char *const *args,
                    struct er_idlist *out, struct er_err *err) ER_MUSTCHECK;
/* Puts the newest task's id in the place of `@last`. */
int er_targets_resolve(struct er_app *app, struct er_idlist *ids,
                       struct er_err *err) ER_MUSTCHECK;
/* Calls fn for each task that n arguments name, until all had their turn: the exit code
 * of the first that failed, or 0. */
typedef int er_targets_fn(struct er_app *app, er_task_id id, const void *ctx);
int er_targets_each(struct er_app *app, int n, const char *const *args, er_targets_fn *fn,
                    const void *ctx);
/* Reads one argument that must name exactly one task. */
int er_targets_one(struct er_app *app, const char *arg, er_task_id *out,
                   struct er_err *err) ER_MUSTCHECK;

#endif
