/* SPDX-License-Identifier: MIT */
/* Reads server-sent events out of a stream's bytes: only what errand sends (id, event,
 * data), comments are passed over. Pure; one thread. */
#ifndef ER_APP_SSE_H
#define ER_APP_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Takes the next whole event out of what was read (`in`): its data into `data` and, when
 * it had an id, that into *seq. False when there is none yet. */
bool er_sse_next(struct er_buf *in, struct er_buf *data, int64_t *seq);

#endif
