/* SPDX-License-Identifier: MIT */
/* Decoding is strict: a length that is no multiple of four, a stranger's character,
 * padding in the middle are ER_EINVALID, and the buffer is cut back to what it was. */
#include "base/base64.h"

#include <string.h>

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
er_base64_encode(struct er_buf *b, const void *p, size_t n)
{
    const unsigned char *in = p;
    if (er_buf_reserve(b, (n + 2) / 3 * 4)) {
        return;
    }
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned v = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                     (left > 2 ? in[i + 2] : 0u);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63],
                       left > 1 ? digits[v >> 6 & 63] : '=',
                       left > 2 ? digits[v & 63] : '='};
        er_buf_add(b, out, 4);
    }
}

static int
digit(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int
er_base64_decode(struct er_buf *b, const char *text, size_t n)
{
    size_t was = b->len;
    if (n % 4 != 0) {
        return ER_EINVALID;
    }
    for (size_t i = 0; i < n; i += 4) {
        size_t pad = 0;
        if (i + 4 == n && text[n - 1] == '=') {
            pad = text[n - 2] == '=' ? 2 : 1;
        }
        unsigned v = 0;
        for (size_t k = 0; k < 4; k++) {
            int d = k >= 4 - pad ? 0 : digit(text[i + k]);
            if (d < 0) {
                if (b->len > was) {
                    b->len = was;
                    b->data[was] = '\0';
                }
                return ER_EINVALID;
            }
            v = v << 6 | (unsigned)d;
        }
        char out[3] = {(char)(v >> 16), (char)(v >> 8 & 255), (char)(v & 255)};
        er_buf_add(b, out, 3 - pad);
    }
    return b->failed;
}
