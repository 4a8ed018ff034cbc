/* SPDX-License-Identifier: MIT */
/* What others say of an attempt in this process, by HTTP: a child of its handler's (`errand
 * progress`), or anybody who may (docs/PROTOCOL.md, "Progress lines").
 *
 * Happy path: it is as if the handler had said it: progress, items and the checkpoint at once;
 * a result, an error and a rate limit count at the end, where what the handler itself has set
 * is stronger. An error or a rate limit makes an end of its own, also when the handler then
 * returns 0; one that has stopped as it was asked has only stopped.
 *
 * Failure modes: what makes no sense, or finds no memory, becomes a warning of the attempt. */
#include "lib/hands_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"

#define WARNINGS_MAX 20

/* ---- hearing ---- */

static void
hear_warning(void *ctx, const char *text)
{
    struct er_hands_told *t = &((struct er_hand *)ctx)->told;
    if (t->n_warnings++ < WARNINGS_MAX) {
        er_buf_add_str(&t->warnings, t->warnings.len > 0 ? "," : "");
        er_buf_add_json_str(&t->warnings, text);
    }
}

static void
hear_loss(struct er_hand *hand, const char *what)
{
    char text[100];
    (void)snprintf(text, sizeof text, "progress line: no memory for its %s", what);
    hear_warning(hand, text);
}

static void
hear_item(void *ctx, const char *name, bool is_failed)
{
    if (er_hands_mouth_item(ctx, name, is_failed) != 0) {
        hear_loss(ctx, "item");
    }
}

static void
hear_checkpoint(void *ctx, const char *json, size_t n)
{
    (void)n;
    if (er_hands_mouth_checkpoint(ctx, json) != 0) {
        hear_loss(ctx, "checkpoint");
    }
}

static void
hear_retry_after(void *ctx, double s)
{
    struct er_hands_told *t = &((struct er_hand *)ctx)->told;
    t->has_retry_after = true;
    t->retry_after_s = s;
}

static void
hear_error(void *ctx, const char *json)
{
    struct er_hands_told *t = &((struct er_hand *)ctx)->told;
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
    struct er_hands_told *t = &((struct er_hand *)ctx)->told;
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
    struct er_hands_told *t = &((struct er_hand *)ctx)->told;
    t->has_result = false;
    t->result_lost = true;
}

void
er_hands_told_take(struct er_hand *hand, const json_t *line)
{
    static const struct er_said_ear ear = {
        hear_item,   hear_checkpoint,  hear_retry_after, hear_error,
        hear_result, hear_result_lost, hear_warning,
    };
    if (hand->is_over || hand->dropped) {
        return;
    }
    struct er_progress_update u = er_said_take(line, &hand->told.parts, &ear, hand);
    er_count_set(&hand->base.alive_at, er_hands_now(hand->hands));
    er_hands_run_update(hand, &u);
}

/* ---- its end ---- */

static bool
counts(const struct er_hand *hand)
{
    return hand->end == ER_ATTEMPT_COMPLETED || hand->end == ER_ATTEMPT_FAILED;
}

/* It would have completed, but for a result that is too large to be kept. */
static bool
loses_result(const struct er_hand *hand)
{
    return hand->told.result_lost && hand->end == ER_ATTEMPT_COMPLETED &&
           !hand->base.result;
}

bool
er_hands_told_fails(const struct er_hand *hand)
{
    return (counts(hand) && (hand->told.error || hand->told.has_retry_after)) ||
           loses_result(hand);
}

/* The handler's own words are those of errand_fail; what it returned is none. */
static bool
has_words(const struct er_hand *hand)
{
    return hand->end == ER_ATTEMPT_FAILED && hand->base.fault.returned != 0;
}

static void
warn_of(struct er_hand *hand, const char *member, bool is_own)
{
    char text[120];
    (void)snprintf(text, sizeof text,
                   "progress line: `%s` does not count: the handler %s", member,
                   is_own ? "has set its own" : "has stopped as it was asked");
    hear_warning(hand, text);
}

void
er_hands_told_settle(struct er_hand *hand)
{
    struct er_hands_told *t = &hand->told;
    bool is_limited = hand->end == ER_ATTEMPT_LIMITED;
    if (t->error && (!counts(hand) || has_words(hand))) {
        warn_of(hand, "error", is_limited || has_words(hand));
    }
    if (t->has_retry_after && !counts(hand)) {
        warn_of(hand, "retry_after_s", is_limited);
    }
    if (t->has_result && (!counts(hand) || hand->base.result)) {
        warn_of(hand, "result", is_limited || hand->base.result != NULL);
    }
}

static void
add_error(const struct er_hand *hand, struct er_buf *b)
{
    if (hand->told.error && counts(hand) && !has_words(hand)) {
        er_buf_add_str(b, ",\"error\":");
        er_buf_add_str(b, hand->told.error);
    } else if (loses_result(hand)) {
        er_buf_add_str(b,
                       ",\"error\":{\"class\":\"fatal\",\"code\":\"" ER_RESULT_LOST_CODE
                       "\",\"message\":\"" ER_RESULT_LOST_MESSAGE
                       "\",\"suggested_action\":\"" ER_RESULT_LOST_ACTION "\"}");
    } else if (hand->end == ER_ATTEMPT_FAILED) {
        er_buf_add_str(b, ",\"error\":");
        er_buf_add_str(b, hand->error.len > 0 ? hand->error.data : "null");
    }
}

void
er_hands_told_add(const struct er_hand *hand, struct er_buf *b)
{
    const struct er_hands_told *t = &hand->told;
    add_error(hand, b);
    if (counts(hand) && t->has_result && !hand->base.result) {
        er_buf_add_str(b, ",\"result\":\"");
        er_base64_encode(b, t->result.data ? t->result.data : "", t->result.len);
        er_buf_add_char(b, '"');
    }
    if (counts(hand) && t->has_retry_after) {
        er_buf_addf(b, ",\"retry_after_s\":%.3f", t->retry_after_s);
    }
}

void
er_hands_told_fini(struct er_hands_told *t)
{
    er_said_parts_fini(&t->parts);
    er_buf_fini(&t->result);
    er_buf_fini(&t->warnings);
    er_free(t->error);
    t->error = NULL;
}
