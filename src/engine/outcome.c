/* SPDX-License-Identifier: MIT */
/* From what is known of an attempt's end to the row that ends it.
 *
 * Happy path: on the loop a report is read into a struct er_outcome (er_outcome_report),
 * or the frame that a dead worker left (er_outcome_parse), or the lack of one
 * (er_outcome_lost, _unspawned); on the store's thread er_outcome_write looks at what the
 * transaction knows better (a cancel that came meanwhile, items that are stored), asks
 * er_verdict what it comes to, and writes that. So nothing can come between what was
 * decided and what is written, and an end and all that it means are one commit.
 *
 * Failure modes: a report that is none (ER_EINVALID), no memory (the crossing fails and
 * nothing of it is true). */
#include "engine/engine_priv.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>

#include "base/base64.h"
#include "base/rand.h"
#include "model/retry.h"
#include "wire/json_dump.h"
#include "wire/task_json.h"

#define SMALL_RESULT ((size_t)4096) /* results up to this stand in the final event */

/* ---- reading ---- */

er_usec
er_outcome_moment(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    er_usec at;
    return text && er_time_parse(text, &at) == 0 ? at : ER_NEVER;
}

static er_usec
read_span(const json_t *o, const char *name)
{
    double v = json_number_value(json_object_get(o, name));
    return v > 0 && v < 1e12 ? (er_usec)(v * 1e6) : 0;
}

/* Copies into an arena; what did not fit shows at the end. */
struct reader {
    struct er_arena *arena;
    bool failed;
};

static const char *
keep(struct reader *r, const char *text)
{
    const char *copy = er_arena_strdup(r->arena, text);
    r->failed = r->failed || (text && !copy);
    return copy;
}

static const char *
read_string(struct reader *r, const json_t *o, const char *name)
{
    return keep(r, json_string_value(json_object_get(o, name)));
}

/* The text of a member, NULL when it is null or not there. */
static const char *
read_json(struct reader *r, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v)) {
        return NULL;
    }
    char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *copy = keep(r, text);
    r->failed = r->failed || !text;
    free(text);
    return copy;
}

static int
read_result(struct reader *r, const json_t *o, struct er_finish *out)
{
    const json_t *v = json_object_get(o, "result");
    if (!json_is_string(v)) {
        return 0;
    }
    struct er_buf b;
    er_buf_init(&b, ER_MAX_RESULT);
    int rc = er_base64_decode(&b, json_string_value(v), json_string_length(v));
    if (rc == 0) {
        out->result = er_arena_memdup(r->arena, b.data ? b.data : "", b.len);
        out->result_len = b.len;
        r->failed = r->failed || !out->result;
    }
    er_buf_fini(&b);
    return rc;
}

static void
read_error(struct reader *r, const json_t *o, struct er_outcome *out)
{
    if (json_is_object(o)) {
        out->end.has_error = true;
        out->end.error_class = read_string(r, o, "class");
        out->end.error_code = read_string(r, o, "code");
        out->message = read_string(r, o, "message");
        out->action = read_string(r, o, "suggested_action");
        out->details = read_json(r, o, "details");
    }
}

static void
read_progress(struct reader *r, const json_t *o, struct er_outcome *out)
{
    struct er_finish *f = &out->row;
    const char *progress = read_json(r, o, "progress");
    const char *checkpoint = read_json(r, o, "checkpoint");
    if (progress) {
        f->progress_json = progress;
    }
    if (checkpoint && strlen(checkpoint) > ER_MAX_CHECKPOINT) {
        out->warn |= ER_WARN_CHECKPOINT;
    } else if (checkpoint) {
        f->checkpoint_json = checkpoint;
    }
}

