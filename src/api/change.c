/* SPDX-License-Identifier: MIT */
/* Changes by request, of one task: POST /v1/tasks/{id}/ACTION and DELETE. The engine does
 * them; here a body becomes a request, and its outcome words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/hint.h"
#include "api/tasks.h"
#include "base/mem.h"
#include "model/suggest.h"
#include "wire/problem.h"

static const struct action {
    const char *name;
    enum er_change_kind kind;
} actions[] = {
    {"cancel", ER_CHANGE_CANCEL}, {"pause", ER_CHANGE_PAUSE},
    {"resume", ER_CHANGE_RESUME}, {"retry", ER_CHANGE_RETRY},
    {"remove", ER_CHANGE_REMOVE}, {"requeue", ER_CHANGE_REQUEUE},
};
#define N_ACTIONS (sizeof actions / sizeof actions[0])

enum er_task_state
er_change_shown_state(const struct er_change *row)
{
    return er_task_shown_state(&(struct er_task){.state = row->state, .held = row->held});
}

/* Whether its processes are there: it runs, or is paused in place. */
static bool
is_live(const struct er_change *row)
{
    return row->state == ER_TASK_RUNNING || row->session != 0;
}

/* ---- refusals ---- */

/* What would be possible instead, as " (errand VERB 7 does so)", if anything is. */
static void
add_hint(const struct er_call *call, const struct er_change_request *c,
         const struct er_change *row, struct er_buf *b)
{
    bool final = er_task_state_is_final(row->state);
    enum er_hint hint;
    const char *does;
    if (final && c->kind != ER_CHANGE_RETRY && c->kind != ER_CHANGE_REMOVE) {
        hint = ER_HINT_RETRY;
        does = "runs it again";
    } else if (!final && (c->kind == ER_CHANGE_RETRY || c->kind == ER_CHANGE_REMOVE)) {
        hint = ER_HINT_CANCEL;
        does = "ends it";
    } else if (c->kind == ER_CHANGE_EDIT && is_live(row)) {
        hint = ER_HINT_REQUEUE_HELD;
        does = "stops it";
    } else {
        return;
    }
    er_buf_add_str(b, " (");
    er_hint_add_task(call, hint, row->id, b);
    er_buf_addf(b, " %s)", does);
}

void
er_change_refusal(const struct er_call *call, const struct er_change_request *c,
                  const struct er_change *row, char *out, size_t size)
{
    static const char *const verbs[] = {"cancel", "pause", "resume", "retry",
                                        "remove", "edit",  "requeue"};
    long long id = (long long)row->id;
    const char *verb = verbs[c->kind];
    const char *state = er_task_state_word(er_change_shown_state(row));
    struct er_buf hint;
    if (row->status == ER_ENOTFOUND) {
        (void)snprintf(out, size, "there is no task %lld", id);
    } else if (row->status != ER_ESTATE) {
        (void)snprintf(out, size, "cannot %s %lld: %s", verb, id,
                       er_error_meaning(row->status));
    } else if (c->kind == ER_CHANGE_REQUEUE) {
        (void)snprintf(out, size, "cannot requeue %lld: it is %s, not running", id,
                       row->state == ER_TASK_RUNNING ? "ending" : state);
    } else {
        er_buf_init(&hint, 0);
        add_hint(call, c, row, &hint);
        (void)snprintf(out, size, "cannot %s %lld: it is %s%s", verb, id, state,
                       hint.data ? hint.data : "");
        er_buf_fini(&hint);
    }
}

/* ---- answers ---- */

/* The state that a task has after a change that was made. What runs is told, and gets
 * there when its worker says so. */
static enum er_task_state
state_after(const struct er_change_request *c, const struct er_change *row)
{
    switch (c->kind) {
    case ER_CHANGE_CANCEL:
        return is_live(row) ? row->state : ER_TASK_CANCELLED;
    case ER_CHANGE_PAUSE:
        return row->state == ER_TASK_RUNNING ? ER_TASK_RUNNING : ER_TASK_PAUSED;
    case ER_CHANGE_RESUME:
        return row->state == ER_TASK_PAUSED && !is_live(row) ? ER_TASK_QUEUED
                                                             : row->state;
    case ER_CHANGE_RETRY:
        return ER_TASK_QUEUED;
    case ER_CHANGE_REMOVE: /* what it had in the end */
    case ER_CHANGE_EDIT:
    case ER_CHANGE_REQUEUE:
        break;
    }
    return row->state;
}

