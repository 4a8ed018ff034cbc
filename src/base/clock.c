/* SPDX-License-Identifier: MIT */
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

const struct er_clock *
er_clock_system(void)
{
    static const struct er_clock clock = {system_wall, system_mono, NULL};
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
    char date[40];
    if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        (void)snprintf(out, ER_RFC3339_SIZE, "9999-12-31T23:59:59.999Z");
        return;
    }
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, ER_RFC3339_SIZE, "%.19s.%03dZ", date, (int)(usec / 1000));
}

/* Reads the fraction and the zone that follow the seconds: 0 or ER_EINVALID. */
static int
parse_tail(const char *p, er_usec *out_usec, int *out_offset_s)
{
    er_usec usec = 0;
    if (*p == '.') {
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
    int h, m, n = 0;
    char sign = *p;
    if ((sign != '+' && sign != '-') || sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) != 2 ||
        p[1 + n] != '\0' || h > 23 || m > 59) {
        return ER_EINVALID;
    }
    *out_offset_s = (h * 3600 + m * 60) * (sign == '-' ? -1 : 1);
    return 0;
}

int
er_time_parse(const char *text, er_usec *out_at)
{
    struct tm tm = {0};
    int n = 0, offset_s;
    er_usec usec;
    if (sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6 ||
        n == 0 || parse_tail(text + n, &usec, &offset_s)) {
        return ER_EINVALID;
    }
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970) {
        return ER_EINVALID;
    }
    int day = tm.tm_mday;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t t = timegm(&tm);
    if (tm.tm_mday != day) {
        return ER_EINVALID; /* such as 30 February */
    }
    *out_at = ((er_usec)t - offset_s) * ER_USEC_PER_SEC + usec;
    return 0;
}
