/* SPDX-License-Identifier: MIT */
/* A cursor over the bytes; each reader takes what it knows or leaves the cursor where it
 * was. A line that is no progress is refused with words, numbers too large to hold stay
 * at the largest. */
#include "model/progress_line.h"

#include "model/text.h"

/* What is left to be read. */
struct cursor {
    const char *p, *end;
};

static bool
is_digit(const struct cursor *c)
{
    return c->p < c->end && *c->p >= '0' && *c->p <= '9';
}

static bool
is_at(const struct cursor *c, char want)
{
    return c->p < c->end && *c->p == want;
}

static bool
is_blank_or_end(const struct cursor *c)
{
    return c->p == c->end || *c->p == ' ' || *c->p == '\t';
}

static void
skip_blanks(struct cursor *c)
{
    while (c->p < c->end && is_blank_or_end(c)) {
        c->p++;
    }
}

/* Reads digits; a number that does not fit stays at the greatest. */
static bool
read_number(struct cursor *c, int64_t *out)
{
    int64_t v = 0;
    if (!is_digit(c)) {
        return false;
    }
    for (; is_digit(c); c->p++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *c->p - '0', &v)) {
            v = INT64_MAX;
        }
    }
    *out = v;
    return true;
}

/* Reads the fraction of a percent, if there is one. */
static bool
read_fraction(struct cursor *c, double *out)
{
    double weight = 0.1;
    *out = 0.0;
    if (!is_at(c, '.')) {
        return true;
    }
    c->p++;
    if (!is_digit(c)) {
        return false;
    }
    for (; is_digit(c); c->p++) {
        *out += weight * (*c->p - '0');
        weight /= 10.0;
    }
    return true;
}

static bool
read_percent(struct cursor *c, bool minus, int64_t whole, struct er_progress_line *l)
{
    double fraction;
    if (!read_fraction(c, &fraction)) {
        return false;
    }
    struct cursor sign = *c;
    skip_blanks(&sign);
    if (is_at(&sign, '%')) {
        c->p = sign.p + 1;
    }
    l->has_percent = true;
    l->percent = ((double)whole + fraction) * (minus ? -1.0 : 1.0);
    return true;
}

static bool
read_position(struct cursor *c, struct er_progress_line *l)
{
    int64_t whole;
    bool minus = is_at(c, '-');
    c->p += minus ? 1 : 0;
    if (!read_number(c, &whole)) {
        return false;
    }
    if (!is_at(c, '/')) {
        return read_percent(c, minus, whole, l);
    }
    c->p++;
    l->has_current = true;
    l->current = minus ? -whole : whole;
    return read_number(c, &l->total) && l->total > 0;
}

int
er_progress_line_parse(const char *line, size_t n, struct er_progress_line *out_line,
                       struct er_err *err)
{
    struct er_progress_line l = {0};
    struct cursor c = {line, line + n};
    while (c.end > c.p && (c.end[-1] == '\n' || c.end[-1] == '\r')) {
        c.end--;
    }
    skip_blanks(&c);
    if (c.p == c.end) {
        l.is_blank = true;
    } else if (*c.p == '{') {
        l.is_json = true;
    } else if (read_position(&c, &l) && is_blank_or_end(&c)) {
        (void)er_text_clean(l.message, sizeof l.message, c.p, (size_t)(c.end - c.p));
    } else {
        char shown[61];
        (void)er_text_clean(shown, sizeof shown, line, n);
        return er_fail(
            err, ER_EINVALID,
            "invalid progress '%s' (try 40, '40%% linking', '2/4 cloning' or JSON)",
            shown);
    }
    *out_line = l;
    return 0;
}

struct er_progress_update
er_progress_line_update(const struct er_progress_line *line)
{
    return (struct er_progress_update){
        .source = ER_PROGRESS_REPORTED,
        .has_percent = line->has_percent,
        .percent = line->percent,
        .has_current = line->has_current,
        .has_total = line->has_current,
        .current = line->current,
        .total = line->total,
        .message = line->message[0] ? line->message : NULL,
    };
}
