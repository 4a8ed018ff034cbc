/* SPDX-License-Identifier: MIT */
/* The arguments of a task of any type, as people type them:
 *
 *   KEY=TEXT     the daemon reads the text as its parameter's kind wants it
 *   KEY:=JSON    any value as JSON
 *   WORD         the parameter of a type that requires exactly one
 *   {...}        all of them as one JSON object
 *
 * A TEXT, JSON or WORD that begins with @ is the name of a file that is read in its place
 * (@- is standard input); @@ is a text that begins with one @. Blocking; one thread. */
#ifndef ER_APP_ARGS_H
#define ER_APP_ARGS_H

#include "app/app.h"

/* Asks for a type: its object, which the caller frees. ER_ENOTFOUND names the one that is
 * like it. */
int er_args_type(struct er_app *app, const char *name, json_t **out,
                 struct er_err *err) ER_MUSTCHECK;
/* Whether a parameter must be given: er_args_type's object has them under
 * "parameters". */
bool er_args_is_required(const json_t *parameter);
/* Adds `"args":{...}` or `"args_text":{...}`. *type is er_args_type's object, or NULL:
 * then it is asked for when it is needed, and the caller frees it. ER_EINVALID names the
 * argument, ER_ENOTFOUND the type or the file. */
int er_args_add(struct er_app *app, const char *name, json_t **type, int n, char **args,
                struct er_buf *b, struct er_err *err) ER_MUSTCHECK;

#endif
