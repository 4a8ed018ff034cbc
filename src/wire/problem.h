/* SPDX-License-Identifier: MIT */
/* The body of an error answer: application/problem+json (RFC 9457) as docs/PROTOCOL.md,
 * "Errors", has it. Any thread. */
#ifndef ER_WIRE_PROBLEM_H
#define ER_WIRE_PROBLEM_H

#include "base/buf.h"

#define ER_PROBLEM_TYPE "application/problem+json"

/* Adds the problem of an ER_E* code to b. `detail` is for people (NULL: the meaning of
 * the code), `field` names the member or parameter that was wrong (NULL = none), `extra`
 * is further members as raw JSON without braces ("\"line\":3"; NULL = none). Returns the
 * HTTP status to answer with. */
int er_problem_json(struct er_buf *b, int code, const char *detail, const char *field,
                    const char *extra);
/* The same with a status other than the code's own, such as 405. */
int er_problem_json_status(struct er_buf *b, int status, int code, const char *detail,
                           const char *field, const char *extra);

#endif
