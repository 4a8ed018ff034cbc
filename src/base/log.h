/* SPDX-License-Identifier: MIT */
/* The programs' own log: one line a record on standard error, as key=value:
 *   2026-01-31T09:30:00.123Z level=warn src=dispatch msg="worker w1 is gone"
 * Libraries and rooms below engine/work do not log; they return errors. Any thread. */
#ifndef ER_BASE_LOG_H
#define ER_BASE_LOG_H

#include "base/error.h"

enum er_log_level { ER_LOG_ERROR, ER_LOG_WARN, ER_LOG_INFO, ER_LOG_DEBUG };

/* Least important level that is written; the default is ER_LOG_INFO. Any
 * thread, also while others log. */
void er_log_set_level(enum er_log_level level);
/* The level of that name ("error", "warn", "info", "debug"), or -1. */
int er_log_find_level(const char *word);
/* Writes one record: `src` a short word for the room, the text as msg (quoted, control
 * bytes escaped). One write(2) a record, so records of processes do not mix. */
void er_log(enum er_log_level level, const char *src, const char *fmt, ...)
    ER_PRINTF(3, 4);

/* For the library, which writes nothing: records of this thread go to `fn` instead (NULL
 * = nowhere special), and once it is quiet those of other threads go nowhere. */
typedef void er_log_sink_fn(void *ctx, enum er_log_level level, const char *src,
                            const char *text);
void er_log_sink(er_log_sink_fn *fn, void *ctx);
void er_log_set_quiet(void);

#endif
