/* SPDX-License-Identifier: MIT */
/* Read from left to right: number, slash, span, suffixes. The first flaw is told with an
 * example of what would be right; *out is untouched then. What is encoded is read back
 * the same. */
#include "model/rate.h"

#include <string.h>

#include "model/duration.h"

#define N_MAX   INT64_C(1000000000)
#define PER_MAX (INT64_C(365) * 86400 * ER_USEC_PER_SEC)

/* A whole number from 1 to N_MAX; NULL when there is none. */
static const char *
read_number(const char *p, int64_t *out)
{
    int64_t v = 0;
    const char *start = p;
    for (; *p >= '0' && *p <= '9' && v <= N_MAX; p++) {
        v = v * 10 + (*p - '0');
    }
    *out = v;
    return p > start && v >= 1 && v <= N_MAX ? p : NULL;
}

/* The span behind the slash, up to a colon: `1m`, or `m` for one of it. */
static const char *
read_span(const char *p, er_usec *out)
{
    char text[32];
    size_t n = strcspn(p, ":");
    bool bare = !(p[0] >= '0' && p[0] <= '9');
    if (n == 0 || n + 2 > sizeof text) {
        return NULL;
    }
    size_t at = 0;
    if (bare) {
        text[at++] = '1';
    }
    memcpy(text + at, p, n);
    text[at + n] = '\0';
    bool ok = er_duration_parse(text, out, NULL) == 0;
    return ok && *out >= ER_USEC_PER_MS && *out <= PER_MAX ? p + n : NULL;
}

/* One `:word` behind the span. */
static const char *
read_suffix(const char *p, struct er_rate *r)
{
    static const char starts[] = ":starts", burst[] = ":burst=";
    if (strncmp(p, burst, sizeof burst - 1) == 0) {
        p = read_number(p + sizeof burst - 1, &r->burst);
        return p && r->burst <= r->n ? p : NULL;
    }
    if (strncmp(p, starts, sizeof starts - 1) == 0) {
        r->starts = true;
        return p + sizeof starts - 1;
    }
    return NULL;
}

int
er_rate_parse(const char *text, struct er_rate *out_rate, struct er_err *err)
{
    struct er_rate r = {.burst = 1};
    const char *p = read_number(text, &r.n);
    p = p && *p == '/' ? read_span(p + 1, &r.per_for) : NULL;
    while (p && *p) {
        p = read_suffix(p, &r);
    }
    if (!p) {
        return er_fail(err, ER_EINVALID,
                       "invalid rate '%.60s' (try 10/1s, 100/1m, 1000/1h:burst=50, "
                       "60/1m:starts)",
                       text);
    }
    *out_rate = r;
    return 0;
}

void
er_rate_encode(const struct er_rate *rate, struct er_buf *b)
{
    er_buf_add_i64(b, rate->n);
    er_buf_add_char(b, '/');
    er_duration_encode(rate->per_for, b);
    if (rate->burst > 1) {
        er_buf_addf(b, ":burst=%lld", (long long)rate->burst);
    }
    if (rate->starts) {
        er_buf_add_str(b, ":starts");
    }
}
