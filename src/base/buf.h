/* SPDX-License-Identifier: MIT */
/* A growing byte string with a ceiling. `data` is always terminated by a NUL that `len`
 * does not count (when data is not NULL). Adding never fails half-way: when memory or the
 * ceiling is out, nothing more is added, `failed` holds the code (ER_ENOMEM, ER_ETOOBIG)
 * and stays until er_buf_clear or er_buf_fini, so that a caller may add many pieces and
 * look once. */
#ifndef ER_BASE_BUF_H
#define ER_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct er_buf {
    char *data;
    size_t len;
    size_t size; /* bytes allocated */
    size_t max;  /* most bytes it may hold; 0 = 64 MiB */
    int failed;
};

void er_buf_init(struct er_buf *b, size_t max);
void er_buf_fini(struct er_buf *b);
void er_buf_clear(struct er_buf *b); /* empty again; keeps the memory */
int er_buf_reserve(struct er_buf *b,
                   size_t more); /* room for `more` bytes: 0 or the code */
void er_buf_add(struct er_buf *b, const void *p, size_t n);
void er_buf_add_str(struct er_buf *b, const char *s);
void er_buf_add_char(struct er_buf *b, char c);
void er_buf_add_i64(struct er_buf *b, int64_t v);
/* Microseconds (from 0) as seconds, exactly: "2", "0.000100". Much cheaper than by
 * "%f". */
void er_buf_add_seconds(struct er_buf *b, int64_t usec);
void er_buf_addf(struct er_buf *b, const char *fmt, ...) ER_PRINTF(2, 3);
/* Adds s (n bytes) as a quoted JSON string. Bytes that are not UTF-8 become U+FFFD. */
void er_buf_add_json(struct er_buf *b, const char *s, size_t n);
/* The same for a terminated string; NULL adds `null`. */
void er_buf_add_json_str(struct er_buf *b, const char *s);
/* Removes the first n bytes. */
void er_buf_drop(struct er_buf *b, size_t n);
/* Gives the memory away (NULL when it failed) and is empty afterwards; an empty buffer
 * gives "". The caller frees it with er_free. */
char *er_buf_take(struct er_buf *b);

#endif
