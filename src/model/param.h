/* SPDX-License-Identifier: MIT */
/* A parameter of a type: what an argument of that name may be. Pure; any thread.
 * Definitions and arguments as JSON: wire/params.h. */
#ifndef ER_MODEL_PARAM_H
#define ER_MODEL_PARAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum er_param_kind {
    ER_PARAM_STRING = 1,
    ER_PARAM_INTEGER,
    ER_PARAM_NUMBER,
    ER_PARAM_BOOLEAN,
    ER_PARAM_PATH,     /* a string that names a file, not empty, without NUL */
    ER_PARAM_URL,      /* scheme://... */
    ER_PARAM_DURATION, /* "1h30m" or seconds; an argument that was checked has seconds */
    ER_PARAM_STRINGS,  /* an array of strings */
    ER_PARAM_OBJECT,   /* any JSON object */
};
const char *er_param_kind_word(enum er_param_kind k); /* "string" ... "object" */
int er_param_kind_find(const char *word);             /* -1 when unknown */

#define ER_PARAM_NAME_MAX 100
struct er_param {
    const char *name; /* [A-Za-z][A-Za-z0-9_-]* */
    enum er_param_kind kind;
    bool required;
    const char *default_json; /* NULL = none */
    bool has_min, has_max;
    double min, max;     /* of numbers and durations (seconds); of the length of texts, in
                      * characters as JSON Schema counts them; of how many strings */
    const char *pattern; /* of texts, and of each of strings: a regular expression, as in
                           * JSON Schema: matches somewhere */
    const char **choices; /* likewise, the only ones that are allowed; NULL = any */
    size_t n_choices;
    bool secret; /* shown as "***" */
    const char *help;
};
/* Whether it is a name that a parameter may have. */
bool er_param_is_name(const char *name);
/* Whether a type may be called so: letters, digits, '.', '_', '-', at most 100 bytes, and
 * the first no '.' or '-' (".." cannot stand in an address, nor "-x" in a command
 * line). */
#define ER_TYPE_NAME_RULE                                                                \
    "at most 100 letters, digits, '.', '_' and '-', a letter, digit or '_' first"
bool er_type_is_name(const char *name);

#endif
