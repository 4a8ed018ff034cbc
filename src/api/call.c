/* SPDX-License-Identifier: MIT */
/* POST /v1/call, /v1/call/{type}: a task with a deadline for the answer.
 *
 * Happy path: the document (or the arguments and the query) becomes a draft as in a
 * submit, the task goes to the store, a watch hears its final fact, and the answer is
 * made from that: a small result's bytes come with it, so that nothing is read again. A
 * timer that began when the request came ends the wait; whichever of the two is first
 * takes the wait apart (stop), so that there is one answer. Nothing here touches the task
 * itself: past the budget, or when the caller has hung up, it just goes on.
 *
 * What needs the task's row (202, a failure, a large result, a key that was used before)
 * reads it and answers by the state that it then has. */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "api/draft.h"
#include "api/prefer.h"
#include "api/submit.h"
#include "api/tasks.h"
#include "base/heap.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/json.h"

#define BUDGET_FOR (2 * ER_USEC_PER_SEC) /* where Prefer says nothing */

struct wait {
    struct er_call *call;
    er_task_id task; /* 0 = not stored yet */
    er_usec budget_for, expected_for;
    bool background; /* 202, whatever it has come to */
    bool always;     /* also when it is known to take longer */
    bool over;       /* answer with what there is */
    bool asking;     /* its row is being read */
    bool again;      /* it has ended meanwhile */
    struct er_watch *watch;
    uv_timer_t timer;
};

/* ---- the end of the wait ---- */

static void
free_wait(uv_handle_t *h)
{
    er_free(h->data);
}

/* From now on nothing calls back; the answer that follows is the only one. */
static void
stop(struct er_call *call)
{
    struct wait *w = call->state;
    if (w) {
        call->state = NULL;
        er_engine_unwatch(w->watch);
        uv_close((uv_handle_t *)&w->timer, free_wait);
    }
}

/* ---- answers ---- */

static const char *
content_type(const void *p, size_t n)
{
    struct er_buf scratch;
    er_buf_init(&scratch, ER_MAX_RESULT + 1);
    bool json = n > 0 && er_json_text_compact(&scratch, p, n) == 0;
    er_buf_fini(&scratch);
    return json                     ? "application/json"
           : er_utf8_is_valid(p, n) ? "text/plain; charset=utf-8"
                                    : "application/octet-stream";
}

static void
answer_result(struct er_call *call, er_task_id task, const void *result, size_t len)
{
    char id[24];
    struct er_buf b;
    if (!call->req || call->answered) {
        return;
    }
    (void)snprintf(id, sizeof id, "%lld", (long long)task);
    er_request_add_header(call->req, "X-Errand-Task", id);
    call->answered = true;
    er_buf_init(&b, ER_MAX_RESULT + 1);
    if (!result) {
        er_request_reply(call->req, 204, "application/octet-stream", NULL);
        return;
    }
    er_buf_add(&b, result, len);
    er_request_reply(call->req, 200, content_type(result, len), &b);
    er_buf_fini(&b);
}

/* Failed or cancelled. */
static void
answer_problem(struct er_call *call, const struct er_task *t)
{
    long long id = (long long)t->id;
    json_error_t je;
    json_t *error = t->error_json ? json_loads(t->error_json, 0, &je) : NULL;
    const char *words = json_string_value(json_object_get(error, "message"));
    char *extra = er_xasprintf("\"id\":%lld,\"error\":%s", id,
                               t->error_json ? t->error_json : "null");
    if (t->state == ER_TASK_CANCELLED) {
        er_call_problem_extra(call, ER_ECANCELLED, NULL, extra, "task %lld was cancelled",
                              id);
    } else {
        er_call_problem_extra(call, ER_ETASKFAILED, NULL, extra, "task %lld failed: %s",
                              id, words ? words : "nobody says why");
    }
    er_free(extra);
    json_decref(error);
}

static void
answer_accepted(struct er_show *show, er_usec expected_for)
{
    struct er_call *call = show->call;
    char seconds[32];
    if (!call->req || call->answered) {
        return;
    }
    er_request_add_header(call->req, "Preference-Applied", "respond-async");
    if (expected_for > 0) {
        (void)snprintf(seconds, sizeof seconds, "%lld.%03d",
                       (long long)(expected_for / ER_USEC_PER_SEC),
                       (int)(expected_for / ER_USEC_PER_MS % 1000));
        er_request_add_header(call->req, "X-Errand-Expected", seconds);
    }
    show->status = 202;
    show->location = true;
    er_show_answer(show);
}

static void ask(struct wait *w);

