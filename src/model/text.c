/* SPDX-License-Identifier: MIT */
/* One pass, and no input is an error: an escape sequence that is cut is dropped, a byte
 * that is not UTF-8 becomes '?'. */
#include "model/text.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

#define ESC 0x1b

size_t
er_text_fit(const char *s, size_t n, size_t max)
{
    if (n <= max) {
        return n;
    }
    size_t at = 0;
    for (;;) {
        size_t len = er_utf8_len(s + at, n - at);
        len = len ? len : 1;
        if (len > max - at) {
            return at;
        }
        at += len;
    }
}

size_t
er_text_fit_chars(const char *s, size_t n, size_t max)
{
    size_t at = 0;
    for (size_t i = 0; i < max && at < n; i++) {
        size_t len = er_utf8_len(s + at, n - at);
        at += len ? len : 1;
    }
    return at;
}

/* The length of the escape sequence at the start of s, as far as it is there. */
static size_t
escape_len(const char *s, size_t n)
{
    size_t i = 2;
    if (n < 2) {
        return n;
    }
    if (s[1] == '[') { /* CSI: up to a final byte */
        while (i < n && !(s[i] >= 0x40 && s[i] <= 0x7e)) {
            i++;
        }
        return i < n ? i + 1 : n;
    }
    if (s[1] == ']' || s[1] == 'P' || s[1] == '^' || s[1] == '_') { /* up to BEL or ST */
        while (i < n && s[i] != '\a' && s[i] != ESC) {
            i++;
        }
        if (i < n && s[i] == ESC) {
            i++;
        }
        return i < n ? i + 1 : n;
    }
    bool charset = s[1] == '(' || s[1] == ')' || s[1] == '*' || s[1] == '+';
    return charset && n > 2 ? 3 : 2;
}

static bool
is_blank(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t
er_text_clean(char *out, size_t size, const char *s, size_t n)
{
    size_t len = 0, i = 0;
    bool blank = false; /* a blank is due before the next character */
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        if (c > ' ' && c < 0x7f && !blank && len + 1 < size) {
            out[len++] = (char)c; /* nearly all there is */
            i++;
            continue;
        }
        if (c == ESC) {
            i += escape_len(s + i, n - i);
            continue;
        }
        if (is_blank(c)) {
            blank = len > 0;
            i++;
            continue;
        }
        size_t take = er_utf8_len(s + i, n - i);
        bool control = c < 0x20 || c == 0x7f ||
                       (take == 2 && c == 0xc2 && (unsigned char)s[i + 1] < 0xa0);
        size_t step = take ? take : 1;
        if (!control) {
            if (len + (blank ? 1 : 0) + step >= size) {
                break;
            }
            if (blank) {
                out[len++] = ' ';
                blank = false;
            }
            memcpy(out + len, take ? s + i : "?", step);
            len += step;
        }
        i += step;
    }
    out[len] = '\0';
    return len;
}
