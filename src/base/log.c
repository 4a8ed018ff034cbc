/* SPDX-License-Identifier: MIT */
/* A record is made in a buffer on the stack (its text is cut at 1,023 bytes) and written
 * by one write. What cannot be written is lost without a word: there is nowhere to
 * complain. */
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/count.h"

static const char *const words[] = {"error", "warn", "info", "debug"};
static struct er_count least = {ER_LOG_INFO}; /* may be set while threads log (SIGHUP) */
static struct er_count quiet;                 /* nothing is written any more */
static _Thread_local er_log_sink_fn *sink;
static _Thread_local void *sink_ctx;

void
er_log_set_quiet(void)
{
    er_count_set(&quiet, 1);
}

void
er_log_sink(er_log_sink_fn *fn, void *ctx)
{
    sink = fn;
    sink_ctx = ctx;
}

void
er_log_set_level(enum er_log_level level)
{
    er_count_set(&least, (int64_t)level);
}

int
er_log_find_level(const char *word)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

void
er_log(enum er_log_level level, const char *src, const char *fmt, ...)
{
    if ((int64_t)level > er_count_get(&least) || (!sink && er_count_get(&quiet))) {
        return;
    }
    char text[1024], line[2400], at[ER_RFC3339_SIZE];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (sink) {
        sink(sink_ctx, level, src, text);
        return;
    }
    er_time_format(er_clock_wall(er_clock_system()), at);
    int n =
        snprintf(line, sizeof line, "%s level=%s src=%s msg=\"", at, words[level], src);
    size_t len = (size_t)n;
    for (const char *p = text; *p && len < sizeof line - 8; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') {
            line[len++] = '\\';
            line[len++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            len += (size_t)snprintf(line + len, 5, "\\x%02x", c);
        } else {
            line[len++] = (char)c;
        }
    }
    line[len++] = '"';
    line[len++] = '\n';
    ssize_t done = write(STDERR_FILENO, line, len);
    (void)done; /* nowhere to complain */
}
