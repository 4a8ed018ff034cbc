/* SPDX-License-Identifier: MIT */
/* One function a state. What stands in the way of a task that is queued only the engine
 * knows (er_engine_why_queued); all else is in the task's row and in the live view. */
#include "api/why.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "api/hint.h"
#include "api/tasks.h"
#include "base/mem.h"
#include "model/duration.h"

/* "until 2026-01-31T09:30:00.000Z, in 45s", or "... which has come". */
static void
add_moment(struct er_buf *b, const char *before, er_usec at, er_usec now)
{
    char text[ER_RFC3339_SIZE], left[ER_DURATION_SIZE];
    er_time_format(at, text);
    er_buf_addf(b, "%s%s", before, text);
    if (at > now) {
        er_duration_format(at - now, left);
        er_buf_addf(b, ", in %s", left);
    } else {
        er_buf_add_str(b, ", which has just come");
    }
}

/* Adds what an error says: its message, or its code. */
static void
add_error(struct er_buf *b, const char *error_json, bool with_advice)
{
    json_error_t why;
    json_t *o = error_json ? json_loads(error_json, 0, &why) : NULL;
    const char *text = json_string_value(json_object_get(o, "message"));
    const char *advice = json_string_value(json_object_get(o, "suggested_action"));
    text = text ? text : json_string_value(json_object_get(o, "code"));
    if (text) {
        er_buf_addf(b, ": %.300s", text);
    }
    if (with_advice && advice) {
        er_buf_addf(b, " (%.300s)", advice);
    }
    json_decref(o);
}

/* The data of the fact by which it is what it is: a new reference, or NULL. */
static json_t *
cause_of(const struct er_show *show)
{
    return show && show->cause_json ? json_loads(show->cause_json, 0, NULL) : NULL;
}

/* ---- waiting ---- */

static void
add_scheduled(const struct er_task *t, er_usec now, struct er_buf *b)
{
    if (t->failures == 0) {
        add_moment(b, "it is not to start before ", t->run_at, now);
        return;
    }
    er_buf_addf(b, "it has failed %d time%s", t->failures, t->failures == 1 ? "" : "s");
    add_error(b, t->error_json, false);
    add_moment(b, "; the next attempt is at ", t->run_at, now);
    int left = t->retries - t->failures;
    if (left >= 0) {
        er_buf_addf(b, " (retry %d of %d)", t->failures, t->retries);
    }
}

static const char *
wish(enum er_after_when when)
{
    switch (when) {
    case ER_AFTER_OK:
        return "to complete";
    case ER_AFTER_ANY:
        return "to end";
    case ER_AFTER_FAIL:
        return "to fail";
    }
    return "to end";
}

/* As much of it as was read (show NULL: how many there are). */
static void
add_blocked(const struct er_task *t, const struct er_show *show, struct er_buf *b)
{
    const struct er_after *open = show ? show->open : NULL;
    size_t shown = 0, n = show ? show->n_open : 0;
    er_buf_add_str(b, "waits for ");
    for (size_t i = 0; i < n && shown < ER_WHY_NAMED; i++) {
        const struct er_after *a = &open[i];
        bool last = i + 1 == n || shown + 1 == ER_WHY_NAMED;
        er_buf_addf(b, "%s%lld (%s) %s",
                    shown == 0 ? "task "
                    : last     ? " and "
                               : ", ",
                    (long long)a->id,
                    a->state < 0 ? "removed"
                                 : er_task_state_word((enum er_task_state)a->state),
                    wish(a->when));
        shown++;
    }
    if (shown == 0) {
        er_buf_addf(b, "%d other task%s", t->waiting, t->waiting == 1 ? "" : "s");
    } else if ((size_t)t->waiting > shown) {
        er_buf_addf(b, ", and for %zu more", (size_t)t->waiting - shown);
    }
}

/* Why nothing is started any more. */
static void
add_ending(const struct er_api *api, struct er_buf *b)
{
    if (!api->stopping && !api->on_shutdown) {
        er_buf_add_str(b, "nothing is run here (ERRAND_TEST_HOLD)");
    } else {
        er_buf_addf(b, "%s; it runs after the next start",
                    api->closed_words ? api->closed_words
                                      : "the daemon is shutting down");
    }
}

void
er_why_add_restart(const struct er_api *api, struct er_buf *b)
{
    er_usec after = api->keeper->starts_after(api->keeper);
    if (after > 0) {
        er_buf_addf(b, "; it is started again in %llds",
                    (long long)((after + ER_USEC_PER_SEC - 1) / ER_USEC_PER_SEC));
    }
}

