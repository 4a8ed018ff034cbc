/* SPDX-License-Identifier: MIT */
/* Edit distance with swaps of neighbours, over three rows of the table on the stack; a
 * prefix wins over a small distance. Words longer than ER_SUGGEST_MAX get no suggestion,
 * so the work is bounded. */
#include "model/suggest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Three rows of the table are kept: the one being made and the two before it. */
static size_t
align(const char *a, size_t na, const char *b, size_t nb)
{
    unsigned char rows[3][ER_SUGGEST_MAX + 1];
    unsigned char *older = rows[0], *old = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++) {
        old[j] = older[j] = (unsigned char)j;
    }
    for (size_t i = 1; i <= na; i++) {
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= nb; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            size_t d =
                least(old[j - 1] + (same ? 0u : 1u), least(old[j], row[j - 1]) + 1u);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1])) {
                d = least(d, older[j - 2] + 1u);
            }
            row[j] = (unsigned char)d;
        }
        unsigned char *spare = older;
        older = old;
        old = row;
        row = spare;
    }
    return old[nb];
}

size_t
er_suggest_distance(const char *a, const char *b, size_t limit)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t apart = na > nb ? na - nb : nb - na;
    if (na > ER_SUGGEST_MAX || nb > ER_SUGGEST_MAX || apart > limit) {
        return limit + 1;
    }
    return least(align(a, na, b, nb), limit + 1);
}

static const char *
find_by_prefix(const char *word, const char *const *names, size_t n)
{
    const char *found = NULL;
    size_t len = strlen(word);
    for (size_t i = 0; i < n; i++) {
        if (len >= 3 && strncasecmp(names[i], word, len) == 0) {
            if (found) {
                return NULL;
            }
            found = names[i];
        }
    }
    return found;
}

const char *
er_suggest_find(const char *word, const char *const *names, size_t n)
{
    size_t limit = strlen(word) / 3;
    limit = limit < 1 ? 1 : limit > 3 ? 3 : limit;
    const char *best = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = er_suggest_distance(word, names[i], limit);
        if (d <= limit && d < strlen(names[i])) {
            best = names[i];
            if (d == 0) {
                break;
            }
            limit = d - 1;
        }
    }
    return best ? best : find_by_prefix(word, names, n);
}

int
er_suggest_fail(struct er_err *err, int code, const char *kind, const char *word,
                const char *const *names, size_t n)
{
    const char *near = er_suggest_find(word, names, n);
    if (near) {
        return er_fail(err, code, "unknown %s '%.100s' (did you mean %s?)", kind, word,
                       near);
    }
    return er_fail(err, code, "unknown %s '%.100s'", kind, word);
}

int
er_suggest_fail_list(struct er_err *err, int code, const char *kind, const char *word,
                     const char *const *names, size_t n)
{
    char list[400] = "";
    size_t len = 0;
    if (er_suggest_find(word, names, n)) {
        return er_suggest_fail(err, code, kind, word, names, n);
    }
    for (size_t i = 0; i < n && len < sizeof list; i++) {
        int more =
            snprintf(list + len, sizeof list - len, "%s%s", i > 0 ? ", " : "", names[i]);
        len += more > 0 ? (size_t)more : 0;
    }
    return er_fail(err, code, "unknown %s '%.100s' (there are %s)", kind, word, list);
}
