/* SPDX-License-Identifier: MIT */
/* JSON that others sent: parsed within bounds, and objects read into structs by a table
 * of their members, with errors that name the member and what would be right. Over
 * jansson, whose values these functions take and give. Any thread. */
#ifndef ER_WIRE_JSON_H
#define ER_WIRE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "wire/json_text.h"

#define ER_JSON_MAX ((size_t)2 << 20) /* bytes of one document */

/* json_loadb for what must not be lost. Where an allocation fails, jansson may speak of a
 * wrong token, or of nothing: so it is tried twice. What is wrong is wrong the second
 * time, too; a moment without memory is over by then. */
json_t *er_json_load(const char *text, size_t len, size_t flags, json_error_t *why);
/* Whether that is why er_json_load gave NULL: there was no memory. */
bool er_json_lacks_memory(const json_error_t *why);

/* Parses one value of any kind; *out is a new reference. ER_EINVALID with line and
 * column: not JSON, a member twice in an object, \u0000, nested deeper than
 * ER_JSON_DEPTH; ER_ETOOBIG: longer than ER_JSON_MAX. */
int er_json_parse(const char *text, size_t len, json_t **out,
                  struct er_err *err) ER_MUSTCHECK;

/* What a member must be, and the type of its destination. */
enum er_json_kind {
    ER_JSON_STRING, /* const char *, borrowed from the object */
    ER_JSON_INT,    /* int64_t */
    ER_JSON_NUMBER, /* double */
    ER_JSON_BOOL,   /* bool */
    ER_JSON_SPAN,   /* er_usec; a number of seconds */
    ER_JSON_TIME,   /* er_usec; an RFC 3339 string */
    ER_JSON_WORD,   /* int; a string that `find` knows */
    ER_JSON_OBJECT, /* const json_t *, borrowed */
    ER_JSON_ARRAY,  /* const json_t *, borrowed */
    ER_JSON_ANY,    /* const json_t *, borrowed; null too */
};
struct er_json_field {
    const char *name;
    enum er_json_kind kind;
    bool required;
    /* Bounds when they differ: of the value; of a span in seconds; of a string in bytes;
     * of an array in elements. */
    int64_t min, max;
    size_t offset;                 /* of the destination in the struct */
    int (*find)(const char *word); /* WORD: its number, or -1 */
    const char *words;             /* WORD: those there are, "run, fail or hold" */
};
struct er_json_form {
    const struct er_json_field *fields;
    size_t n;     /* at most 64 */
    bool lenient; /* members that are not in the table are passed over */
};
/* The words of a refusal, and the member that is wrong ("" = the object as a whole). */
struct er_json_fault {
    struct er_err err;
    char field[160];
};

/* Reads an object into the struct at `dest`. A member that is absent or null leaves its
 * destination as it is (but for ANY, which takes null), so set the defaults before.
 * *given (may be NULL) gets a bit for each field that was there, by its place in the
 * table. ER_EINVALID: not an object, an unknown member, a missing one, or one of the
 * wrong kind or out of bounds; dest may then be half filled. */
int er_json_read(const json_t *o, const struct er_json_form *form, void *dest,
                 uint64_t *given, struct er_json_fault *fault) ER_MUSTCHECK;

/* ---- texts that people type ---- */

/* Exactly a number as JSON has them (a new reference), or NULL. */
json_t *er_json_number_of(const char *text);
/* true, yes, on or false, no, off; NULL for anything else. */
json_t *er_json_bool_of(const char *text);

#endif
