/* SPDX-License-Identifier: MIT */
/* jansson reads a text byte by byte through three functions and copies each string twice.
 * Here a string is found by its end, and made where it lies; that takes a third of the time.
 *
 * Anything unusual gives up: whoever asked has jansson read the text again from its start. */
#include "wire/json_plain.h"

#include <stdbool.h>
#include <string.h>

#include "wire/json_text.h"

#define DIGITS_MAX 18 /* of an integer that surely fits 64 bits */

struct reader {
    const char *at, *end;
    int depth;
};

static json_t *read_value(struct reader *r);

static void
skip_blanks(struct reader *r)
{
    while (r->at < r->end &&
           (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')) {
        r->at++;
    }
}

/* Takes c, and the blanks before it, if it comes next. */
static bool
take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->at == r->end || *r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

static bool
is_plain(char c)
{
    return c >= ' ' && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* Finds the end of a string whose quote was taken. */
static bool
take_string(struct reader *r, const char **out, size_t *out_n)
{
    const char *p = r->at;
    while (p < r->end && is_plain(*p)) {
        p++;
    }
    if (p == r->end || *p != '"') {
        return false;
    }
    *out = r->at;
    *out_n = (size_t)(p - r->at);
    r->at = p + 1;
    return true;
}

static json_t *
read_string(struct reader *r)
{
    const char *text;
    size_t n;
    return take_string(r, &text, &n) ? json_stringn_nocheck(text, n) : NULL;
}

/* The members of an object whose brace was taken. A name that comes twice shows in how many
 * there are. */
static bool
read_members(struct reader *r, json_t *o)
{
    size_t n = 0;
    if (take(r, '}')) {
        return true;
    }
    do {
        const char *name;
        size_t len;
        if (!take(r, '"') || !take_string(r, &name, &len) || !take(r, ':')) {
            return false;
        }
        json_t *value = read_value(r);
        if (!value || json_object_setn_new_nocheck(o, name, len, value)) {
            return false;
        }
        n++;
    } while (take(r, ','));
    return take(r, '}') && json_object_size(o) == n;
}

static bool
read_elements(struct reader *r, json_t *a)
{
    if (take(r, ']')) {
        return true;
    }
    do {
        json_t *value = read_value(r);
        if (!value || json_array_append_new(a, value)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, ']');
}

static json_t *
read_nested(struct reader *r, json_t *v, bool (*read)(struct reader *r, json_t *v))
{
    if (!v || ++r->depth > ER_JSON_DEPTH || !read(r, v)) {
        json_decref(v);
        return NULL;
    }
    r->depth--;
    return v;
}

static json_t *
read_integer(struct reader *r)
{
    bool negative = *r->at == '-';
    const char *first = r->at + negative, *p = first;
    json_int_t n = 0;
    while (p < r->end && *p >= '0' && *p <= '9' && p - first < DIGITS_MAX) {
        n = n * 10 + (*p++ - '0');
    }
    bool is_real = p < r->end && (*p == '.' || *p == 'e' || *p == 'E');
    bool goes_on = p < r->end && *p >= '0' && *p <= '9';
    if (p == first || (*first == '0' && p > first + 1) || is_real || goes_on) {
        return NULL;
    }
    r->at = p;
    return json_integer(negative ? -n : n);
}

static json_t *
read_word(struct reader *r, const char *word, json_t *value)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) {
        return NULL;
    }
    r->at += n;
    return value; /* these have no count of references */
}

static json_t *
read_value(struct reader *r)
{
    skip_blanks(r);
    switch (r->at < r->end ? *r->at : '\0') {
    case '"':
        r->at++;
        return read_string(r);
    case '{':
        r->at++;
        return read_nested(r, json_object(), read_members);
    case '[':
        r->at++;
        return read_nested(r, json_array(), read_elements);
    case 't':
        return read_word(r, "true", json_true());
    case 'f':
        return read_word(r, "false", json_false());
    case 'n':
        return read_word(r, "null", json_null());
    default:
        return r->at < r->end ? read_integer(r) : NULL;
    }
}

json_t *
er_json_plain(const char *text, size_t len)
{
    struct reader r = {.at = text, .end = text + len};
    json_t *value = read_value(&r);
    skip_blanks(&r);
    if (r.at != r.end) {
        json_decref(value);
        return NULL;
    }
    return value;
}