/* Where there is no worker, why none could be started, when that is known. */
static er_usec
add_queued(const struct er_call *call, const struct er_task *t, struct er_buf *b)
{
    const struct er_api *api = call->api;
    const char *trouble = api->keeper ? api->keeper->trouble(api->keeper) : NULL;
    er_usec until;
    struct er_buf text;
    er_buf_init(&text, 0);
    enum er_held_by by = er_engine_why_queued(api->engine, t, &text, &until);
    if (by == ER_HELD_BY_ENDING) {
        add_ending(api, b);
    } else if (by == ER_HELD_BY_NO_WORKER && trouble) {
        er_buf_addf(b, "no worker: %.400s", trouble);
        er_why_add_restart(api, b);
    } else {
        er_buf_add(b, text.data ? text.data : "", text.len);
    }
    if (by == ER_HELD_BY_ALL || by == ER_HELD_BY_QUEUE) {
        er_buf_add_str(b, " (");
        er_hint_add(call,
                    by == ER_HELD_BY_ALL ? ER_HINT_RESUME_ALL : ER_HINT_RESUME_QUEUE,
                    t->queue, b);
        er_buf_add_str(b, " lets it go on)");
    }
    er_buf_fini(&text);
    return until;
}

/* " (errand VERB 7 does so)". */
static void
add_way_on(const struct er_call *call, enum er_hint hint, er_task_id id, const char *does,
           struct er_buf *b)
{
    er_buf_add_str(b, " (");
    er_hint_add_task(call, hint, id, b);
    er_buf_addf(b, "%s)", does);
}

/* What is underneath the hold, where that is something else than being queued. */
static void
add_held(const struct er_call *call, const struct er_task *t, const struct er_show *show,
         er_usec now, struct er_buf *b)
{
    json_t *cause = cause_of(show);
    const char *reason = json_string_value(json_object_get(cause, "reason"));
    bool lost = reason && strcmp(reason, "worker-lost") == 0;
    er_buf_addf(b, "it is paused %s",
                lost ? "since its worker was lost while it ran (on_lost: hold)"
                     : "by request");
    add_way_on(call, ER_HINT_RESUME, t->id, " lets it go on", b);
    json_decref(cause);
    if (t->state == ER_TASK_SCHEDULED && t->run_at > now) {
        add_moment(b, ", and is not to start before ", t->run_at, now);
    } else if (t->state == ER_TASK_BLOCKED) {
        er_buf_add_str(b, ", and ");
        add_blocked(t, show, b);
    }
}

static void
add_paused(const struct er_call *call, const struct er_task *t, er_usec now,
           struct er_buf *b)
{
    struct er_live live;
    struct er_engine *e = call->api->engine;
    if (t->session == 0 && t->resumes_at != ER_NEVER) {
        er_buf_add_str(b, "it is paused by a rate limit");
        add_error(b, t->error_json, false);
        add_moment(b, "; it goes on at ", t->resumes_at, now);
        add_way_on(call, ER_HINT_RESUME, t->id, ": now", b);
        return;
    }
    if (t->session == 0) {
        er_buf_add_str(b, "it is paused");
        add_way_on(call, ER_HINT_RESUME, t->id, " lets it go on", b);
    } else if (er_engine_live(e, t->id, &live) && live.resuming) {
        er_buf_add_str(b, "its processes are being let go on");
    } else {
        er_buf_add_str(b, "it is paused where it was, with its processes stopped");
        add_way_on(call, ER_HINT_RESUME, t->id, " lets them go on", b);
    }
    if (er_engine_all_paused(e)) {
        er_buf_add_str(b, "; everything is paused");
        add_way_on(call, ER_HINT_RESUME_ALL, 0, " ends that", b);
    }
}

/* ---- running, ended ---- */

static void
add_running(struct er_engine *e, const struct er_task *t, er_usec now, struct er_buf *b)
{
    struct er_live live = {.started_at = ER_NEVER};
    char since[ER_DURATION_SIZE];
    bool known = er_engine_live(e, t->id, &live) && live.attempt == t->attempt;
    if (t->cancel_requested) {
        er_buf_add_str(b, known && live.handler
                              ? "it is being cancelled: it was asked to stop"
                              : "it is being cancelled: its processes are being ended");
    } else if (known && live.pausing && live.asked) {
        er_buf_add_str(b, "it is being paused: it was asked to stop");
    } else if (known && live.pausing) {
        er_buf_add_str(b, "it is being paused: its processes are being stopped");
    } else if (known && live.ending) {
        er_buf_add_str(b, "it has ended, and its end is being written");
    } else if (known && live.started_at == ER_NEVER) {
        er_buf_addf(b, "it is about to be started by worker %s",
                    live.worker ? live.worker : "?");
    } else {
        er_usec at = known ? live.started_at : t->started_at;
        er_buf_addf(b, "it runs: attempt %d", t->attempt);
        if (at != ER_NEVER && at <= now) {
            er_duration_format(now - at, since);
            er_buf_addf(b, ", for %s", since);
        }
        if (known && live.pid > 0 && live.pid != getpid()) { /* ours says nothing */
            er_buf_addf(b, ", pid %d", live.pid);
        }
    }
    if (known && live.late) {
        er_buf_add_str(b, "; its handler has not stopped within its grace, and cannot be "
                          "killed");
    }
}

