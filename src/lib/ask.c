/* SPDX-License-Identifier: MIT */
/* What both ways have in common: the list of all asks under way, their bounds, their
 * ends. */
#include "lib/ask.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "lib/handle.h"
#include "lib/inside.h"
#include "lib/wire.h"

struct er_ask *
er_ask_new(struct errand *e, const char *method, const char *target_fmt, ...)
{
    struct er_ask *ask = er_xzalloc(sizeof *ask);
    char text[256];
    va_list ap;
    va_start(ap, target_fmt);
    int n = vsnprintf(text, sizeof text, target_fmt, ap);
    va_end(ap);
    ER_ASSERT(n >= 0);
    ask->target = er_xalloc((size_t)n + 1);
    if ((size_t)n < sizeof text) {
        memcpy(ask->target, text, (size_t)n + 1);
    } else {
        va_start(ap, target_fmt);
        (void)vsnprintf(ask->target, (size_t)n + 1, target_fmt, ap);
        va_end(ap);
    }
    ask->e = e;
    ask->method = method;
    return ask;
}

void
er_ask_header(struct er_ask *ask, const char *name, const char *value)
{
    er_buf_add(&ask->headers, name, strlen(name) + 1);
    er_buf_add(&ask->headers, value, strlen(value) + 1);
}

const char *
er_ask_find(const struct er_buf *headers, const char *name)
{
    for (size_t at = 0; at < headers->len;) {
        const char *known = headers->data + at;
        const char *value = known + strlen(known) + 1;
        if (strcasecmp(known, name) == 0) {
            return value;
        }
        at = (size_t)(value - headers->data) + strlen(value) + 1;
    }
    return NULL;
}

bool
er_ask_is_safe(const struct er_ask *ask)
{
    return strcmp(ask->method, "POST") != 0
               ? strcmp(ask->method, "PATCH") != 0
               : ask->has_key || er_ask_find(&ask->headers, "Idempotency-Key");
}

void
er_ask_send(struct er_ask *ask)
{
    struct errand *e = ask->e;
    ask->due = ER_NEVER;
    if (ask->bound > 0) {
        ask->due = er_clock_mono(er_clock_system()) + ask->bound;
        er_handle_watch_bounds(e);
    }
    ask->is_sent = true;
    TAILQ_INSERT_TAIL(&e->asks, ask, in_all);
    if (e->embedded) {
        er_inside_send(ask);
    } else {
        er_wire_send(e->wire, ask);
    }
}

/* Takes it away from its transport and from the list. */
static void
detach(struct er_ask *ask)
{
    if (!ask->is_sent) {
        return;
    }
    ask->is_sent = false;
    TAILQ_REMOVE(&ask->e->asks, ask, in_all);
    if (ask->e->embedded) {
        er_inside_drop(ask);
    } else {
        er_wire_drop(ask->e->wire, ask);
    }
}

static void
free_ask(struct er_ask *ask)
{
    er_buf_fini(&ask->body);
    er_buf_fini(&ask->headers);
    er_buf_fini(&ask->answer);
    er_free(ask->target);
    er_free(ask);
}

void
er_ask_cancel(struct er_ask *ask)
{
    if (ask) {
        detach(ask);
        free_ask(ask);
    }
}

void
er_ask_finish(struct er_ask *ask, int status)
{
    TAILQ_REMOVE(&ask->e->asks, ask, in_all);
    ask->is_sent = false;
    ask->status = status;
    er_buf_add(&ask->answer, "", 0); /* terminated, also when there is nothing */
    if (ask->answer.failed) {
        status = ask->status = ask->answer.failed;
        er_buf_fini(&ask->answer);
        er_buf_add_str(&ask->answer, "the answer is too large, or memory is out");
    }
    ask->done(ask, status, &ask->answer);
    free_ask(ask);
}

static void fail_ask(struct er_ask *ask, int code, const char *fmt, ...) ER_PRINTF(3, 4);

/* Ends it with a code and words. */
static void
fail_ask(struct er_ask *ask, int code, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (ask->e->embedded) {
        er_inside_drop(ask);
    } else {
        er_wire_drop(ask->e->wire, ask);
    }
    er_buf_fini(&ask->answer);
    er_buf_add_str(&ask->answer, text);
    er_ask_finish(ask, code);
}

bool
er_ask_got(const struct er_ask *ask, const char *name, char *out, size_t size)
{
    return ask->e->embedded ? er_inside_got(ask, name, out, size)
                            : er_wire_got(ask, name, out, size);
}

void
er_ask_take(struct er_ask *ask, struct er_buf *out)
{
    *out = ask->answer;
    ask->answer = (struct er_buf){0};
    er_buf_add(out, "", 0);
}

size_t
er_ask_look(struct errand *e)
{
    er_usec now = er_clock_mono(er_clock_system());
    size_t left = 0;
    for (;;) { /* from the start again: done may have ended others */
        struct er_ask *ask, *late = NULL;
        left = 0;
        TAILQ_FOREACH (ask, &e->asks, in_all) {
            left += ask->due != ER_NEVER;
            late = ask->due <= now ? ask : late;
        }
        if (!late) {
            return left;
        }
        fail_ask(late, ER_ETIMEOUT, "%s %s was not answered within %lld s", late->method,
                 late->target, (long long)(late->bound / ER_USEC_PER_SEC));
    }
}

void
er_ask_end_all(struct errand *e, bool callers_only)
{
    for (;;) {
        struct er_ask *ask;
        TAILQ_FOREACH (ask, &e->asks, in_all) {
            if (ask->caller || !callers_only) {
                break;
            }
        }
        if (!ask) {
            return;
        }
        fail_ask(ask, ER_ECLOSED, "the handle is being closed");
    }
}
