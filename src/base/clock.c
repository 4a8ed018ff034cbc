/* SPDX-License-Identifier: MIT */
/* Three clocks of the kernel: wall (may be set), mono (stands still in suspend), boot
 * (goes on in suspend). They cannot fail with the arguments used. Times as text are RFC
 * 3339; what is no such moment (30 February) is ER_EINVALID. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static er_usec
read_clock(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (er_usec)ts.tv_sec * ER_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static er_usec
system_wall(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_REALTIME);
}

static er_usec
system_mono(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_MONOTONIC);
}

static er_usec
system_boot(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_BOOTTIME);
}

const struct er_clock *
er_clock_system(void)
{
    static const struct er_clock clock = {system_wall, system_mono, system_boot, NULL};
    return &clock;
}

er_usec
er_clock_wall(const struct er_clock *clock)
{
    return clock->wall(clock->ctx);
}

er_usec
er_clock_mono(const struct er_clock *clock)
{
    return clock->mono(clock->ctx);
}

er_usec
er_clock_boot(const struct er_clock *clock)
{
    return clock->boot(clock->ctx);
}

/* Writes v as n digits and what follows them. */
static void
put_digits(char *out, int n, int v, char behind)
{
    for (int i = n - 1; i >= 0; i--) {
        out[i] = (char)('0' + v % 10);
        v /= 10;
    }
    out[n] = behind;
}

void
er_time_format(er_usec at, char out[ER_RFC3339_SIZE])
{
    er_usec sec = at / ER_USEC_PER_SEC;
    er_usec usec = at % ER_USEC_PER_SEC;
    if (usec < 0) {
        sec--;
        usec += ER_USEC_PER_SEC;
    }
    time_t t = (time_t)sec;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        (void)snprintf(out, ER_RFC3339_SIZE, "9999-12-31T23:59:59.999Z");
        return;
    }
    /* not strftime: it looks at /etc/localtime each time */
    put_digits(out, 4, tm.tm_year + 1900, '-');
    put_digits(out + 5, 2, tm.tm_mon + 1, '-');
    put_digits(out + 8, 2, tm.tm_mday, 'T');
    put_digits(out + 11, 2, tm.tm_hour, ':');
    put_digits(out + 14, 2, tm.tm_min, ':');
    put_digits(out + 17, 2, tm.tm_sec, '.');
    put_digits(out + 20, 3, (int)(usec / 1000), 'Z');
    out[24] = '\0';
}

/* Reads exactly n digits as a number; no sign and no blank, unlike scanf. p may be NULL,
 * after a failure before. */
static const char *
read_digits(const char *p, int n, int *out)
{
    int v = 0;
    for (int i = 0; p && i < n; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return NULL;
        }
        v = v * 10 + (p[i] - '0');
    }
    *out = v;
    return p ? p + n : NULL;
}

/* Goes past one of the characters in `any`. */
static const char *
skip(const char *p, const char *any)
{
    return p && *p != '\0' && strchr(any, *p) ? p + 1 : NULL;
}

/* Reads the fraction and the zone that follow the seconds: 0 or ER_EINVALID. */
static int
parse_tail(const char *p, er_usec *out_usec, int *out_offset_s)
{
    er_usec usec = 0;
    if (*p == '.') {
        if (p[1] < '0' || p[1] > '9') {
            return ER_EINVALID;
        }
        er_usec unit = ER_USEC_PER_SEC / 10;
        for (p++; *p >= '0' && *p <= '9'; p++) {
            usec += (*p - '0') * unit;
            unit /= 10;
        }
    }
    *out_usec = usec;
    *out_offset_s = 0;
    if ((*p == 'Z' || *p == 'z') && p[1] == '\0') {
        return 0;
    }
    int h, m, sign = *p == '-' ? -1 : 1;
    p = read_digits(skip(read_digits(skip(p, "+-"), 2, &h), ":"), 2, &m);
    if (!p || *p != '\0' || h > 23 || m > 59) {
        return ER_EINVALID;
    }
    *out_offset_s = (h * 3600 + m * 60) * sign;
    return 0;
}

int
er_time_parse(const char *text, er_usec *out_at)
{
    struct tm tm = {0};
    int offset_s;
    er_usec usec;
    const char *p = read_digits(text, 4, &tm.tm_year);
    p = read_digits(skip(p, "-"), 2, &tm.tm_mon);
    p = read_digits(skip(p, "-"), 2, &tm.tm_mday);
    p = read_digits(skip(p, "Tt "), 2, &tm.tm_hour);
    p = read_digits(skip(p, ":"), 2, &tm.tm_min);
    p = read_digits(skip(p, ":"), 2, &tm.tm_sec);
    if (!p || parse_tail(p, &usec, &offset_s)) {
        return ER_EINVALID;
    }
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970) {
        return ER_EINVALID;
    }
    int day = tm.tm_mday;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    struct tm date = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = day};
    (void)timegm(&date);
    if (date.tm_mday != day) {
        return ER_EINVALID; /* such as 30 February */
    }
    *out_at = ((er_usec)timegm(&tm) - offset_s) * ER_USEC_PER_SEC + usec;
    return 0;
}
