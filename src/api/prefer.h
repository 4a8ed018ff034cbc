/* SPDX-License-Identifier: MIT */
/* The header Prefer (RFC 7240), as far as a call understands it. Any thread. */
#ifndef ER_API_PREFER_H
#define ER_API_PREFER_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"

struct er_prefer {
    bool has_wait;
    er_usec wait_for;   /* wait=2.5 */
    bool respond_async; /* respond-async */
    bool always;        /* errand-always */
};
/* Reads it; NULL is none. Of one that stands twice the first counts; what is not known is
 * passed over. ER_EINVALID: a wait that is not a number of seconds from 0 to 3600. */
int er_prefer_read(const char *text, struct er_prefer *out,
                   struct er_err *err) ER_MUSTCHECK;

#endif
