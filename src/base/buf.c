/* SPDX-License-Identifier: MIT */
/* Grows by doubling from 64 bytes up to its ceiling. Adding after a failure does
 * nothing, so many pieces are added and `failed` is looked at once; what was there
 * before the piece that failed stays. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define DEFAULT_MAX ((size_t)64 << 20)

void
er_buf_init(struct er_buf *b, size_t max)
{
    *b = (struct er_buf){.max = max};
}

void
er_buf_fini(struct er_buf *b)
{
    er_free(b->data);
    *b = (struct er_buf){.max = b->max};
}

void
er_buf_clear(struct er_buf *b)
{
    b->len = 0;
    b->failed = 0;
    if (b->data) {
        b->data[0] = '\0';
    }
}

int
er_buf_reserve(struct er_buf *b, size_t more)
{
    size_t max = b->max ? b->max : DEFAULT_MAX;
    if (b->failed) {
        return b->failed;
    }
    if (more > max || b->len > max - more) {
        return b->failed = ER_ETOOBIG;
    }
    size_t need = b->len + more + 1;
    if (need > b->size) {
        size_t size = b->size ? b->size : 64;
        while (size < need) {
            size *= 2;
        }
        char *data = er_realloc(b->data, size);
        if (!data) {
            return b->failed = ER_ENOMEM;
        }
        b->data = data;
        b->size = size;
    }
    return 0;
}

void
er_buf_add(struct er_buf *b, const void *p, size_t n)
{
    if (er_buf_reserve(b, n)) {
        return;
    }
    if (n > 0) {
        memcpy(b->data + b->len, p, n);
    }
    b->len += n;
    b->data[b->len] = '\0';
}

void
er_buf_add_str(struct er_buf *b, const char *s)
{
    er_buf_add(b, s, strlen(s));
}

void
er_buf_add_char(struct er_buf *b, char c)
{
    er_buf_add(b, &c, 1);
}

void
er_buf_add_i64(struct er_buf *b, int64_t v)
{
    char text[24];
    char *p = text + sizeof text;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        *--p = (char)('0' + u % 10);
        u /= 10;
    } while (u > 0);
    if (v < 0) {
        *--p = '-';
    }
    er_buf_add(b, p, (size_t)(text + sizeof text - p));
}

void
er_buf_add_seconds(struct er_buf *b, int64_t usec)
{
    char fraction[7] = {'.', '0', '0', '0', '0', '0', '0'};
    int64_t rest = usec % 1000000;
    er_buf_add_i64(b, usec / 1000000);
    if (rest > 0) {
        for (size_t i = 6; i > 0; i--) {
            fraction[i] = (char)('0' + rest % 10);
            rest /= 10;
        }
        er_buf_add(b, fraction, sizeof fraction);
    }
}

void
er_buf_addf(struct er_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || er_buf_reserve(b, (size_t)n)) {
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

/* Adds the escape of one control character, quote or backslash. */
static void
add_escaped(struct er_buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        er_buf_add(b, "\\\"", 2);
        return;
    case '\\':
        er_buf_add(b, "\\\\", 2);
        return;
    case '\n':
        er_buf_add(b, "\\n", 2);
        return;
    case '\r':
        er_buf_add(b, "\\r", 2);
        return;
    case '\t':
        er_buf_add(b, "\\t", 2);
        return;
    default: {
        char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        er_buf_add(b, esc, sizeof esc);
    }
    }
}

void
er_buf_add_json(struct er_buf *b, const char *s, size_t n)
{
    er_buf_add_char(b, '"');
    size_t plain = 0; /* start of the run that needs no escape */
    size_t i = 0;
    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t len = c < 0x80 ? 1 : er_utf8_len(s + i, n - i);
        if (c >= 0x80 && len > 0) {
            i += len;
            continue;
        }
        er_buf_add(b, s + plain, i - plain);
        if (c < 0x80) {
            add_escaped(b, c);
        } else {
            er_buf_add(b, "\xef\xbf\xbd", 3);
        }
        plain = ++i;
    }
    er_buf_add(b, s + plain, n - plain);
    er_buf_add_char(b, '"');
}

void
er_buf_add_json_str(struct er_buf *b, const char *s)
{
    if (s) {
        er_buf_add_json(b, s, strlen(s));
    } else {
        er_buf_add_str(b, "null");
    }
}

void
er_buf_drop(struct er_buf *b, size_t n)
{
    if (n >= b->len) {
        er_buf_clear(b);
        return;
    }
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

char *
er_buf_take(struct er_buf *b)
{
    if (!b->failed) {
        er_buf_add(b, "", 0); /* an empty one has no memory yet */
    }
    char *data = b->failed ? NULL : b->data;
    if (b->failed) {
        er_free(b->data);
    }
    *b = (struct er_buf){.max = b->max};
    return data;
}
