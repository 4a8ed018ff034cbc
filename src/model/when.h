/* SPDX-License-Identifier: MIT */
/* Moments as people write them for `--at`. Pure but for the time zone of the process (TZ,
 * /etc/localtime), which libc reads; now is handed in. Any thread.
 *
 *   2026-01-31T09:30:00Z, 2026-01-31T09:30:00.5+01:00   that moment (RFC 3339)
 *   2026-01-31 09:30, 2026-01-31T09:30:15               local time
 *   09:30, 09:30:15                                     local time, the next time it
 * comes tomorrow 09:30                                      local time
 *
 * A time that a change of the clocks leaves out is moved by libc to one that exists; one
 * that comes twice means whichever of the two libc picks. */
#ifndef ER_MODEL_WHEN_H
#define ER_MODEL_WHEN_H

#include "base/clock.h"
#include "base/error.h"

/* Reads a moment; it may lie in the past (a full date does not look at now). 0, or
 * ER_EINVALID with words that show the forms. */
int er_when_parse(const char *text, er_usec now, er_usec *out_at,
                  struct er_err *err) ER_MUSTCHECK;

#endif