/* Why it was cancelled: since a dependency ended as it did, or with the words of a
 * request. */
static void
add_cancelled(const struct er_show *show, struct er_buf *b)
{
    json_t *cause = cause_of(show);
    const char *reason = json_string_value(json_object_get(cause, "reason"));
    long long by = (long long)json_integer_value(json_object_get(cause, "by"));
    if (reason && by > 0) {
        const char *state = NULL;
        for (size_t i = 0; i < show->n_after; i++) {
            const struct er_after *a = &show->after[i];
            state = a->id == by && a->state >= 0
                        ? er_task_state_word((enum er_task_state)a->state)
                        : state;
        }
        er_buf_addf(b, ": it waited for task %lld, which %s%s", by,
                    state && strcmp(state, "cancelled") == 0 ? "was " : "",
                    state ? state : "ended otherwise");
    } else if (reason) {
        er_buf_addf(b, ": %.300s", reason);
    }
    json_decref(cause);
}

static void
add_final(const struct er_call *call, const struct er_task *t, const struct er_show *show,
          struct er_buf *b)
{
    char at[ER_RFC3339_SIZE];
    er_buf_addf(b, "it %s%s", t->state == ER_TASK_CANCELLED ? "was " : "",
                er_task_state_word(t->state));
    if (t->finished_at != ER_NEVER) {
        er_time_format(t->finished_at, at);
        er_buf_addf(b, " at %s", at);
    }
    if (t->state == ER_TASK_COMPLETED) {
        return;
    }
    if (t->state == ER_TASK_CANCELLED && show && show->cause_json) {
        add_cancelled(show, b);
    } else {
        add_error(b, t->error_json, true);
    }
    er_buf_add_str(b, "; ");
    er_hint_add_task(call, ER_HINT_RETRY, t->id, b);
    er_buf_add_str(b, " runs it again");
}

/* A worker that does not answer: the one that has the task, or any when one waits for
 * it. */
static void
add_silence(struct er_engine *e, const struct er_task *t, struct er_buf *b)
{
    struct er_buf text;
    bool waits = t->state == ER_TASK_QUEUED && !t->held;
    bool has = t->state == ER_TASK_RUNNING || t->state == ER_TASK_PAUSED;
    er_buf_init(&text, 0);
    if ((waits || has) && er_engine_silent(e, has ? t->id : 0, &text)) {
        er_buf_addf(b, "; %s", text.data);
    }
    er_buf_fini(&text);
}

/* The end of its patience, where it has not started and nothing that is known comes
 * first. */
static void
add_expiry(const struct er_task *t, er_usec until, er_usec now, struct er_buf *b)
{
    if (t->expires_at != ER_NEVER && t->attempt == 0 && t->expires_at < until) {
        add_moment(b, "; it fails (expired) at ", t->expires_at, now);
        er_buf_add_str(b, ", when it has not started by then");
    }
}

er_usec
er_why(const struct er_call *call, const struct er_task *t, const struct er_show *show,
       struct er_buf *b)
{
    er_usec now = er_api_now(call->api), until = ER_NEVER;
    struct er_engine *e = call->api->engine;
    if (er_task_state_is_final(t->state)) {
        add_final(call, t, show, b);
    } else if (t->state == ER_TASK_RUNNING) {
        add_running(e, t, now, b);
    } else if (t->state == ER_TASK_PAUSED) {
        add_paused(call, t, now, b);
        until = t->session == 0 ? t->resumes_at : ER_NEVER;
    } else if (t->held) {
        add_held(call, t, show, now, b);
    } else if (t->state == ER_TASK_SCHEDULED) {
        add_scheduled(t, now, b);
        until = t->run_at;
    } else if (t->state == ER_TASK_BLOCKED) {
        er_buf_add_str(b, "it ");
        add_blocked(t, show, b);
    } else {
        until = add_queued(call, t, b);
    }
    if (!er_task_state_is_final(t->state)) {
        add_expiry(t, until, now, b);
    }
    add_silence(e, t, b);
    return until;
}
