/* SPDX-License-Identifier: MIT */
/* A list of `name=value; parameter, ...`, read from left to right. Preferences that are
 * not ours are passed over, as the RFC wants; of ours that come twice the first counts;
 * a wait that is no span of time is refused. */
#include "api/prefer.h"

#include <string.h>
#include <strings.h>

#define WAIT_MAX 3600 /* seconds */

/* A piece of the header; its bytes stand in there. */
struct piece {
    const char *p;
    size_t n;
};

static const char *
skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* A token, or what stands between quotes (with its backslashes); moves behind it. */
static struct piece
read_word(const char **at)
{
    const char *p = *at;
    struct piece word = {p, 0};
    if (*p != '"') {
        word.n = strcspn(p, " \t=;,\"");
        *at = p + word.n;
        return word;
    }
    word.p = ++p;
    while (*p && *p != '"') {
        p += *p == '\\' && p[1] ? 2 : 1;
    }
    word.n = (size_t)(p - word.p);
    *at = *p ? p + 1 : p;
    return word;
}

static bool
is(const struct piece *name, const char *word)
{
    return strlen(word) == name->n && strncasecmp(name->p, word, name->n) == 0;
}

/* Digits, and perhaps a point and digits: microseconds; -1: not such a number, or too
 * many seconds. (strtod would ask the locale.) */
static er_usec
read_seconds(const struct piece *v)
{
    er_usec whole = 0, part = 0, unit = ER_USEC_PER_SEC;
    size_t i = 0, digits = 0;
    for (; i < v->n && v->p[i] >= '0' && v->p[i] <= '9' && whole <= WAIT_MAX; i++) {
        whole = whole * 10 + (v->p[i] - '0');
        digits++;
    }
    if (i < v->n && v->p[i] == '.') {
        for (i++; i < v->n && v->p[i] >= '0' && v->p[i] <= '9'; i++) {
            unit /= 10;
            part += unit * (v->p[i] - '0');
            digits++;
        }
    }
    er_usec all = whole * ER_USEC_PER_SEC + part;
    return i < v->n || digits == 0 || all > WAIT_MAX * ER_USEC_PER_SEC ? -1 : all;
}

static int
take(const struct piece *name, const struct piece *value, struct er_prefer *out,
     struct er_err *err)
{
    if (is(name, "respond-async")) {
        out->respond_async = true;
    } else if (is(name, "errand-always")) {
        out->always = true;
    } else if (is(name, "wait") && !out->has_wait) {
        out->wait_for = read_seconds(value);
        out->has_wait = true;
        if (out->wait_for < 0) {
            return er_fail(err, ER_EINVALID,
                           "invalid wait '%.*s' (seconds, 0 to %d, as in wait=2.5)",
                           (int)(value->n < 40 ? value->n : 40), value->p, WAIT_MAX);
        }
    }
    return 0;
}

int
er_prefer_read(const char *text, struct er_prefer *out, struct er_err *err)
{
    *out = (struct er_prefer){.has_wait = false};
    for (const char *p = text ? text : ""; *p;) {
        struct piece name, value = {"", 0};
        p = skip_blanks(p);
        name = read_word(&p);
        p = skip_blanks(p);
        if (*p == '=') {
            p = skip_blanks(p + 1);
            value = read_word(&p);
        }
        int rc = take(&name, &value, out, err);
        if (rc) {
            return rc;
        }
        /* its parameters, and whatever else there is before the next comma */
        while (*p && *p != ',') {
            if (*p == '"') {
                (void)read_word(&p);
            } else {
                p++;
            }
        }
        p += *p == ',';
    }
    return 0;
}