/* The task's row, as it is now. */
static void
on_read(struct er_show *show)
{
    struct er_call *call = show->call;
    const struct er_task *t = &show->task;
    struct wait *w = call->state;
    if (!w) {
        return; /* the caller has gone */
    }
    w->asking = false;
    bool final = show->q.rc == 0 && er_task_state_is_final(t->state);
    if (show->q.rc == 0 && !final && !w->over) {
        if (w->again) {
            ask(w);
        }
        return;
    }
    er_usec expected_for = w->expected_for;
    bool background = w->background;
    stop(call);
    if (show->q.rc) {
        er_show_answer(show);
    } else if (!final || background) {
        answer_accepted(show, expected_for);
    } else if (t->state == ER_TASK_COMPLETED) {
        answer_result(call, t->id, t->result, t->result_len);
    } else {
        answer_problem(call, t);
    }
}

static void
ask(struct wait *w)
{
    if (w->asking) {
        w->again = true;
        return;
    }
    w->asking = true;
    w->again = false;
    er_show_start(er_show_new(w->call, w->task, on_read));
}

/* ---- waiting ---- */

static void
on_event(void *ctx, enum er_event event)
{
    struct wait *w = ctx;
    struct er_call *call = w->call;
    const struct er_fact *fact = er_engine_told(call->api->engine);
    if (event == ER_EVENT_TASK_COMPLETED && fact &&
        (fact->result || fact->result_len == 0)) {
        stop(call);
        answer_result(call, fact->task, fact->result, fact->result_len);
    } else if (event == ER_EVENT_TASK_COMPLETED || event == ER_EVENT_TASK_FAILED ||
               event == ER_EVENT_TASK_CANCELLED || event == ER_EVENT_TASK_REMOVED) {
        ask(w);
    }
}

static void
on_over(uv_timer_t *t)
{
    struct wait *w = t->data;
    w->over = true;
    if (w->task != 0) {
        ask(w);
    }
}

static void
refuse(struct er_call *call, const struct er_submit *s, int rc)
{
    char words[ER_SUBMIT_WORDS];
    if (rc) {
        er_call_problem(call, rc, NULL, "%s",
                        er_submit_words(call, rc, words, sizeof words));
    } else {
        const char *field = er_submit_refusal(call, &s->rows[0], words, sizeof words);
        er_call_problem(call, s->rows[0].status, field, "%s", words);
    }
}

/* It is on disk; its end, if it is new, comes later: then the watch hears it. */
static void
begin(struct wait *w, const struct er_new_task *row)
{
    struct er_engine *e = w->call->api->engine;
    w->task = row->id;
    w->expected_for = row->type_takes > 0 ? row->type_takes
                                          : er_engine_type(e, row->type)->expected_for;
    w->over = w->over || w->background || (!w->always && w->expected_for > w->budget_for);
    if (!w->background) {
        w->watch = er_engine_watch(e, w->task, on_event, w);
    }
    if (w->over || row->existing) {
        ask(w);
    }
}

static void
free_submit(struct er_submit *s)
{
    er_arena_free(&s->arena);
    er_free(s->rows);
    er_free(s);
}

static void
on_stored(struct er_submit *s, int rc)
{
    struct er_call *call = s->ctx;
    struct wait *w = call->state;
    if (w && (rc || s->rows[0].status)) {
        stop(call);
        refuse(call, s, rc);
    } else if (w) {
        begin(w, &s->rows[0]);
    }
    free_submit(s);
    er_call_release(call);
}

static void
start(struct er_call *call, struct er_submit *s, const struct er_prefer *prefer)
{
    struct wait *w = er_xzalloc(sizeof *w);
    uv_loop_t *uv = er_loop_uv(call->api->loop);
    w->call = call;
    w->always = prefer->always;
    w->budget_for = prefer->has_wait        ? prefer->wait_for
                    : prefer->respond_async ? 0
                                            : BUDGET_FOR;
    w->background = w->budget_for == 0;
    call->state = w;
    call->gone = stop;
    (void)uv_timer_init(uv, &w->timer);
    w->timer.data = w;
    if (!w->background) {
        uv_update_time(uv); /* from now, not from the beginning of this turn */
        (void)uv_timer_start(&w->timer, on_over,
                             (uint64_t)(w->budget_for + 999) / ER_USEC_PER_MS, 0);
    }
    s->done = on_stored;
    s->ctx = call;
    er_call_hold(call);
    er_engine_submit(call->api->engine, s);
}

/* ---- the request ---- */

static void
add_text(struct er_buf *b, const char *member, const char *value)
{
    if (value) {
        er_buf_addf(b, ",\"%s\":", member);
        er_buf_add_json_str(b, value);
    }
}

/* /v1/call/TYPE: the body, which is the arguments, and the query as the document of a
 * submit; false after having answered. */
