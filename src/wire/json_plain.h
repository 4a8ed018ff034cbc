/* SPDX-License-Identifier: MIT */
/* A quick reader for JSON as programs mostly write it. It knows no errors: what it does not
 * take, right or wrong, is for jansson to read and to judge. Any thread. */
#ifndef ER_WIRE_JSON_PLAIN_H
#define ER_WIRE_JSON_PLAIN_H

#include <jansson.h>
#include <stddef.h>

/* The value of a text without escapes, bytes beyond ASCII, fractions and exponents, nested
 * at most ER_JSON_DEPTH deep, as json_loadb would make it (with JSON_DECODE_ANY and
 * JSON_REJECT_DUPLICATES): a new reference. NULL: it is something else, or memory is out. */
json_t *er_json_plain(const char *text, size_t len);

#endif
