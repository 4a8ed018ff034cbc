/* SPDX-License-Identifier: MIT */
/* What others say of an attempt in this process, by HTTP: a child of its handler's
 * (`errand progress`), or anybody who may (docs/PROTOCOL.md, "Progress lines").
 *
 * Happy path: it is as if the handler had said it: progress, items and the checkpoint at
 * once; a result, an error and a rate limit count at the end, where what the handler
 * itself has set is stronger. An error or a rate limit makes an end of its own, also when
 * the handler then returns 0; one that has stopped as it was asked has only stopped.
 *
 * Failure modes: what makes no sense, or finds no memory, becomes a warning of the
 * attempt. */
#include "lib/handlers_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"

#define WARNINGS_MAX 20

/* ---- hearing ---- */

static void
hear_warning(void *ctx, const char *text)
{
    struct er_handlers_told *t = &((struct er_handler_attempt *)ctx)->told;
    if (t->n_warnings++ < WARNINGS_MAX) {
        er_buf_add_str(&t->warnings, t->warnings.len > 0 ? "," : "");
        er_buf_add_json_str(&t->warnings, text);
    }
}

static void
hear_loss(struct er_handler_attempt *attempt, const char *what)
{
    char text[100];
    (void)snprintf(text, sizeof text, "progress line: no memory for its %s", what);
    hear_warning(attempt, text);
}

static void
hear_item(void *ctx, const char *name, bool is_failed)
{
    if (er_handlers_mouth_item(ctx, name, is_failed) != 0) {
        hear_loss(ctx, "item");
    }
}

static void
hear_checkpoint(void *ctx, const char *json, size_t n)
{
    (void)n;
    if (er_handlers_mouth_checkpoint(ctx, json) != 0) {
        hear_loss(ctx, "checkpoint");
    }
}

static void
hear_retry_after(void *ctx, double s)
{
    struct er_handlers_told *t = &((struct er_handler_attempt *)ctx)->told;
    t->has_retry_after = true;
    t->retry_after_s = s;
}

static void
hear_error(void *ctx, const char *json)
{
    struct er_handlers_told *t = &((struct er_handler_attempt *)ctx)->told;
    char *copy = er_strdup(json);
    if (copy) {
        er_free(t->error);
        t->error = copy;
    } else {
        hear_loss(ctx, "error");
    }
}

static void
hear_result(void *ctx, const char *p, size_t n)
{
    struct er_handlers_told *t = &((struct er_handler_attempt *)ctx)->told;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add(&b, p, n);
    if (b.failed) {
        er_buf_fini(&b);
        hear_loss(ctx, "result");
        return;
    }
    er_buf_fini(&t->result);
    t->result = b;
    t->has_result = true;
    t->result_lost = false;
}

static void
hear_result_lost(void *ctx)
{
    struct er_handlers_told *t = &((struct er_handler_attempt *)ctx)->told;
    t->has_result = false;
    t->result_lost = true;
}

void
er_handlers_told_take(struct er_handler_attempt *attempt, const json_t *line)
{
    static const struct er_said_sink listener = {
        hear_item,   hear_checkpoint,  hear_retry_after, hear_error,
        hear_result, hear_result_lost, hear_warning,
    };
    if (attempt->is_over || attempt->dropped) {
        return;
    }
    struct er_progress_update u =
        er_said_take(line, &attempt->told.parts, &listener, attempt);
    er_count_set(&attempt->base.alive_at, er_handlers_now(attempt->handlers));
    er_handlers_run_update(attempt, &u);
}

/* ---- its end ---- */

static bool
counts(const struct er_handler_attempt *attempt)
{
    return attempt->end == ER_ATTEMPT_COMPLETED || attempt->end == ER_ATTEMPT_FAILED;
}

/* It would have completed, but for a result that is too large to be kept. */
static bool
loses_result(const struct er_handler_attempt *attempt)
{
    return attempt->told.result_lost && attempt->end == ER_ATTEMPT_COMPLETED &&
           !attempt->base.result;
}

bool
er_handlers_told_fails(const struct er_handler_attempt *attempt)
{
    return (counts(attempt) && (attempt->told.error || attempt->told.has_retry_after)) ||
           loses_result(attempt);
}

/* The handler's own words are those of errand_fail; what it returned is none. */
static bool
has_words(const struct er_handler_attempt *attempt)
{
    return attempt->end == ER_ATTEMPT_FAILED && attempt->base.fault.returned != 0;
}

static void
warn_of(struct er_handler_attempt *attempt, const char *member, bool is_own)
{
    char text[120];
    (void)snprintf(text, sizeof text,
                   "progress line: `%s` does not count: the handler %s", member,
                   is_own ? "has set its own" : "has stopped as it was asked");
    hear_warning(attempt, text);
}

void
er_handlers_told_settle(struct er_handler_attempt *attempt)
{
    struct er_handlers_told *t = &attempt->told;
    bool is_limited = attempt->end == ER_ATTEMPT_LIMITED;
    if (t->error && (!counts(attempt) || has_words(attempt))) {
        warn_of(attempt, "error", is_limited || has_words(attempt));
    }
    if (t->has_retry_after && !counts(attempt)) {
        warn_of(attempt, "retry_after_s", is_limited);
    }
    if (t->has_result && (!counts(attempt) || attempt->base.result)) {
        warn_of(attempt, "result", is_limited || attempt->base.result != NULL);
    }
}

static void
add_error(const struct er_handler_attempt *attempt, struct er_buf *b)
{
    if (attempt->told.error && counts(attempt) && !has_words(attempt)) {
        er_buf_add_str(b, ",\"error\":");
        er_buf_add_str(b, attempt->told.error);
    } else if (loses_result(attempt)) {
        er_buf_add_str(b,
                       ",\"error\":{\"class\":\"fatal\",\"code\":\"" ER_RESULT_LOST_CODE
                       "\",\"message\":\"" ER_RESULT_LOST_MESSAGE
                       "\",\"suggested_action\":\"" ER_RESULT_LOST_ACTION "\"}");
    } else if (attempt->end == ER_ATTEMPT_FAILED) {
        er_buf_add_str(b, ",\"error\":");
        er_buf_add_str(b, attempt->error.len > 0 ? attempt->error.data : "null");
    }
}

void
er_handlers_told_add(const struct er_handler_attempt *attempt, struct er_buf *b)
{
    const struct er_handlers_told *t = &attempt->told;
    add_error(attempt, b);
    if (counts(attempt) && t->has_result && !attempt->base.result) {
        er_buf_add_str(b, ",\"result\":\"");
        er_base64_encode(b, t->result.data ? t->result.data : "", t->result.len);
        er_buf_add_char(b, '"');
    }
    if (counts(attempt) && t->has_retry_after) {
        er_buf_addf(b, ",\"retry_after_s\":%.3f", t->retry_after_s);
    }
}

void
er_handlers_told_fini(struct er_handlers_told *t)
{
    er_said_parts_fini(&t->parts);
    er_buf_fini(&t->result);
    er_buf_fini(&t->warnings);
    er_free(t->error);
    t->error = NULL;
}