static int
read_report(struct reader *r, const json_t *o, struct er_outcome *out)
{
    struct er_finish *f = &out->row;
    struct er_end *end = &out->end;
    const json_t *warnings = json_object_get(o, "warnings");
    f->started_at = er_outcome_moment(o, "started_at");
    f->finished_at = er_outcome_moment(o, "finished_at");
    end->why = er_end_why_find(json_string_value(json_object_get(o, "why")));
    end->spawned = !json_is_false(json_object_get(o, "spawned"));
    end->has_exit_code = f->has_exit_code =
        json_is_integer(json_object_get(o, "exit_code"));
    end->exit_code = f->exit_code =
        (int)json_integer_value(json_object_get(o, "exit_code"));
    end->signal = f->signal = (int)json_integer_value(json_object_get(o, "signal"));
    end->retry_after_for = read_span(o, "retry_after_s");
    read_error(r, json_object_get(o, "error"), out);
    read_progress(r, o, out);
    out->warnings = json_array_size(warnings) > 0 ? read_json(r, o, "warnings") : NULL;
    f->cpu_for = read_span(o, "cpu_s");
    f->peak_rss = json_integer_value(json_object_get(o, "peak_rss_bytes"));
    f->output_bytes = json_integer_value(json_object_get(o, "output_bytes"));
    return read_result(r, o, f);
}

/* What the run knows, for any end of it. */
static void
begin(struct er_engine *e, struct er_live_attempt *run, struct reader *r,
      struct er_outcome *out)
{
    struct er_type *type = er_arena_memdup(
        r->arena, er_engine_type(e, run->lane->type->name), sizeof(struct er_type));
    r->failed = r->failed || !type;
    *out = (struct er_outcome){
        .end = {.type = type,
                .failures = run->failures,
                .retries = run->retries,
                .losses = run->losses,
                .max_losses = e->options.max_losses,
                .on_lost = run->on_lost,
                .backoff_for = run->backoff_for,
                .backoff_cap = e->options.backoff_cap,
                .random =
                    e->options.is_steady ? ER_RETRY_STEADY : er_rand_next(&e->rand)},
        .row = {.id = run->id,
                .attempt = run->attempt,
                .session = run->session->id,
                .run_at = ER_NEVER,
                .started_at = ER_NEVER,
                .finished_at = ER_NEVER,
                .progress_json = keep(r, run->progress),
                .checkpoint_json = keep(r, run->checkpoint)},
        .warn = run->warn,
    };
}

int
er_outcome_ask(const struct er_live_attempt *run, struct er_arena *arena,
               struct er_outcome *o)
{
    struct reader r = {.arena = arena};
    o->end.cancel = run->cancel;
    o->end.requeue = run->requeue;
    o->end.hold = run->hold;
    o->look = o->look || run->change_asked || run->has_items;
    o->cancel_reason = keep(&r, run->cancel_reason);
    o->cancel_by = keep(&r, run->cancel_by);
    return r.failed ? ER_ENOMEM : 0;
}

int
er_outcome_report(struct er_engine *e, struct er_live_attempt *run,
                  struct er_arena *arena, const json_t *o, struct er_outcome *out,
                  struct er_err *err)
{
    struct reader r = {.arena = arena};
    begin(e, run, &r, out);
    int rc = read_report(&r, o, out);
    if (rc) {
        return er_fail(err, rc, "the result in the report on task %lld: %s",
                       (long long)run->id, er_error_meaning(rc));
    }
    rc = er_outcome_ask(run, arena, out);
    return r.failed || rc ? er_fail(err, ER_ENOMEM, "out of memory") : 0;
}

int
er_outcome_parse(struct er_engine *e, struct er_live_attempt *run, struct er_arena *arena,
                 const char *json, size_t len, struct er_outcome *out, struct er_err *err)
{
    json_error_t je;
    json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    int rc = json_is_object(o) ? er_outcome_report(e, run, arena, o, out, err)
                               : er_fail(err, ER_EINVALID,
                                         "a report of an end is not JSON: %s", je.text);
    json_decref(o);
    return rc;
}

