/* SPDX-License-Identifier: MIT */
/* A type as a program describes it (struct errand_type), and as the registry has it:
 * JSON, wire/type_json.h. Any thread. */
#ifndef ER_LIB_TYPES_H
#define ER_LIB_TYPES_H

#include <errand.h>
#include <jansson.h>

#include "base/error.h"

/* Copies a struct that a program of another version may have filled: ERRAND_EINVALID when
 * it cannot be one. Texts stay borrowed. */
int er_types_copy(const struct errand_type *given, struct errand_type *out,
                  errand_error *error) ER_MUSTCHECK;
/* Who executes tasks of it. */
enum er_types_by {
    ER_TYPES_NOBODY,  /* a definition only */
    ER_TYPES_HANDLER, /* a session of a program */
    ER_TYPES_PROGRAM, /* `program` run TYPE */
};
/* Makes the definition that PUT /v1/types/NAME takes; checked as a whole:
 * ERRAND_EINVALID, error->field is the member ("description", "params.depth.def").
 * ERRAND_ENOMEM. */
int er_types_define(const struct errand_type *t, enum er_types_by by, const char *program,
                    json_t **out, errand_error *error) ER_MUSTCHECK;
/* The name of the first member in which two definitions differ, as er_type_json_add
 * writes them; NULL: they are the same. Members that are no definition's are passed over.
 * *out_name is borrowed from a table. ER_EINVALID, ER_ENOMEM. */
int er_types_compare(const char *name, const json_t *a, const json_t *b,
                     const char **out_member) ER_MUSTCHECK;
/* Turns the name of a member of a definition into that of C, in place: "help" becomes
 * "description", "params.depth.default" "params.depth.def". */
void er_types_to_c_names(char *field, size_t size);

#endif
