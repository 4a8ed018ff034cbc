/* SPDX-License-Identifier: MIT */
/* By the table of well-formed sequences (Unicode, table 3-7): overlong forms, surrogates
 * and what lies above U+10FFFF have the length 0. */
#include "base/utf8.h"

size_t
er_utf8_len(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (n == 0) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    size_t len = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 0;
    if (p[0] >= 0xf0 && p[0] < 0xf5) {
        len = 4;
    }
    if (len == 0 || n < len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* the second byte is bounded after these leads: overlong, surrogates, above
     * U+10FFFF */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return len;
}

bool
er_utf8_is_valid(const char *s, size_t n)
{
    while (n > 0) {
        size_t len = er_utf8_len(s, n);
        if (len == 0) {
            return false;
        }
        s += len;
        n -= len;
    }
    return true;
}
