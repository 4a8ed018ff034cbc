/* SPDX-License-Identifier: MIT */
/* The body of a submit, made on the caller's thread. */
#ifndef ER_LIB_SUBMIT_H
#define ER_LIB_SUBMIT_H

#include <errand.h>

#include "lib/sync.h"

/* Makes the document of a submit, or of a call, into b (empty, which stays the caller's).
 * ER_EINVALID with the field. */
int er_submit_make_body(struct er_buf *b, const char *type, const char *args,
                        const struct errand_submit_options *given,
                        errand_error *error) ER_MUSTCHECK;
/* Refusals name the member as the document has it: gives it the name of the option.
 * Returns rc. */
int er_submit_name_option(int rc, errand_error *error);
/* Checks and copies options (NULL = defaults). */
int er_submit_read_options(struct errand_submit_options *out,
                           const struct errand_submit_options *given,
                           errand_error *error) ER_MUSTCHECK;
#define ER_SUBMIT_KEY 40
/* Gives the request a key, unless the options bear one, so that it may be sent again:
 * only for a daemon. */
void er_submit_bear_key(const struct errand *e, const struct errand_submit_options *given,
                        struct er_sync_spec *spec, char out[ER_SUBMIT_KEY]);

#endif
