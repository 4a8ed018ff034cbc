/* SPDX-License-Identifier: MIT */
/* All arithmetic is on integers: a part is whole x unit + fraction x unit / 10^digits,
 * with six digits of the fraction at most, which no unit can overflow. */
#include "model/duration.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SEC ER_USEC_PER_SEC

/* The larger first, as they must stand in a duration. */
static const struct unit {
    const char *word;
    er_usec usec;
} units[] = {
    {"d", 86400 * SEC}, {"h", 3600 * SEC},      {"m", 60 * SEC},
    {"s", SEC},         {"ms", ER_USEC_PER_MS},
};
#define UNITS (sizeof units / sizeof units[0])

enum fault { FINE, MALFORMED, TOO_LONG };

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits; a number that is too large for a span stays at that ceiling. */
static const char *
read_whole(const char *p, er_usec *out)
{
    er_usec v = 0;
    for (; is_digit(*p); p++) {
        v = v > ER_DURATION_MAX ? v : v * 10 + (*p - '0');
    }
    *out = v;
    return p;
}

/* Reads the digits behind a point as millionths. */
static const char *
read_fraction(const char *p, er_usec *out_millionths)
{
    er_usec v = 0, weight = 100000;
    for (; is_digit(*p); p++) {
        v += (*p - '0') * weight;
        weight /= 10;
    }
    *out_millionths = v;
    return p;
}

/* The unit that starts at p, among those from `first` on; NULL when there is none. */
static const struct unit *
read_unit(const char **p, size_t first)
{
    size_t n = 0;
    while ((*p)[n] >= 'a' && (*p)[n] <= 'z') {
        n++;
    }
    for (size_t i = first; i < UNITS; i++) {
        if (strlen(units[i].word) == n && memcmp(units[i].word, *p, n) == 0) {
            *p += n;
            return &units[i];
        }
    }
    return NULL;
}

static enum fault
parse(const char *p, er_usec *out_for)
{
    er_usec sum = 0;
    size_t next_unit = 0;
    bool fraction_seen = false;
    if (strcmp(p, "0") == 0) {
        *out_for = 0;
        return FINE;
    }
    do {
        er_usec whole, millionths = 0;
        if (!is_digit(*p) || fraction_seen) {
            return MALFORMED;
        }
        p = read_whole(p, &whole);
        if (*p == '.') {
            fraction_seen = true;
            if (!is_digit(p[1])) {
                return MALFORMED;
            }
            p = read_fraction(p + 1, &millionths);
        }
        const struct unit *unit = read_unit(&p, next_unit);
        if (!unit) {
            return MALFORMED;
        }
        next_unit = (size_t)(unit - units) + 1;
        if (whole > ER_DURATION_MAX / unit->usec) {
            sum = ER_DURATION_MAX + 1; /* go on: malformed is the better complaint */
        } else {
            sum += whole * unit->usec + millionths * unit->usec / 1000000;
        }
        if (sum > ER_DURATION_MAX) {
            sum = ER_DURATION_MAX + 1;
        }
    } while (*p != '\0');
    if (sum > ER_DURATION_MAX) {
        return TOO_LONG;
    }
    *out_for = sum;
    return FINE;
}

int
er_duration_parse(const char *text, er_usec *out_for, struct er_err *err)
{
    switch (parse(text, out_for)) {
    case FINE:
        return 0;
    case TOO_LONG:
        return er_fail(err, ER_EINVALID, "duration '%.60s' is too long (at most 36500d)",
                       text);
    case MALFORMED:
        break;
    }
    return er_fail(err, ER_EINVALID,
                   "invalid duration '%.60s' (try 250ms, 2s, 5m, 1h30m)", text);
}

void
er_duration_format(er_usec span_for, char out[ER_DURATION_SIZE])
{
    er_usec ms = span_for > 0 ? span_for / ER_USEC_PER_MS : 0;
    er_usec s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    int n = 0;
    if (d > 0) {
        n = snprintf(out, ER_DURATION_SIZE, "%lldd%02dh", (long long)d, (int)(h % 24));
    } else if (h > 0) {
        n = snprintf(out, ER_DURATION_SIZE, "%dh%02dm", (int)h, (int)(m % 60));
    } else if (m > 0) {
        n = snprintf(out, ER_DURATION_SIZE, "%dm%02ds", (int)m, (int)(s % 60));
    } else if (s > 0) {
        n = snprintf(out, ER_DURATION_SIZE, "%d.%ds", (int)s, (int)(ms % 1000 / 100));
    } else {
        n = snprintf(out, ER_DURATION_SIZE, "%dms", (int)ms);
    }
    ER_ASSERT(n > 0 && n < ER_DURATION_SIZE);
}

void
er_age_format(er_usec age_for, char out[ER_DURATION_SIZE])
{
    er_usec m = age_for > 0 ? age_for / (60 * SEC) : 0;
    int n = 0;
    if (m == 0) {
        n = snprintf(out, ER_DURATION_SIZE, "just now");
    } else if (m < 60) {
        n = snprintf(out, ER_DURATION_SIZE, "%dm ago", (int)m);
    } else if (m < 24 * 60) {
        n = snprintf(out, ER_DURATION_SIZE, "%dh ago", (int)(m / 60));
    } else {
        n = snprintf(out, ER_DURATION_SIZE, "%lldd ago", (long long)(m / (24 * 60)));
    }
    ER_ASSERT(n > 0 && n < ER_DURATION_SIZE);
}

/* Adds the microseconds left below a second as the fraction of `unit`, `digits` long. */
static void
encode_fraction(er_usec whole, er_usec fraction, int digits, const char *unit,
                struct er_buf *b)
{
    while (digits > 0 && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    er_buf_add_i64(b, whole);
    if (digits > 0) {
        er_buf_addf(b, ".%0*d", digits, (int)fraction);
    }
    er_buf_add_str(b, unit);
}

void
er_duration_encode(er_usec span_for, struct er_buf *b)
{
    if (span_for <= 0) {
        er_buf_add_char(b, '0');
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        if (span_for >= units[i].usec) {
            er_buf_add_i64(b, span_for / units[i].usec);
            er_buf_add_str(b, units[i].word);
            span_for %= units[i].usec;
        }
    }
    if (span_for >= SEC) {
        encode_fraction(span_for / SEC, span_for % SEC, 6, "s", b);
    } else if (span_for > 0) {
        encode_fraction(span_for / 1000, span_for % 1000, 3, "ms", b);
    }
}
