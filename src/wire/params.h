/* SPDX-License-Identifier: MIT */
/* Parameters of types, and arguments, as JSON. What a definition may say is what
 * docs/PROTOCOL.md, "Types", has; what it means for arguments is JSON Schema 2020-12, as
 * er_params_schema_add writes it. Any thread.
 *
 *   [{"name": "path", "kind": "path", "required": true, "help": "..."},
 *    {"name": "depth", "kind": "integer", "default": 3, "min": 0, "max": 10},
 *    {"name": "mode", "kind": "string", "choices": ["fast", "good"]},
 *    {"name": "token", "kind": "string", "secret": true, "pattern": "^[a-z]+$"}] */
#ifndef ER_WIRE_PARAMS_H
#define ER_WIRE_PARAMS_H

#include <jansson.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/param.h"

#define ER_PARAMS_MAX 100 /* of one type */
/* A command's words, or its standard input, with the arguments in them, in bytes. */
#define ER_PARAMS_EXPANDED_MAX ((size_t)4 << 20)

/* Where something was wrong: "params.depth.min", "depth". */
struct er_params_fault {
    char field[128];
    struct er_err err;
};

/* Reads a definition's array; all memory is the arena's. ER_EINVALID: unknown members, a
 * name twice, a default that its own parameter would refuse, min above max, a pattern
 * that is none, choices of what is no string, required with a default ... */
int er_params_read(const json_t *array, struct er_arena *arena, struct er_param **out,
                   size_t *out_n, struct er_params_fault *fault) ER_MUSTCHECK;
/* Adds the same array. Equal parameters give equal text. */
void er_params_add(const struct er_param *params, size_t n, struct er_buf *b);
/* Adds the JSON Schema that the arguments must fit. */
void er_params_schema_add(const struct er_param *params, size_t n, struct er_buf *b);

/* Checks arguments (an object) and makes what is stored of them: a new object with
 * defaults filled in and durations in seconds. ER_EINVALID: fault->field is the
 * argument's name; an unknown one is named with the one that is like it. ER_ENOMEM. */
int er_params_check(const struct er_param *params, size_t n, const json_t *args,
                    json_t **out, struct er_params_fault *fault) ER_MUSTCHECK;
/* The same for arguments that are all texts, as people type them: each is read as its
 * parameter's kind wants it ("3" -> 3, "yes" -> true, "a,b" or an array -> strings). */
int er_params_check_text(const struct er_param *params, size_t n, const json_t *args,
                         json_t **out, struct er_params_fault *fault) ER_MUSTCHECK;
/* A copy of arguments with secret ones as "***"; NULL = no memory. */
json_t *er_params_mask(const struct er_param *params, size_t n, const json_t *args);

/* Fills in a command's words from checked arguments: "{name}" within a word is the
 * argument as text; a word that is "{name}" alone is left out when there is no such
 * argument, and becomes several for an array; "{{" and "}}" are braces. *out ends with
 * NULL. ER_EINVALID: a name that is no parameter (for er_type_json: at definition), an
 * array or object within a word, an argument that is not there within a word. ER_ETOOBIG:
 * more than ER_PARAMS_EXPANDED_MAX in all. */
int er_params_expand(const char *const *words, size_t n_words, const json_t *args,
                     struct er_arena *arena, char ***out, size_t *out_n,
                     struct er_err *err) ER_MUSTCHECK;
/* Whether a word of a command may stand so in the definition of a type with these
 * parameters: each {NAME} is one of them and fits there for all arguments that are
 * allowed. must_be: the word must never be left out nor become several (the program's
 * name). ER_EINVALID. */
int er_params_check_word(const struct er_param *params, size_t n, const char *word,
                         bool must_be, struct er_err *err) ER_MUSTCHECK;
/* The same for the text of a standard input, which may be nothing but not several. */
int er_params_check_stdin(const struct er_param *params, size_t n, const char *text,
                          struct er_err *err) ER_MUSTCHECK;

#endif
