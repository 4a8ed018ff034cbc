/* SPDX-License-Identifier: MIT */
/* "Did you mean": the name among those that exist which is nearest to a mistyped one, for
 * verbs, flags, types and states. Pure; any thread. */
#ifndef ER_MODEL_SUGGEST_H
#define ER_MODEL_SUGGEST_H

#include <stddef.h>

#include "base/error.h"

#define ER_SUGGEST_MAX 64 /* longer names are never suggested, nor words looked up */

/* How many letters must be put in, left out, changed or swapped with their neighbour to
 * make b of a, without regard to ASCII case (the optimal string alignment distance); at
 * most `limit` + 1, which means more than the limit. */
size_t er_suggest_distance(const char *a, const char *b, size_t limit);
/* The nearest of n names (borrowed): at most a third of the word's letters away, but one
 * at least and three at most; of equals the first. Else the only name that begins with
 * the word (of three letters or more). NULL when there is none. */
const char *er_suggest_find(const char *word, const char *const *names, size_t n);
/* Fails with `unknown KIND 'WORD'` and, if there is one, ` (did you mean NAME?)`. */
int er_suggest_fail(struct er_err *err, int code, const char *kind, const char *word,
                    const char *const *names, size_t n);
/* The same; where none is near, all of them are named. */
int er_suggest_fail_list(struct er_err *err, int code, const char *kind, const char *word,
                         const char *const *names, size_t n);

#endif