int
er_outcome_lost(struct er_engine *e, struct er_live_attempt *run, struct er_arena *arena,
                struct er_outcome *out)
{
    struct reader r = {.arena = arena};
    begin(e, run, &r, out);
    out->end.why = ER_END_LOST;
    out->end.spawned = true;
    out->row.started_at = run->started_at;
    out->row.finished_at = er_clock_wall(e->options.clock);
    int rc = er_outcome_ask(run, arena, out);
    return r.failed ? ER_ENOMEM : rc;
}

int
er_outcome_unspawned(struct er_engine *e, struct er_live_attempt *run,
                     struct er_arena *arena, struct er_outcome *out)
{
    struct reader r = {.arena = arena};
    begin(e, run, &r, out);
    int rc = er_outcome_ask(run, arena, out);
    return r.failed ? ER_ENOMEM : rc;
}

/* ---- writing: on the store's thread ---- */

/* What was written, in the arena; NULL when memory is out. */
static const char *
take(struct er_arena *arena, struct er_buf *b)
{
    const char *text =
        b->failed ? NULL : er_arena_memdup(arena, b->data ? b->data : "", b->len);
    er_buf_fini(b);
    return text;
}

/* Adds `,"name":`. */
static void
add_name(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, ",\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static void
add_raw(struct er_buf *b, const char *name, const char *json)
{
    add_name(b, name);
    er_buf_add_str(b, json ? json : "null");
}

static void
add_text(struct er_buf *b, const char *name, const char *text)
{
    add_name(b, name);
    er_buf_add_json_str(b, text);
}

static void
add_time(struct er_buf *b, const char *name, er_usec at)
{
    char text[ER_RFC3339_SIZE];
    er_time_format(at, text);
    add_name(b, name);
    er_buf_add_json(b, text, strlen(text));
}

static int64_t
n_items(const struct er_end *end)
{
    return end->items_completed + end->items_failed;
}

/* What a failure is called where nobody has reported its words. */
static void
add_message(struct er_buf *b, const struct er_outcome *o, const struct er_verdict *v)
{
    const struct er_end *end = &o->end;
    char text[200];
    const char *name = sigabbrev_np(end->signal);
    if (strcmp(v->code, "timeout") == 0) {
        (void)snprintf(text, sizeof text, "ran longer than its timeout");
    } else if (strcmp(v->code, "heartbeat") == 0) {
        (void)snprintf(text, sizeof text, "gave no sign of life within its heartbeat");
    } else if (strcmp(v->code, "rate-limit") == 0) {
        (void)snprintf(
            text, sizeof text, "rate limit exceeded (retry after %llds)",
            (long long)((v->wait_for + ER_USEC_PER_SEC - 1) / ER_USEC_PER_SEC));
    } else if (strcmp(v->code, "items-failed") == 0) {
        (void)snprintf(text, sizeof text,
                       "%lld of %lld items failed (%d %% of them must complete)",
                       (long long)end->items_failed, (long long)n_items(end),
                       end->type->success_percent);
    } else if (strcmp(v->code, "worker-lost") == 0) {
        (void)snprintf(text, sizeof text, "the worker died while the task ran");
    } else if (strcmp(v->code, "signal") == 0) {
        (void)snprintf(text, sizeof text, "killed by signal %d (SIG%s)", end->signal,
                       name ? name : "?");
    } else if (end->has_exit_code) {
        (void)snprintf(text, sizeof text, "exited with code %d", end->exit_code);
    } else {
        (void)snprintf(text, sizeof text, "ended, and nobody knows how");
    }
    er_buf_add_json_str(b, text);
}

static const char *
write_error(const struct er_outcome *o, const struct er_verdict *v,
            struct er_arena *arena)
{
    struct er_buf b;
    bool said = v->reported && o->message;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"class\":");
    er_buf_add_json_str(&b, v->class);
    add_text(&b, "code", v->code);
    er_buf_add_str(&b, ",\"message\":");
    if (said) {
        er_buf_add_json_str(&b, o->message);
    } else {
        add_message(&b, o, v);
    }
    add_text(&b, "suggested_action", v->reported && o->action ? o->action : v->action);
    if (v->wait_for > 0) {
        er_buf_addf(&b, ",\"retry_after_s\":%.3f", (double)v->wait_for / 1e6);
    } else {
        er_buf_add_str(&b, ",\"retry_after_s\":null");
    }
    add_raw(&b, "details", v->reported ? o->details : NULL);
    er_buf_add_char(&b, '}');
    return take(arena, &b);
}