static bool
write_document(struct er_call *call, struct er_buf *b)
{
    const struct er_buf *body = er_request_body(call->req);
    int64_t text, priority, parent;
    json_t *args = er_call_object(call); /* checked by itself: it is put between others */
    bool ok = args && er_call_number(call, "text", 0, 1, 0, &text) &&
              er_call_number(call, "priority", -1000, 1000, INT64_MIN, &priority) &&
              er_call_number(call, "parent", 1, INT64_MAX, 0, &parent);
    json_decref(args);
    if (!ok) {
        return false;
    }
    er_buf_add_str(b, "{\"type\":");
    er_buf_add_json_str(b, call->name);
    er_buf_add_str(b, text ? ",\"args_text\":" : ",\"args\":");
    er_buf_add(b, body->len ? body->data : "{}", body->len ? body->len : 2);
    add_text(b, "queue", er_request_query(call->req, "queue"));
    add_text(b, "key", er_request_query(call->req, "key"));
    add_text(b, "correlation_id", er_request_query(call->req, "correlation"));
    if (priority != INT64_MIN) {
        er_buf_addf(b, ",\"priority\":%lld", (long long)priority);
    }
    if (parent != 0) {
        er_buf_addf(b, ",\"parent\":%lld", (long long)parent);
    }
    er_buf_add_char(b, '}');
    return true;
}

/* What a submit calls so is a parameter of /v1/call/TYPE. */
static const char *
field_of(const struct er_call *call, const char *member)
{
    return call->name && strcmp(member, "correlation_id") == 0 ? "correlation"
           : *member                                           ? member
                                                               : NULL;
}

/* The header says the same as the member, or stands for it. */
static int
take_key(struct er_draft *d, const char *header)
{
    if (!header || (d->row->key && strcmp(d->row->key, header) == 0)) {
        return 0;
    }
    if (d->row->key) {
        return er_draft_bad(d, "key", "key and the header Idempotency-Key differ");
    }
    if (*header == '\0' || strlen(header) > ER_MAX_NAME) {
        return er_draft_bad(d, "Idempotency-Key", "the key is %s",
                            *header ? "longer than 1000 bytes" : "empty");
    }
    d->row->key = er_arena_strdup(d->arena, header);
    return d->row->key ? 0 : ER_ENOMEM;
}

/* Who calls waits for the answer: what puts the start off on purpose contradicts that
 * (what it has to wait for, `after`, is part of the wait), and names for other tasks of
 * the same request name nothing. */
static int
check_members(struct er_draft *d)
{
    const char *later = d->delay_for > 0       ? "delay_s"
                        : d->row->run_at_fixed ? "run_at"
                        : d->row->held         ? "held"
                                               : NULL;
    if (later) {
        return er_draft_bad(d, later,
                            "%s does not go with a call, whose answer is waited for: "
                            "submit the task (POST /v1/tasks)",
                            later);
    }
    if (d->ref) {
        return er_draft_bad(d, "ref",
                            "ref does not go with a call, which is one task: no "
                            "other one could name it");
    }
    for (size_t i = 0; d->after_refs && i < d->row->n_after; i++) {
        if (d->after_refs[i]) {
            return er_draft_bad(d, "after",
                                "after: a call is one task, so that ref '%.100s' names "
                                "none: give its id",
                                d->after_refs[i]);
        }
    }
    return 0;
}

/* Reads the task to be submitted; a code after having answered. */
static int
read_task(struct er_call *call, struct er_submit *s)
{
    struct er_buf doc;
    const struct er_buf *text = er_request_body(call->req);
    struct er_draft d = {.row = &s->rows[0],
                         .arena = &s->arena,
                         .api = call->api,
                         .now = er_api_now(call->api)};
    er_buf_init(&doc, 2 * ER_JSON_MAX);
    if (call->name && !write_document(call, &doc)) {
        er_buf_fini(&doc);
        return ER_EINVALID;
    }
    text = call->name ? &doc : text;
    int rc = text->failed ? text->failed
                          : er_draft_read(&d, text->data ? text->data : "", text->len);
    rc = rc ? rc : take_key(&d, er_request_header(call->req, "Idempotency-Key"));
    rc = rc ? rc : check_members(&d);
    er_buf_fini(&doc);
    if (rc) {
        er_call_problem(call, rc, field_of(call, d.field), "%s",
                        d.err.text[0] ? d.err.text : er_error_meaning(rc));
    }
    return rc;
}

void
er_api_call(struct er_call *call)
{
    struct er_prefer prefer;
    struct er_err err;
    if (call->api->stopping) {
        er_api_refuse_closed(call);
        return;
    }
    if (er_prefer_read(er_request_header(call->req, "Prefer"), &prefer, &err)) {
        er_call_problem(call, ER_EINVALID, "Prefer", "%s", err.text);
        return;
    }
    struct er_submit *s = er_xzalloc(sizeof *s);
    s->rows = er_xzalloc(sizeof *s->rows);
    s->n = 1;
    if (read_task(call, s)) {
        free_submit(s);
        return;
    }
    s->rows[0].ask_takes = true;
    start(call, s, &prefer);
}
