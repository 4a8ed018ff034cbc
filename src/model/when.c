/* SPDX-License-Identifier: MIT */
/* Each form is tried in turn; what none reads is refused with all forms named. */
#include "model/when.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Reads exactly n digits as a number. */
static bool
read_digits(const char **p, int n, int *out)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        v = v * 10 + (c - '0');
    }
    *p += n;
    *out = v;
    return true;
}

static bool
read_char(const char **p, char c)
{
    bool is = **p == c;
    *p += is ? 1 : 0;
    return is;
}

/* Reads HH:MM or HH:MM:SS up to the end of the text. */
static bool
read_clock(const char *p, struct tm *tm)
{
    tm->tm_sec = 0;
    if (!read_digits(&p, 2, &tm->tm_hour) || !read_char(&p, ':') ||
        !read_digits(&p, 2, &tm->tm_min)) {
        return false;
    }
    if (read_char(&p, ':') && !read_digits(&p, 2, &tm->tm_sec)) {
        return false;
    }
    return *p == '\0' && tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec < 60;
}

/* Reads YYYY-MM-DD and the blank or T behind it. */
static bool
read_date(const char **p, struct tm *tm)
{
    int year, month;
    if (!read_digits(p, 4, &year) || !read_char(p, '-') || !read_digits(p, 2, &month) ||
        !read_char(p, '-') || !read_digits(p, 2, &tm->tm_mday) ||
        (!read_char(p, ' ') && !read_char(p, 'T'))) {
        return false;
    }
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    return year >= 1970 && month >= 1 && month <= 12 && tm->tm_mday >= 1;
}

/* The moment of a local time; false when there is none. */
static bool
to_moment(struct tm tm, er_usec *out_at)
{
    tm.tm_isdst = -1;
    time_t t = mktime(&tm);
    *out_at = (er_usec)t * ER_USEC_PER_SEC;
    return t != (time_t)-1;
}

static bool
parse_dated(const char *p, er_usec *out_at)
{
    struct tm tm = {0};
    if (!read_date(&p, &tm) || !read_clock(p, &tm)) {
        return false;
    }
    struct tm noon = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    (void)timegm(&noon);
    return noon.tm_mday == tm.tm_mday && to_moment(tm, out_at); /* no 30 February */
}

/* HH:MM today, or `days` later; with `next`, a day later still when that is over. */
static bool
parse_clock(const char *p, er_usec now, int days, bool next, er_usec *out_at)
{
    time_t t = (time_t)(now / ER_USEC_PER_SEC);
    struct tm tm;
    er_usec at;
    if (!localtime_r(&t, &tm) || !read_clock(p, &tm)) {
        return false;
    }
    tm.tm_mday += days;
    if (!to_moment(tm, &at)) {
        return false;
    }
    if (next && at <= now) {
        tm.tm_mday++;
        if (!to_moment(tm, &at)) {
            return false;
        }
    }
    *out_at = at;
    return true;
}

int
er_when_parse(const char *text, er_usec now, er_usec *out_at, struct er_err *err)
{
    static const char tomorrow[] = "tomorrow ";
    size_t n = sizeof tomorrow - 1;
    er_usec at;
    bool ok =
        er_time_parse(text, &at) == 0 || parse_dated(text, &at) ||
        parse_clock(text, now, 0, true, &at) ||
        (strncmp(text, tomorrow, n) == 0 && parse_clock(text + n, now, 1, false, &at));
    if (!ok) {
        return er_fail(
            err, ER_EINVALID,
            "invalid time '%.60s' (try 09:30, 'tomorrow 09:30', '2026-01-31 09:30' "
            "or 2026-01-31T09:30:00Z)",
            text);
    }
    *out_at = at;
    return 0;
}
