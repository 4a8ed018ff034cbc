/* SPDX-License-Identifier: MIT */
/* One pass from left to right. At `://` behind a scheme the text up to the end of the
 * authority is looked at for user information; at `?`, `&`, `;` or `#` the name of a
 * parameter. Everything between is copied. */
#include "model/mask.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* How far behind a '/' the '@' of a password with that '/' is looked for: keeps the work
 * linear in the length of the text. */
#define ODD_PASSWORD 256

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Is part of a scheme or of a parameter's name, besides letters and digits. */
static bool
is_joint(char c)
{
    return c == '-' || c == '.' || c == '_' || c == '+';
}

/* Ends any URL in running text, a shell line or JSON. */
static bool
ends_url(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7f || strchr("\"'`<>\\", c) != NULL;
}

static bool
ends_authority(char c)
{
    return ends_url(c) || c == '/' || c == '?' || c == '#';
}

static bool
equals(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && strncasecmp(s, word, n) == 0;
}

static bool
is_secret_name(const char *s, size_t n)
{
    static const char *const names[] = {
        "token",  "apikey", "key",       "password",   "passwd", "pwd",
        "secret", "sig",    "signature", "credential", "auth",
    };
    size_t last = n;
    while (last > 0 && s[last - 1] != '_' && s[last - 1] != '-' && s[last - 1] != '.') {
        last--;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (equals(s + last, n - last, names[i])) {
            return true;
        }
    }
    return false;
}

/* Whether a name alone before the '@' is the secret: not where it is only a login name.
 */
static bool
is_login_scheme(const char *scheme, size_t n)
{
    return equals(scheme, n, "ssh") || equals(scheme, n, "sftp") ||
           (n > 4 && strncasecmp(scheme + n - 4, "+ssh", 4) == 0);
}

/* The '@' that ends the user information at s, or NULL. A password may hold an unescaped
 * '/', which is told from `host:port/` by what follows the colon. */
static const char *
find_at(const char *s, size_t n)
{
    const char *at = NULL, *colon = NULL;
    size_t i = 0;
    for (; i < n && !ends_authority(s[i]); i++) {
        at = s[i] == '@' ? s + i : at;
        colon = s[i] == ':' && !colon ? s + i : colon;
    }
    if (at || !colon) {
        return at;
    }
    const char *port = colon + 1;
    while (port < s + i && *port >= '0' && *port <= '9') {
        port++;
    }
    if (port == s + i) {
        return NULL;
    }
    size_t far = n < i + ODD_PASSWORD ? n : i + ODD_PASSWORD;
    for (; i < far && !ends_url(s[i]); i++) {
        at = s[i] == '@' ? s + i : at;
    }
    return at;
}

/* Copies the user information at s, masked: how many bytes of s it was. */
static size_t
mask_user(struct er_buf *b, const char *s, size_t n, bool login)
{
    const char *at = find_at(s, n);
    if (!at) {
        return 0;
    }
    const char *colon = memchr(s, ':', (size_t)(at - s));
    if (colon) {
        er_buf_add(b, s, (size_t)(colon + 1 - s));
    } else if (login) {
        return 0;
    }
    er_buf_add_str(b, "***");
    return (size_t)(at - s);
}

/* Copies `name=value` at s with a masked value when the name says so: how many bytes. */
static size_t
mask_param(struct er_buf *b, const char *s, size_t n)
{
    size_t name = 0;
    while (name < n && (is_alnum(s[name]) || is_joint(s[name]))) {
        name++;
    }
    if (name == n || s[name] != '=' || !is_secret_name(s, name)) {
        return 0;
    }
    size_t end = name + 1;
    while (end < n && !ends_url(s[end]) && s[end] != '&' && s[end] != ';' &&
           s[end] != '#') {
        end++;
    }
    er_buf_add(b, s, name + 1);
    if (end > name + 1) {
        er_buf_add_str(b, "***");
    }
    return end;
}

/* The length of the scheme that ends before s + i. */
static size_t
scheme_len(const char *s, size_t i)
{
    size_t n = 0;
    while (n < i && n < 20 && (is_alnum(s[i - n - 1]) || is_joint(s[i - n - 1]))) {
        n++;
    }
    return n;
}

void
er_mask_encode(struct er_buf *b, const char *s, size_t n)
{
    size_t plain = 0, i = 0;
    while (i < n) {
        size_t skip = 0; /* bytes of punctuation before what may be secret */
        size_t scheme = 0;
        if (s[i] == ':' && n - i > 3 && s[i + 1] == '/' && s[i + 2] == '/') {
            scheme = scheme_len(s, i);
            skip = scheme ? 3 : 0;
        } else if (s[i] == '?' || s[i] == '&' || s[i] == ';' || s[i] == '#') {
            skip = 1;
        }
        if (skip == 0) {
            i++;
            continue;
        }
        size_t from = i + skip;
        er_buf_add(b, s + plain, from - plain);
        size_t took = scheme ? mask_user(b, s + from, n - from,
                                         is_login_scheme(s + i - scheme, scheme))
                             : mask_param(b, s + from, n - from);
        plain = i = from + took;
    }
    er_buf_add(b, s + plain, n - plain);
}
