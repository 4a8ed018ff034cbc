/* SPDX-License-Identifier: MIT */
/* Base64 (RFC 4648, section 4, with padding). Any thread. */
#ifndef ER_BASE_BASE64_H
#define ER_BASE_BASE64_H

#include "base/buf.h"

/* Adds n bytes as base64 to b. */
void er_base64_encode(struct er_buf *b, const void *p, size_t n);
/* Adds the bytes that n characters stand for to b: 0, or ER_EINVALID (b is as before) for
 * what is not base64, or b's failure. */
int er_base64_decode(struct er_buf *b, const char *text, size_t n) ER_MUSTCHECK;

#endif
