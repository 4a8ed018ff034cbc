/* SPDX-License-Identifier: MIT */
/* The body of a submit, made on the caller's thread. */
#ifndef ER_LIB_SUBMIT_H
#define ER_LIB_SUBMIT_H

#include <errand.h>

#include "lib/sync.h"

/* Adds arguments as a member: "args", or "args_text" for what errand_args has made, as a
 * bare value when `member` is false (*out_texts says which). ER_EINVALID with the field. */
int er_submit_add_args(struct er_buf *b, const char *args, bool member, bool *out_texts,
                       errand_error *error) ER_MUSTCHECK;
/* Checks and copies options (NULL = defaults). */
int er_submit_read_options(struct errand_submit_options *out,
                           const struct errand_submit_options *given,
                           errand_error *error) ER_MUSTCHECK;
/* A key for a submit that has none, so that it may be sent again: only for a daemon. */
#define ER_SUBMIT_KEY 40
const char *er_submit_key(const struct errand *e, char out[ER_SUBMIT_KEY]);
/* Gives the request such a key, unless the options bear one. */
void er_submit_bear_key(const struct errand *e, const struct errand_submit_options *given,
                        struct er_sync_spec *spec, char out[ER_SUBMIT_KEY]);

#endif
