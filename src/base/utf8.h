/* SPDX-License-Identifier: MIT */
/* UTF-8 (RFC 3629), as much as checking needs; widths are the business of utf8proc. */
#ifndef ER_BASE_UTF8_H
#define ER_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length in bytes (1 to 4) of the well-formed character at the start of s, of which n
 * bytes are there; 0 when it is not well-formed: overlong, a surrogate, cut, too
 * large. */
size_t er_utf8_len(const char *s, size_t n);
bool er_utf8_is_valid(const char *s, size_t n);

#endif
