/* SPDX-License-Identifier: MIT */
/* What the files of params.h share. Any thread. */
#ifndef ER_WIRE_PARAMS_PRIV_H
#define ER_WIRE_PARAMS_PRIV_H

#include "wire/params.h"

#define ER_PARAMS_PATTERN_MAX 1000 /* bytes of a pattern */
/* Whole numbers that every reader of JSON keeps as they are. */
#define ER_PARAMS_INTEGER_MAX INT64_C(9007199254740991)
#define ER_PARAMS_URL         "^[A-Za-z][A-Za-z0-9+.-]*://[^\\u0000-\\u0020\\u007f]+$"
#define ER_PARAMS_DURATION                                                               \
    "^(?:0|(?=[0-9])(?!.*[.][0-9]+[a-z]+[0-9])(?:[0-9]+(?:[.][0-9]+)?d)?"                \
    "(?:[0-9]+(?:[.][0-9]+)?h)?(?:[0-9]+(?:[.][0-9]+)?m)?(?:[0-9]+(?:[.][0-9]+)?s)?"     \
    "(?:[0-9]+(?:[.][0-9]+)?ms)?)$"

/* Kinds whose value is one text, or several: these may have a pattern and choices. */
bool er_params_is_text(enum er_param_kind kind);
/* Kinds that may have min and max. */
bool er_params_has_bounds(enum er_param_kind kind);
const char *er_params_kind_of(const json_t *v); /* "a string", "an array" ... */

/* One value: *out is a new reference to what is stored of it. ER_EINVALID: words that
 * begin with the parameter's name and never show a secret; ER_ENOMEM. */
int er_params_value(const struct er_param *p, const json_t *v, json_t **out,
                    struct er_err *err) ER_MUSTCHECK;

/* params_pattern.c. Whether the pattern is one: ER_EINVALID with words, ER_ENOMEM. */
int er_params_pattern_check(const char *pattern, struct er_err *err) ER_MUSTCHECK;
/* 1: it matches somewhere in the text; 0: it does not. ER_ETOOBIG: it takes more steps
 * than a pattern may; ER_EINVALID: it is none; ER_ENOMEM. */
int er_params_pattern_match(const char *pattern, const char *text,
                            size_t len) ER_MUSTCHECK;

#endif
