/* SPDX-License-Identifier: MIT */
/* Names of a program's own events ("import.page"), and patterns for them. Pure; any
 * thread. */
#ifndef ER_MODEL_TOPIC_H
#define ER_MODEL_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when a program may use the name for its own events, else why not: words that
 * follow the name. It has a dot in it and at most ER_MAX_NAME bytes; none of them is a
 * control character, a blank at either end, a comma or a '*' (which lists and patterns
 * use), and there is no empty part beside a dot. */
const char *er_topic_refusal(const char *name);
/* Whether a pattern is the name, or begins it and ends with '*'. */
bool er_topic_fits(const char *pattern, const char *name);
/* Whether one of n patterns does; none lets every name through. */
bool er_topic_fits_any(const char *const *patterns, size_t n, const char *name);

#endif