/* That its worker does not answer, and so will not do it soon. */
static void
add_silence(const struct er_change_request *c, const struct er_change *row,
            struct er_buf *b)
{
    struct er_call *call = c->ctx;
    struct er_buf text;
    er_buf_init(&text, 0);
    if (er_engine_silent(call->api->engine, row->id, &text)) {
        er_buf_add_str(b, ",\"worker_silent\":");
        er_buf_add_json_str(b, text.data);
    }
    er_buf_fini(&text);
}

static void
add_done_line(const struct er_change_request *c, const struct er_change *row,
              struct er_buf *b)
{
    er_buf_addf(b, "{\"id\":%lld,\"state\":\"%s\"", (long long)row->id,
                er_task_state_word(state_after(c, row)));
    if (c->kind == ER_CHANGE_CANCEL && is_live(row)) {
        er_buf_add_str(b, ",\"cancel_requested\":true");
    } else if (c->kind == ER_CHANGE_PAUSE && row->state == ER_TASK_RUNNING) {
        er_buf_add_str(b, ",\"pause_requested\":true");
    } else if (c->kind == ER_CHANGE_RETRY) {
        er_buf_addf(b, ",\"dependents_cancelled\":%lld", (long long)row->dependents);
    }
    if (is_live(row)) {
        add_silence(c, row, b);
    }
    er_buf_add_str(b, "}\n");
}

static int
oldest_first(const void *a, const void *b)
{
    const struct er_change *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* One line a task. */
static void
answer_many(struct er_change_request *c)
{
    struct er_buf b;
    er_buf_init(&b, (size_t)256 << 20);
    if (c->kind == ER_CHANGE_CANCEL) { /* done in the other order: er_api_actions */
        qsort(c->rows, c->n, sizeof *c->rows, oldest_first);
    }
    for (size_t i = 0; i < c->n; i++) {
        const struct er_change *row = &c->rows[i];
        if (row->status == 0) {
            add_done_line(c, row, &b);
            continue;
        }
        char words[300], extra[80];
        const char *state = row->status == ER_ESTATE
                                ? er_task_state_word(er_change_shown_state(row))
                                : NULL;
        er_change_refusal(c->ctx, c, row, words, sizeof words);
        (void)snprintf(extra, sizeof extra, "\"id\":%lld,\"state\":%s%s%s",
                       (long long)row->id, state ? "\"" : "", state ? state : "null",
                       state ? "\"" : "");
        er_problem_json(&b, row->status, words, NULL, extra);
        er_buf_add_char(&b, '\n');
    }
    er_call_ndjson(c->ctx, 200, &b);
}

static void
answer_refused(const struct er_change_request *c)
{
    const struct er_change *row = &c->rows[0];
    char words[300], extra[40] = "";
    er_change_refusal(c->ctx, c, row, words, sizeof words);
    if (row->status == ER_ESTATE) {
        (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"",
                       er_task_state_word(er_change_shown_state(row)));
    }
    er_call_problem_extra(c->ctx, row->status, NULL, extra[0] ? extra : NULL, "%s",
                          words);
}

/* Whether the answer is held back until what was asked for has come. */
static bool
is_awaited(const struct er_change_request *c, uint64_t *out_ms,
           enum er_wait_until *out_until)
{
    const struct er_change *row = &c->rows[0];
    bool waits = c->kind == ER_CHANGE_CANCEL || c->kind == ER_CHANGE_PAUSE ||
                 c->kind == ER_CHANGE_RESUME;
    *out_until = c->kind == ER_CHANGE_CANCEL  ? ER_WAIT_FINAL
                 : c->kind == ER_CHANGE_PAUSE ? ER_WAIT_PAUSED
                                              : ER_WAIT_RESUMED;
    return waits && is_live(row) && er_call_seconds(c->ctx, "wait", out_ms) &&
           *out_ms > 0;
}

static void
answer_one(struct er_change_request *c)
{
    struct er_call *call = c->ctx;
    const struct er_change *row = &c->rows[0];
    uint64_t wait;
    enum er_wait_until until;
    if (call->answered) {
        return;
    }
    if (row->status) {
        answer_refused(c);
    } else if (c->kind == ER_CHANGE_REMOVE) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_call_json(call, 204, &b);
    } else if (is_awaited(c, &wait, &until)) {
        er_wait_start(call, row->id, wait, until);
    } else {
        struct er_show *show = er_show_new(call, row->id, NULL);
        if (c->kind == ER_CHANGE_RETRY) {
            char text[60];
            int n = snprintf(text, sizeof text, "\"dependents_cancelled\":%lld",
                             (long long)row->dependents);
            show->extra = er_arena_memdup(&show->q.arena, text, (size_t)n);
        }
        er_show_start(show);
    }
}

