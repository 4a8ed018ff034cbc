/* SPDX-License-Identifier: MIT */
/* Time: the only reader of the system's clocks. All times are er_usec, microseconds;
 * names ending in `_at` are moments, in `_for` spans. A clock is handed to whoever needs
 * one, so that tests can run on virtual time. */
#ifndef ER_BASE_CLOCK_H
#define ER_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef int64_t er_usec;

#define ER_USEC_PER_MS  ((er_usec)1000)
#define ER_USEC_PER_SEC ((er_usec)1000000)
/* "never", or "not set", where a moment is expected */
#define ER_NEVER INT64_MAX

struct er_clock {
    er_usec (*wall)(void *ctx); /* since 1970-01-01 UTC; may jump */
    er_usec (*mono)(void *ctx); /* since some start; never goes back, stops in suspend */
    er_usec (*boot)(void *ctx); /* the same, but goes on in suspend */
    void *ctx;
};

/* The system's clock: CLOCK_REALTIME, CLOCK_MONOTONIC and CLOCK_BOOTTIME. Any thread. */
const struct er_clock *er_clock_system(void);
er_usec er_clock_wall(const struct er_clock *clock);
er_usec er_clock_mono(const struct er_clock *clock);
er_usec er_clock_boot(const struct er_clock *clock);

#define ER_RFC3339_SIZE 25
/* Writes "2026-01-31T09:30:00.123Z" (UTC, milliseconds, rounded down) into out. */
void er_time_format(er_usec at, char out[ER_RFC3339_SIZE]);
/* Reads RFC 3339 with or without a fraction, with Z or an offset: 0 or ER_EINVALID. */
int er_time_parse(const char *text, er_usec *out_at) ER_MUSTCHECK;

#endif