static void
add_warning(struct er_buf *b, const char *text)
{
    er_buf_add_str(b, b->len > 1 ? "," : "");
    er_buf_add_json_str(b, text);
}

/* Those that came with the report, and our own behind them. */
static const char *
write_warnings(const struct er_outcome *o, const struct er_verdict *v,
               struct er_arena *arena)
{
    struct er_buf b;
    char text[100];
    er_buf_init(&b, 0);
    er_buf_add(&b, o->warnings ? o->warnings : "[", /* without its end */
               o->warnings ? strlen(o->warnings) - 1 : 1);
    if (v->items_warning) {
        (void)snprintf(text, sizeof text, "%lld of %lld items failed",
                       (long long)o->end.items_failed, (long long)n_items(&o->end));
        add_warning(&b, text);
    }
    if (o->warn & ER_WARN_CHECKPOINT) {
        (void)snprintf(text, sizeof text,
                       "a checkpoint of more than %d bytes was not kept",
                       ER_MAX_CHECKPOINT);
        add_warning(&b, text);
    }
    if (o->warn & ER_WARN_ITEM) {
        (void)snprintf(
            text, sizeof text,
            "an item whose name is empty, or longer than %d bytes, was not kept",
            ER_MAX_NAME);
        add_warning(&b, text);
    }
    er_buf_add_char(&b, ']');
    return take(arena, &b);
}

static void
add_duration(struct er_buf *b, const struct er_finish *f)
{
    er_buf_add_str(b, "\"duration_s\":");
    if (f->started_at != ER_NEVER && f->finished_at != ER_NEVER) {
        er_usec d = f->finished_at - f->started_at;
        er_buf_add_seconds(b, d > 0 ? d : 0);
    } else {
        er_buf_add_str(b, "null");
    }
}

static void
add_completed(struct er_buf *b, const struct er_finish *f)
{
    add_duration(b, f);
    er_buf_add_str(b, ",\"result\":");
    bool small = f->result && f->result_len <= SMALL_RESULT;
    er_result_json(b, small ? f->result : NULL, f->result_len);
    add_raw(b, "progress", f->progress_json);
    add_raw(b, "warnings", f->warnings_json ? f->warnings_json : "[]");
}

static void
add_failed(struct er_buf *b, const struct er_outcome *o, const struct er_verdict *v)
{
    add_duration(b, &o->row);
    add_raw(b, "error", o->row.error_json);
    er_buf_addf(b, ",\"retryable\":%s,\"failures\":%d",
                strcmp(v->class, "retryable") == 0 ? "true" : "false",
                o->end.failures + v->add_failures);
    add_raw(b, "progress", o->row.progress_json);
}

static void
add_retrying(struct er_buf *b, const struct er_outcome *o, const struct er_verdict *v)
{
    er_buf_addf(b, "\"attempt\":%d,\"retryable\":true,\"failures\":%d", o->row.attempt,
                o->end.failures + v->add_failures);
    add_raw(b, "error", o->row.error_json);
    add_time(b, "next_at", v->at);
}

static void
add_cancelled(struct er_buf *b, const struct er_outcome *o)
{
    er_buf_add_str(b, "\"reason\":");
    er_buf_add_json_str(b, o->cancel_reason ? o->cancel_reason : "cancelled");
    add_text(b, "by", o->cancel_by);
}

