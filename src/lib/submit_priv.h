/* SPDX-License-Identifier: MIT */
/* What the files submit*.c share. All on the caller's thread. */
#ifndef ER_LIB_SUBMIT_PRIV_H
#define ER_LIB_SUBMIT_PRIV_H

#include <jansson.h>

#include "lib/submit.h"

/* The one member of the object that errand_args makes. */
#define ER_SUBMIT_TEXT "$text"

/* submit_args.c */

/* Adds arguments (NULL = none) as a member: "args", or "args_text" for what errand_args
 * has made. ER_EINVALID with what is wrong with them. */
int er_submit_add_args(struct er_buf *b, const char *args,
                       errand_error *error) ER_MUSTCHECK;
/* The same in a document: {"args": {"$text": ...}} becomes {"args_text": ...}. Returns
 * whether it was one. */
bool er_submit_lift_texts(json_t *document);

/* submit_options.c */

/* Adds the members that options say, each with a comma before it. */
void er_submit_add_options(struct er_buf *b, const struct errand_submit_options *o);
/* Puts the members of `more` (NULL = none) over those of the document in b.
 * ER_EINVALID. */
int er_submit_add_more(struct er_buf *b, const char *more,
                       errand_error *error) ER_MUSTCHECK;
/* A key for a submit that has none, so that it may be sent again; NULL: no daemon, no
 * need. */
const char *er_submit_make_key(const struct errand *e, char out[ER_SUBMIT_KEY]);

/* submit.c */

/* Whether the document may be as large as it is. ER_ETOOBIG with its largest member. */
int er_submit_check_size(const struct er_buf *b, errand_error *error) ER_MUSTCHECK;
/* Submits a document, which is taken over. */
int er_submit_send(errand *e, struct er_buf *body,
                   const struct errand_submit_options *options, int64_t *out_id,
                   errand_error *error) ER_MUSTCHECK;
/* The id in a brief answer, or 0. */
int64_t er_submit_id(const struct er_buf *b);

#endif
