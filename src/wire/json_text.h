/* SPDX-License-Identifier: MIT */
/* JSON text (RFC 8259) checked and put on one line without being taken apart: for
 * results, which may be large and are only passed on. Any thread. */
#ifndef ER_WIRE_JSON_TEXT_H
#define ER_WIRE_JSON_TEXT_H

#include "base/buf.h"

#define ER_JSON_DEPTH 32 /* how deep JSON may be nested */

/* Adds the value that n bytes of text hold to b, without the blanks between its tokens:
 * 0, or ER_EINVALID for what is not one JSON value, or b's failure (b is then as before).
 * Stricter than the grammar, so that any reader takes it: names in an object differ,
 * integers fit 64 bits, reals a double, there is no \u0000 and no lone surrogate, and it
 * is nested at most ER_JSON_DEPTH deep. */
int er_json_text_compact(struct er_buf *b, const char *text, size_t n) ER_MUSTCHECK;

#endif