/* The data of the fact that tells the end. */
static const char *
write_data(const struct er_outcome *o, const struct er_verdict *v, struct er_arena *arena)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_char(&b, '{');
    if (v->state == ER_TASK_COMPLETED) {
        add_completed(&b, &o->row);
    } else if (v->state == ER_TASK_FAILED) {
        add_failed(&b, o, v);
    } else if (v->state == ER_TASK_CANCELLED) {
        add_cancelled(&b, o);
    } else if (v->state == ER_TASK_SCHEDULED) {
        add_retrying(&b, o, v);
    } else {
        er_buf_add_str(&b, "\"reason\":");
        er_buf_add_json_str(&b, v->reason);
        if (v->at != ER_NEVER) {
            add_time(&b, "resumes_at", v->at);
        }
    }
    er_buf_add_char(&b, '}');
    return take(arena, &b);
}

static int
write_row(struct er_outcome *o, const struct er_verdict *v, struct er_arena *arena)
{
    struct er_finish *f = &o->row;
    bool warned = o->warnings || o->warn || v->items_warning;
    f->state = v->state;
    f->held = v->held && v->state == ER_TASK_QUEUED;
    f->refund = v->refund;
    f->add_failures = v->add_failures;
    f->add_losses = v->add_losses;
    f->run_at = v->at;
    f->outcome = v->outcome;
    f->event = v->event;
    f->error_json = v->class ? write_error(o, v, arena) : NULL;
    f->warnings_json = warned ? write_warnings(o, v, arena) : NULL;
    f->event_data_json = write_data(o, v, arena);
    bool whole = (f->error_json || !v->class) && (f->warnings_json || !warned) &&
                 f->event_data_json;
    return whole ? 0 : ER_ENOMEM;
}

/* An attempt counts what it has told itself; what is stored for the task is what
 * counts. */
static int
count_items(struct er_outcome *o, struct er_arena *arena)
{
    json_error_t je;
    const char *progress = o->row.progress_json;
    if (!progress || n_items(&o->end) == 0) {
        return 0;
    }
    json_t *p = json_loads(progress, 0, &je);
    char *text = NULL;
    if (json_is_object(p)) {
        (void)json_object_set_new(p, "items_completed",
                                  json_integer(o->end.items_completed));
        (void)json_object_set_new(p, "items_failed", json_integer(o->end.items_failed));
        text = json_dumps(p, JSON_COMPACT | JSON_REAL_PRECISION(15));
        o->row.progress_json = er_arena_strdup(arena, text);
    }
    json_decref(p);
    free(text);
    return o->row.progress_json ? 0 : ER_ENOMEM;
}

/* What only the transaction knows for sure. */
static int
look(struct er_store *s, struct er_outcome *o)
{
    struct er_change c = {.id = o->row.id};
    int rc = er_store_look(s, &c, 1);
    if (rc == 0 && c.status == 0 && c.attempt == o->row.attempt) {
        o->end.cancel = o->end.cancel || c.cancel_requested;
        o->end.requeue = o->end.requeue || (c.asked & ER_ASKED_REQUEUE) != 0;
        o->end.hold = (c.asked & ER_ASKED_HOLD) != 0;
        o->end.items_completed = c.items_completed;
        o->end.items_failed = c.items_failed;
    }
    return rc;
}

/* A row says itself that what is queued is held; what waits for a moment is held
 * after. */
static int
hold(struct er_store *s, er_usec now, const struct er_outcome *o)
{
    struct er_change c = {.id = o->row.id};
    return er_store_hold(s, now, &c, 1, true);
}

static int
write_one(struct er_store *s, er_usec now, struct er_arena *arena, struct er_outcome *o)
{
    struct er_verdict v;
    int rc = o->look ? look(s, o) : 0;
    rc = rc ? rc : count_items(o, arena);
    if (rc) {
        return rc;
    }
    er_verdict(&o->end, now, &v);
    rc = write_row(o, &v, arena);
    if (rc == 0) {
        rc = er_store_finish(s, now, &o->row, 1);
    }
    if (rc == 0 && o->row.status == 0 && v.held && !o->row.held) {
        rc = hold(s, now, o);
    }
    return rc;
}

int
er_outcome_write(struct er_store *s, er_usec now, struct er_arena *arena,
                 struct er_outcome *rows, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = write_one(s, now, arena, &rows[i]);
    }
    return rc;
}
