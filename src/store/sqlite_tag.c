/* SPDX-License-Identifier: MIT */
/* Tags come as a JSON array of texts. It is read here, and not by SQLite's functions for
 * JSON: when memory is out some of these give a wrong answer instead of an error, and a
 * task would be refused for its tags, or lose one. */
#include "store/sqlite_priv.h"

#include <string.h>

static const char *
skip_spaces(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Four hexadecimal digits; -1 when they are not there. */
static int
read_hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (!d) {
            return -1;
        }
        v = v * 16 + (int)(d - digits) % 16;
    }
    return v;
}

static void
add_utf8(struct er_buf *b, unsigned c)
{
    static const unsigned char heads[] = {0, 0xc0, 0xe0, 0xf0};
    unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    er_buf_add_char(b, (char)(heads[more] | c >> 6 * more));
    while (more > 0) {
        more--;
        er_buf_add_char(b, (char)(0x80 | (c >> 6 * more & 0x3f)));
    }
}

/* What stands behind "\u", and its second half: where to go on, or NULL. */
static const char *
read_unicode(const char *p, struct er_buf *b)
{
    int high = read_hex4(p), low;
    if (high <= 0) {
        return NULL; /* a NUL would cut the tag */
    }
    p += 4;
    if ((high & 0xfc00) != 0xd800) {
        add_utf8(b, (high & 0xfc00) == 0xdc00 ? 0xfffd : (unsigned)high);
        return p;
    }
    low = p[0] == '\\' && p[1] == 'u' ? read_hex4(p + 2) : -1;
    if (low < 0 || (low & 0xfc00) != 0xdc00) {
        add_utf8(b, 0xfffd); /* half a character */
        return p;
    }
    add_utf8(b, 0x10000u + ((unsigned)(high & 0x3ff) << 10) + (unsigned)(low & 0x3ff));
    return p + 6;
}

/* The character behind a backslash: where to go on, or NULL. */
static const char *
read_escape(const char *p, struct er_buf *b)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (*p == 'u') {
        return read_unicode(p + 1, b);
    }
    const char *name = *p ? strchr(names, *p) : NULL;
    if (!name) {
        return NULL;
    }
    er_buf_add_char(b, meant[name - names]);
    return p + 1;
}

/* A text from its quote on: where to go on, or NULL. */
static const char *
read_text(const char *p, struct er_buf *b)
{
    er_buf_clear(b);
    er_buf_add_str(b, "");
    if (*p++ != '"') {
        return NULL;
    }
    while (p && *p != '"') {
        if ((unsigned char)*p < 0x20) {
            return NULL; /* the end, too */
        }
        if (*p == '\\') {
            p = read_escape(p + 1, b);
        } else {
            er_buf_add_char(b, *p++);
        }
    }
    return p ? p + 1 : NULL;
}

int
er_sqlite_tag_next(const char *json, const char **at, struct er_buf *b)
{
    const char *p = skip_spaces(*at ? *at : json);
    bool first = *at == NULL;
    if (first) {
        if (*p != '[') {
            return ER_EINVALID;
        }
        p = skip_spaces(p + 1);
    }
    if (*p == ']') {
        return *skip_spaces(p + 1) == '\0' ? 0 : ER_EINVALID;
    }
    if (!first) {
        if (*p != ',') {
            return ER_EINVALID;
        }
        p = skip_spaces(p + 1);
    }
    p = read_text(p, b);
    if (b->failed) {
        return ER_ENOMEM;
    }
    *at = p;
    return p ? 1 : ER_EINVALID;
}
