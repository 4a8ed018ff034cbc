/* SPDX-License-Identifier: MIT */
/* Percent escapes are decoded once; in the query `+` is a blank. What could be read in
 * two ways (an encoded NUL, a broken escape) is refused rather than repaired. */
#include "api/target.h"

#include <string.h>
#include <strings.h>

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Adds n bytes decoded, and a NUL. False for a bad escape, an encoded NUL, or a byte that
 * may not stand there. */
static bool
add_decoded(struct er_buf *b, const char *s, size_t n, bool is_form)
{
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if ((unsigned char)c <= 0x20 || c == 0x7f) {
            return false;
        }
        if (c == '+' && is_form) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < n ? hex_value(s[i + 1]) : -1;
            int low = i + 2 < n ? hex_value(s[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        er_buf_add_char(b, c);
    }
    er_buf_add_char(b, '\0');
    return true;
}

/* Adds the names and values of a query. */
static bool
add_query(struct er_buf *b, const char *q)
{
    while (*q) {
        size_t n = strcspn(q, "&");
        const char *equals = memchr(q, '=', n);
        size_t name = equals ? (size_t)(equals - q) : n;
        const char *value = equals ? equals + 1 : q + n;
        if (n > 0 && (!add_decoded(b, q, name, true) ||
                      !add_decoded(b, value, (size_t)(q + n - value), true))) {
            return false;
        }
        q += n + (q[n] == '&' ? 1 : 0);
    }
    return true;
}

int
er_target_parse(struct er_buf *out, const char *target)
{
    er_buf_clear(out);
    if (strncasecmp(target, "http://", 7) == 0) {
        target += 7; /* the absolute form: what follows the authority counts */
        target += strcspn(target, "/?");
    }
    size_t path = strcspn(target, "?");
    bool good = *target == '/' && add_decoded(out, target, path, false) &&
                (target[path] != '?' || add_query(out, target + path + 1));
    return out->failed ? ER_ENOMEM : good ? 0 : ER_EINVALID;
}

void
er_target_queries(const struct er_buf *parsed,
                  bool (*fn)(void *ctx, const char *name, const char *value), void *ctx)
{
    const char *end = parsed->data + parsed->len;
    const char *name = parsed->data + strlen(parsed->data) + 1;
    while (name < end) {
        const char *value = name + strlen(name) + 1;
        if (!fn(ctx, name, value)) {
            return;
        }
        name = value + strlen(value) + 1;
    }
}

struct find {
    const char *name, *value;
};

static bool
find_query(void *ctx, const char *name, const char *value)
{
    struct find *f = ctx;
    if (strcmp(name, f->name) != 0) {
        return true;
    }
    f->value = value;
    return false;
}

const char *
er_target_query(const struct er_buf *parsed, const char *name)
{
    struct find f = {name, NULL};
    er_target_queries(parsed, find_query, &f);
    return f.value;
}