static void
on_changed(struct er_change_request *c, int rc)
{
    struct er_call *call = c->ctx;
    if (rc) {
        er_call_problem(call, rc, NULL, "nothing was changed: %s", er_error_meaning(rc));
    } else if (call->req && call->name && call->id == 0) {
        answer_many(c);
    } else if (call->req) {
        answer_one(c);
    }
    er_arena_free(&c->arena);
    er_call_release(call);
    er_free(c);
}

/* ---- requests ---- */

struct er_change_request *
er_change_new(struct er_call *call, enum er_change_kind kind, size_t n)
{
    struct er_change_request *c = er_xzalloc(sizeof *c);
    c->kind = kind;
    c->rows = er_arena_alloc(&c->arena, (n + 1) * sizeof *c->rows);
    if (!c->rows) {
        er_free(c);
        er_call_problem(call, ER_ENOMEM, NULL, "nothing was changed: %s",
                        er_error_meaning(ER_ENOMEM));
        return NULL;
    }
    c->n = n;
    c->done = on_changed;
    c->ctx = call;
    c->reason = "cancelled by request";
    er_call_hold(call);
    return c;
}

void
er_change_drop(struct er_change_request *c)
{
    struct er_call *call = c->ctx;
    er_arena_free(&c->arena);
    er_free(c);
    er_call_release(call);
}

/* A flag that goes with one action only. */
static bool
check_only(struct er_call *call, const json_t *o, const char *name,
           enum er_change_kind kind, enum er_change_kind its)
{
    if (json_is_true(json_object_get(o, name)) && kind != its) {
        er_call_problem(call, ER_EINVALID, name, "%s goes with %s only", name,
                        its == ER_CHANGE_PAUSE ? "pause" : "requeue");
        return false;
    }
    return er_call_check_flag(call, o, name);
}

bool
er_change_read_body(struct er_call *call, struct er_change_request *c, const json_t *o)
{
    const char *reason = json_string_value(json_object_get(o, "reason"));
    if (!check_only(call, o, "hold", c->kind, ER_CHANGE_REQUEUE) ||
        !check_only(call, o, "free_slot", c->kind, ER_CHANGE_PAUSE) ||
        !er_call_check_text(call, o, "reason")) {
        return false;
    }
    c->hold = json_is_true(json_object_get(o, "hold"));
    c->free_slot = json_is_true(json_object_get(o, "free_slot"));
    if (reason) {
        c->reason = er_arena_strdup(&c->arena, reason);
    }
    c->by = "api";
    return true;
}

bool
er_change_kind_of(struct er_call *call, enum er_change_kind *out)
{
    const char *names[N_ACTIONS];
    for (size_t i = 0; i < N_ACTIONS; i++) {
        names[i] = actions[i].name;
        if (strcmp(actions[i].name, call->name) == 0) {
            *out = actions[i].kind;
            return true;
        }
    }
    struct er_err err;
    int rc = er_suggest_fail(&err, ER_ENOTFOUND, "action", call->name, names, N_ACTIONS);
    er_call_problem(call, rc, NULL, "%s", err.text);
    return false;
}

void
er_api_action(struct er_call *call)
{
    static const char *const known[] = {"hold", "free_slot", "reason"};
    uint64_t wait;
    enum er_change_kind kind;
    /* `wait` is used when the change is made: too late to refuse it */
    json_t *o = !er_change_kind_of(call, &kind) || !er_call_seconds(call, "wait", &wait)
                    ? NULL
                    : er_call_object(call);
    if (!o) {
        return;
    }
    if (er_call_known(call, o, known, 3)) {
        struct er_change_request *c = er_change_new(call, kind, 1);
        if (c) {
            c->rows[0].id = call->id;
        }
        if (c && er_change_read_body(call, c, o)) {
            er_engine_change(call->api->engine, c);
        } else if (c) {
            er_change_drop(c);
        }
    }
    json_decref(o);
}

void
er_api_delete(struct er_call *call)
{
    struct er_change_request *c = er_change_new(call, ER_CHANGE_REMOVE, 1);
    if (c) {
        c->rows[0].id = call->id;
        er_engine_change(call->api->engine, c);
    }
}
