/* SPDX-License-Identifier: MIT */
/* The target of a request, taken apart: "/v1/tasks?state=failed&limit=5". Any thread. */
#ifndef ER_API_TARGET_H
#define ER_API_TARGET_H

#include <stdbool.h>

#include "base/buf.h"

/* Decodes into *out (emptied before): the path, a NUL, then name NUL value NUL for each
 * parameter of the query. ER_EINVALID: not such a target; a bad escape, an encoded NUL, a
 * byte that must be escaped. ER_ENOMEM. */
int er_target_parse(struct er_buf *out, const char *target) ER_MUSTCHECK;
/* Calls fn for each parameter until it returns false. */
void er_target_queries(const struct er_buf *parsed,
                       bool (*fn)(void *ctx, const char *name, const char *value),
                       void *ctx);
/* The first parameter of that name, or NULL; "" when it has no value. */
const char *er_target_query(const struct er_buf *parsed, const char *name);

#endif
