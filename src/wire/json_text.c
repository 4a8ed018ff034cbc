/* SPDX-License-Identifier: MIT */
/* A recursive descent over the text; what is between blanks is copied as it is. The names
 * of an object are remembered as 64-bit hashes of their decoded bytes on a stack; at its
 * end they are sorted, and two equal ones refuse the text (that two different names
 * collide is harmless: the text is then shown as a string).
 *
 * Failure: the first thing that does not fit ends the walk, and what was added is cut
 * off. */
#include "wire/json_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define NUMBER_MAX 400 /* characters of a number */

struct scan {
    const char *p, *end;
    struct er_buf *out;
    int depth;
    uint64_t *names; /* hashes of the names of all open objects */
    size_t n_names, size;
};

static bool parse_value(struct scan *s);

static void
skip_blanks(struct scan *s)
{
    while (s->p < s->end &&
           (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) {
        s->p++;
    }
}

/* Takes the character c if it is next (after blanks) and copies it. */
static bool
take(struct scan *s, char c)
{
    skip_blanks(s);
    if (s->p == s->end || *s->p != c) {
        return false;
    }
    s->p++;
    er_buf_add_char(s->out, c);
    return true;
}

/* FNV-1a (Fowler, Noll, Vo). */
static void
hash_byte(uint64_t *hash, unsigned c)
{
    *hash = (*hash ^ (c & 0xff)) * 0x100000001b3u;
}

static void
hash_char(uint64_t *hash, unsigned c)
{
    if (c < 0x80) {
        hash_byte(hash, c);
        return;
    }
    if (c < 0x800) {
        hash_byte(hash, 0xc0 | c >> 6);
    } else if (c < 0x10000) {
        hash_byte(hash, 0xe0 | c >> 12);
        hash_byte(hash, 0x80 | (c >> 6 & 0x3f));
    } else {
        hash_byte(hash, 0xf0 | c >> 18);
        hash_byte(hash, 0x80 | (c >> 12 & 0x3f));
        hash_byte(hash, 0x80 | (c >> 6 & 0x3f));
    }
    hash_byte(hash, 0x80 | (c & 0x3f));
}

/* The four hexadecimal digits of a \u escape, or -1. */
static int
parse_hex4(struct scan *s)
{
    int v = 0;
    if (s->end - s->p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = *s->p++;
        if (c >= '0' && c <= '9') {
            v = v * 16 + (c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            v = v * 16 + ((c | 0x20) - 'a' + 10);
        } else {
            return -1;
        }
    }
    return v;
}

static bool
parse_unicode_escape(struct scan *s, uint64_t *hash)
{
    int c = parse_hex4(s);
    if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff)) {
        return false;
    }
    if (c >= 0xd800 && c <= 0xdbff) {
        if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u') {
            return false;
        }
        s->p += 2;
        int low = parse_hex4(s);
        if (low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        c = 0x10000 + (c - 0xd800) * 0x400 + (low - 0xdc00);
    }
    hash_char(hash, (unsigned)c);
    return true;
}

static bool
parse_escape(struct scan *s, uint64_t *hash)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) {
        return false;
    }
    char c = *s->p++;
    if (c == 'u') {
        return parse_unicode_escape(s, hash);
    }
    const char *at = c ? strchr(letters, c) : NULL;
    if (!at) {
        return false;
    }
    hash_byte(hash, (unsigned char)meanings[at - letters]);
    return true;
}

static bool
parse_string(struct scan *s, uint64_t *hash)
{
    skip_blanks(s);
    const char *start = s->p;
    if (s->p == s->end || *s->p++ != '"') {
        return false;
    }
    *hash = 0xcbf29ce484222325u;
    while (s->p < s->end && *s->p != '"') {
        unsigned char c = (unsigned char)*s->p;
        if (c == '\\') {
            s->p++;
            if (!parse_escape(s, hash)) {
                return false;
            }
            continue;
        }
        size_t len = c < 0x80 ? 1 : er_utf8_len(s->p, (size_t)(s->end - s->p));
        if (c < 0x20 || len == 0) {
            return false;
        }
        for (; len > 0; len--) {
            hash_byte(hash, (unsigned char)*s->p++);
        }
    }
    if (s->p == s->end) {
        return false;
    }
    s->p++;
    er_buf_add(s->out, start, (size_t)(s->p - start));
    return true;
}

static bool
skip_digits(struct scan *s)
{
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        s->p++;
    }
    return s->p > start;
}

