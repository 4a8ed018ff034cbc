/* SPDX-License-Identifier: MIT */
/* jansson writes the document, and its numbers with a fraction, which have up to 17
 * digits, are then shortened in place: strings are passed over, and what has no shorter
 * form that reads back as the same number stays. NULL when memory is out. */
#include "wire/json_dump.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_SAFE 15 /* of these any number has as many, and 17 are always enough */
#define DIGITS_ALL  17

/* Writes the number of n bytes at `from` to `to` in short: its length; 0 = it stays as it
 * is (an integer, or what has no shorter form). */
static size_t
shorten(const char *from, size_t n, char *to, size_t size)
{
    char given[64];
    if (n <= DIGITS_SAFE || n >= sizeof given || strcspn(from, ".eE") >= n) {
        return 0;
    }
    memcpy(given, from, n);
    given[n] = '\0';
    double v = strtod(given, NULL);
    for (int digits = DIGITS_SAFE; digits < DIGITS_ALL; digits++) {
        int len = snprintf(to, size, "%.*g", digits, v);
        if (strtod(to, NULL) < v || strtod(to, NULL) > v) {
            continue;
        }
        bool whole = strcspn(to, ".e") == (size_t)len;
        len += whole && (size_t)len + 2 < size ? snprintf(to + len, 3, ".0") : 0;
        return len > 0 && (size_t)len < n ? (size_t)len : 0;
    }
    return 0;
}

char *
er_json_dumps(const json_t *v, size_t flags)
{
    char *text = json_dumps(v, flags);
    char *to = text;
    bool in_string = false;
    for (const char *p = text; p && *p;) {
        char number[64];
        size_t n = in_string ? 0 : strspn(p, "+-.0123456789eE");
        bool is_number = n > 0 && (*p == '-' || (*p >= '0' && *p <= '9'));
        size_t len = is_number ? shorten(p, n, number, sizeof number) : 0;
        if (len > 0) {
            memcpy(to, number, len);
            to += len;
            p += n;
            continue;
        }
        n = is_number ? n : 1;
        if (in_string && *p == '\\' && p[1]) {
            n = 2;
        } else if (*p == '"') {
            in_string = !in_string;
        }
        memmove(to, p, n);
        to += n;
        p += n;
    }
    if (to) {
        *to = '\0';
    }
    return text;
}
