/* SPDX-License-Identifier: MIT */
/* Several tasks' output side by side, as it grows: each line with the id before it. */
#ifndef ER_APP_FOLLOW_H
#define ER_APP_FOLLOW_H

#include "app/output.h"
#include "model/idlist.h"

#define ER_FOLLOW_MAX ((size_t)100) /* tasks that are followed at once */

/* Follows all of them until each is final; says on standard error what is wrong with one,
 * and goes on with the others. Lines are whole; with o->json they come as they are. The
 * exit code of the first, in the order of the list, that could not be followed; else
 * 0. */
int er_follow_many(struct er_app *app, const struct er_idlist *ids,
                   const struct er_output_options *o);

#endif