/* Whether the digits (and sign) of an integer fit 64 bits with a sign. */
static bool
fits_int64(const char *p, size_t n)
{
    bool minus = *p == '-';
    uint64_t v = 0, most = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    for (size_t i = minus ? 1 : 0; i < n; i++) {
        unsigned digit = (unsigned)(p[i] - '0');
        if (v > (most - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    return true;
}

static bool
parse_number(struct scan *s)
{
    const char *start = s->p;
    bool real = false;
    s->p += *s->p == '-' ? 1 : 0;
    const char *digits = s->p;
    if (!skip_digits(s) || (*digits == '0' && s->p - digits > 1)) {
        return false;
    }
    if (s->p < s->end && *s->p == '.') {
        real = true;
        s->p++;
        if (!skip_digits(s)) {
            return false;
        }
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        real = true;
        s->p++;
        s->p += s->p < s->end && (*s->p == '+' || *s->p == '-') ? 1 : 0;
        if (!skip_digits(s)) {
            return false;
        }
    }
    size_t n = (size_t)(s->p - start);
    char text[NUMBER_MAX + 1];
    if (n > NUMBER_MAX) {
        return false;
    }
    memcpy(text, start, n);
    text[n] = '\0';
    er_buf_add(s->out, start, n);
    return real ? isfinite(strtod(text, NULL)) != 0 : fits_int64(text, n);
}

static bool
parse_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) {
        return false;
    }
    s->p += n;
    er_buf_add(s->out, word, n);
    return true;
}

static bool
push_name(struct scan *s, uint64_t hash)
{
    if (s->n_names == s->size) {
        size_t size = s->size ? s->size * 2 : 32;
        uint64_t *names = er_realloc_array(s->names, size, sizeof *names);
        if (!names) {
            s->out->failed = ER_ENOMEM;
            return false;
        }
        s->names = names;
        s->size = size;
    }
    s->names[s->n_names++] = hash;
    return true;
}

static int
compare_names(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Takes the names from `first` on off the stack; whether they all differ. */
static bool
pop_names(struct scan *s, size_t first)
{
    size_t n = s->n_names - first;
    s->n_names = first;
    if (n < 2) {
        return true;
    }
    qsort(s->names + first, n, sizeof *s->names, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (s->names[first + i - 1] == s->names[first + i]) {
            return false;
        }
    }
    return true;
}

static bool
parse_object(struct scan *s)
{
    size_t first = s->n_names;
    if (take(s, '}')) {
        return true;
    }
    do {
        uint64_t hash;
        if (!parse_string(s, &hash) || !push_name(s, hash) || !take(s, ':') ||
            !parse_value(s)) {
            return false;
        }
    } while (take(s, ','));
    return take(s, '}') && pop_names(s, first);
}

static bool
parse_array(struct scan *s)
{
    if (take(s, ']')) {
        return true;
    }
    do {
        if (!parse_value(s)) {
            return false;
        }
    } while (take(s, ','));
    return take(s, ']');
}

static bool
parse_value(struct scan *s)
{
    bool ok;
    uint64_t hash;
    skip_blanks(s);
    if (s->p == s->end || s->depth == ER_JSON_DEPTH + 1) {
        return false;
    }
    s->depth++;
    switch (*s->p) {
    case '{':
        ok = s->depth <= ER_JSON_DEPTH && take(s, '{') && parse_object(s);
        break;
    case '[':
        ok = s->depth <= ER_JSON_DEPTH && take(s, '[') && parse_array(s);
        break;
    case '"':
        ok = parse_string(s, &hash);
        break;
    case 't':
        ok = parse_word(s, "true");
        break;
    case 'f':
        ok = parse_word(s, "false");
        break;
    case 'n':
        ok = parse_word(s, "null");
        break;
    default:
        ok = parse_number(s);
    }
    s->depth--;
    return ok;
}

int
er_json_text_compact(struct er_buf *b, const char *text, size_t n)
{
    struct scan s = {.p = text, .end = text + n, .out = b};
    size_t before = b->len;
    if (b->failed) {
        return b->failed;
    }
    bool ok = parse_value(&s);
    skip_blanks(&s);
    er_free(s.names);
    if (ok && s.p == s.end && !b->failed) {
        return 0;
    }
    if (b->data) {
        b->len = before;
        b->data[before] = '\0';
    }
    return b->failed ? b->failed : ER_EINVALID;
}
