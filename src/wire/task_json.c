/* SPDX-License-Identifier: MIT */
/* Each member is one line here, in the order in which docs show them. Nothing is
 * allocated but the buffer's own growth. */
#include "wire/task_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "model/mask.h"
#include "wire/json_text.h"
#include "wire/params.h"

#define RESULT_JSON_MAX ((size_t)16 << 20) /* of a result in its task; see PROTOCOL.md */

/* ---- members: all but the first of an object begin with a comma ---- */

static void
add_name(struct er_buf *b, const char *name)
{
    er_buf_add(b, ",\"", 2);
    er_buf_add_str(b, name);
    er_buf_add(b, "\":", 2);
}

static void
add_text(struct er_buf *b, const char *name, const char *value)
{
    add_name(b, name);
    er_buf_add_json_str(b, value);
}

static void
add_int(struct er_buf *b, const char *name, int64_t value)
{
    add_name(b, name);
    er_buf_add_i64(b, value);
}

/* The same, where 0 stands for unknown. */
static void
add_known(struct er_buf *b, const char *name, int64_t value)
{
    add_name(b, name);
    if (value != 0) {
        er_buf_add_i64(b, value);
    } else {
        er_buf_add_str(b, "null");
    }
}

static void
add_bool(struct er_buf *b, const char *name, bool value)
{
    add_name(b, name);
    er_buf_add_str(b, value ? "true" : "false");
}

static void
add_raw(struct er_buf *b, const char *name, const char *json, const char *otherwise)
{
    add_name(b, name);
    er_buf_add_str(b, json && *json ? json : otherwise);
}

static void
add_time(struct er_buf *b, const char *name, er_usec at)
{
    char text[ER_RFC3339_SIZE + 1];
    if (at == ER_NEVER) {
        add_text(b, name, NULL);
        return;
    }
    er_time_format(at, text);
    add_name(b, name);
    er_buf_add_char(b, '"');
    er_buf_add_str(b, text);
    er_buf_add_char(b, '"');
}

/* A span in seconds, without the zeros at its end. */
static void
add_seconds(struct er_buf *b, const char *name, er_usec span)
{
    add_name(b, name);
    er_usec part = span % ER_USEC_PER_SEC;
    er_buf_add_i64(b, span / ER_USEC_PER_SEC);
    if (part == 0) {
        return;
    }
    char digits[8] = ".000000";
    for (int i = 6; i > 0; i--, part /= 10) {
        digits[i] = (char)('0' + part % 10);
    }
    size_t n = 7;
    while (digits[n - 1] == '0') {
        n--;
    }
    er_buf_add(b, digits, n);
}

/* The same, where 0 stands for unknown, or none. */
static void
add_span(struct er_buf *b, const char *name, er_usec span)
{
    if (span > 0) {
        add_seconds(b, name, span);
    } else {
        add_text(b, name, NULL);
    }
}

/* ---- tasks ---- */

static void
add_after(struct er_buf *b, const struct er_task_json_more *more)
{
    add_name(b, "after");
    if (!more->has_after) {
        er_buf_add_str(b, "null");
        return;
    }
    er_buf_add_char(b, '[');
    for (size_t i = 0; i < more->n_after; i++) {
        const struct er_task_json_after *a = &more->after[i];
        er_buf_add_str(b, i > 0 ? ",{\"id\":" : "{\"id\":");
        er_buf_add_i64(b, a->id);
        add_text(b, "when", er_after_when_word(a->when));
        add_text(b, "state",
                 a->state < 0 ? NULL : er_task_state_word((enum er_task_state)a->state));
        er_buf_add_char(b, '}');
    }
    er_buf_add_char(b, ']');
    if (more->after_more) {
        add_bool(b, "after_more", true);
    }
}

/* The value with the credentials in its strings' URLs masked: a new reference, or
 * NULL. */
static json_t *
masked(const json_t *v)
{
    if (json_is_string(v)) {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_mask_encode(&b, json_string_value(v), json_string_length(v));
        json_t *text = b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
        er_buf_fini(&b);
        return text;
    }
    if (!json_is_object(v) && !json_is_array(v)) {
        return json_copy((json_t *)(uintptr_t)v);
    }
    json_t *copy = json_is_object(v) ? json_object() : json_array();
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        (void)json_object_set_new(copy, key, masked(value));
    }
    json_array_foreach(v, i, value)
    {
        (void)json_array_append_new(copy, masked(value));
    }
    return copy;
}

static bool
has_secrets(const struct er_task_json_more *more)
{
    for (size_t i = 0; i < more->n_params; i++) {
        if (more->params[i].secret) {
            return true;
        }
    }
    return false;
}

/* Without what is secret: takes `args` and gives a new reference, or NULL. */
static json_t *
without_secrets(json_t *args, const struct er_task_json_more *more)
{
    const char *key;
    json_t *value;
    json_t *shown = more->hide_args ? json_copy(args)
                                    : er_params_mask(more->params, more->n_params, args);
    json_decref(args);
    if (more->hide_args) {
        json_object_foreach(shown, key, value)
        {
            (void)json_object_set_new(shown, key, json_string("***"));
        }
    }
    return shown;
}

/* The arguments as others may see them. */
static void
add_args(struct er_buf *b, const char *args_json, const struct er_task_json_more *more)
{
    bool secret = more->hide_args || has_secrets(more);
    bool links = args_json && strstr(args_json, "://");
    if (!args_json || (!secret && !links)) {
        add_raw(b, "args", args_json, "{}");
        return;
    }
    json_error_t je;
    json_t *args = json_loads(args_json, 0, &je);
    if (args && secret) {
        args = without_secrets(args, more);
    }
    json_t *shown = args && links ? masked(args) : json_incref(args);
    char *text = shown ? json_dumps(shown, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    add_raw(b, "args", text, "{}");
    free(text);
    json_decref(shown);
    json_decref(args);
}

/* What it is and whom it belongs to. */
static void
add_definition(struct er_buf *b, const struct er_task *t,
               const struct er_task_json_more *more)
{
    er_buf_add_str(b, "{\"id\":");
    er_buf_add_i64(b, t->id);
    add_int(b, "run", t->run);
    add_text(b, "type", t->type);
    add_text(b, "name", t->name);
    add_text(b, "queue", t->queue);
    add_text(b, "state", er_task_state_word(er_task_shown_state(t)));
    add_bool(b, "held", t->held);
    add_bool(b, "cancel_requested", t->cancel_requested);
    add_bool(b, "pause_requested", more->pause_requested);
    add_int(b, "priority", t->priority);
    add_int(b, "cost", t->cost);
    add_args(b, t->args_json, more);
    add_text(b, "cwd", t->cwd);
    add_int(b, "attempt", t->attempt);
    add_int(b, "attempts", t->attempt);
    add_int(b, "failures", t->failures);
    add_int(b, "losses", t->losses);
    add_int(b, "retries", t->retries);
    add_seconds(b, "backoff_s", t->backoff_for);
    add_text(b, "on_lost", er_on_lost_word(t->on_lost));
    add_span(b, "timeout_s", t->timeout_for);
    add_span(b, "heartbeat_s", t->heartbeat_for);
    add_seconds(b, "grace_s", t->grace_for);
    add_text(b, "correlation_id", t->correlation);
    add_known(b, "parent", t->parent);
    add_text(b, "key", t->key);
    add_text(b, "limit_key", t->limit_key);
    add_raw(b, "tags", t->tags_json, "[]");
    add_raw(b, "meta", t->meta_json, "{}");
}

static void
raise_count(json_t *progress, const char *name, int64_t stored)
{
    if (json_is_object(progress) &&
        stored > json_integer_value(json_object_get(progress, name))) {
        (void)json_object_set_new(progress, name, json_integer(stored));
    }
}

void
er_task_json_raise_items(json_t *progress, int64_t completed, int64_t failed)
{
    raise_count(progress, "items_completed", completed);
    raise_count(progress, "items_failed", failed);
}

static void
add_progress(struct er_buf *b, const struct er_task *t, const char *progress_json)
{
    json_error_t je;
    json_t *o = NULL;
    if (progress_json && (t->items_completed > 0 || t->items_failed > 0)) {
        o = json_loads(progress_json, 0, &je);
    }
    if (!json_is_object(o)) {
        add_raw(b, "progress", progress_json, "null");
    } else {
        er_task_json_raise_items(o, t->items_completed, t->items_failed);
        char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(15));
        add_raw(b, "progress", text, "null");
        free(text);
    }
    json_decref(o);
}

/* How its latest attempt went, or goes. */
static void
add_outcome(struct er_buf *b, const struct er_task *t,
            const struct er_task_json_more *more)
{
    add_progress(b, t, more->progress_json ? more->progress_json : t->progress_json);
    add_name(b, "result");
    (void)er_result_json_max(b, t->result, t->result_len, RESULT_JSON_MAX);
    add_name(b, "result_bytes");
    if (t->result) {
        er_buf_add_i64(b, (int64_t)t->result_len);
    } else {
        er_buf_add_str(b, "null");
    }
    add_name(b, "exit_code");
    if (t->has_exit_code) {
        er_buf_add_i64(b, t->exit_code);
    } else {
        er_buf_add_str(b, "null");
    }
    add_known(b, "signal", t->signal);
    add_raw(b, "error", t->error_json, "null");
    add_raw(b, "warnings", t->warnings_json, "[]");
    add_int(b, "items_completed", t->items_completed);
    add_int(b, "items_failed", t->items_failed);
    if (more->with_checkpoint) {
        add_raw(b, "checkpoint", t->checkpoint_json, "null");
    }
    add_text(b, "worker", t->worker);
    add_known(b, "pid", more->pid);
    add_span(b, "cpu_s", t->cpu_for);
    add_known(b, "peak_rss_bytes", t->peak_rss);
}

void
er_task_json(struct er_buf *b, const struct er_task *t,
             const struct er_task_json_more *more)
{
    static const struct er_task_json_more nothing;
    if (!more) {
        more = &nothing;
    }
    add_definition(b, t, more);
    add_after(b, more);
    add_text(b, "waiting_for", more->waiting_for);
    add_time(b, "created_at", t->created_at);
    add_time(b, "run_at", t->run_at);
    add_time(b, "started_at", t->started_at);
    add_time(b, "finished_at", t->finished_at);
    add_time(b, "resumes_at", t->resumes_at);
    add_time(b, "expires_at", t->expires_at);
    add_outcome(b, t, more);
    er_buf_add_char(b, '}');
}

void
er_result_json(struct er_buf *b, const void *p, size_t n)
{
    if (!p) {
        er_buf_add_str(b, "null");
        return;
    }
    if (n > 0 && er_json_text_compact(b, p, n) == 0) {
        return;
    }
    /* A NUL is UTF-8, but many readers end a string there. */
    if (er_utf8_is_valid(p, n) && (n == 0 || !memchr(p, '\0', n))) {
        er_buf_add_json(b, p, n);
        return;
    }
    er_buf_add_str(b, "{\"base64\":\"");
    er_base64_encode(b, p, n);
    er_buf_add_str(b, "\"}");
}

bool
er_result_json_max(struct er_buf *b, const void *p, size_t n, size_t max)
{
    if (!p || 6 * n + 16 <= max) { /* it fits, however it is escaped */
        er_result_json(b, p, n);
        return true;
    }
    struct er_buf text;
    er_buf_init(&text, max);
    if (n <= max) {
        er_result_json(&text, p, n);
    }
    bool fits = n <= max && !text.failed;
    er_buf_add(b, fits ? text.data : "null", fits ? text.len : 4);
    er_buf_fini(&text);
    return fits;
}

/* ---- attempts and facts ---- */

void
er_attempt_json(struct er_buf *b, const struct er_attempt_json *a)
{
    er_buf_add_str(b, "{\"attempt\":");
    er_buf_add_i64(b, a->number);
    add_int(b, "run", a->run);
    add_text(b, "worker", a->worker);
    add_time(b, "started_at", a->started_at);
    add_time(b, "finished_at", a->finished_at);
    add_text(b, "outcome", a->outcome);
    add_name(b, "exit_code");
    if (a->has_exit_code) {
        er_buf_add_i64(b, a->exit_code);
    } else {
        er_buf_add_str(b, "null");
    }
    add_known(b, "signal", a->signal);
    add_raw(b, "error", a->error_json, "null");
    add_span(b, "cpu_s", a->cpu_for);
    add_known(b, "peak_rss_bytes", a->peak_rss);
    add_int(b, "output_bytes", a->output_bytes);
    er_buf_add_char(b, '}');
}

void
er_fact_json(struct er_buf *b, const struct er_fact *f)
{
    er_buf_add_str(b, "{\"seq\":");
    if (f->seq > 0) {
        er_buf_add_i64(b, f->seq);
    } else {
        er_buf_add_str(b, "null");
    }
    add_text(b, "event", f->topic ? f->topic : er_event_word(f->event));
    add_time(b, "time", f->at);
    add_known(b, "task", f->task);
    add_known(b, "run", f->run);
    add_text(b, "type", f->type);
    add_text(b, "queue", f->queue);
    add_text(b, "correlation_id", f->correlation);
    add_known(b, "attempt", f->attempt);
    add_raw(b, "data", f->data_json, "{}");
    er_buf_add_char(b, '}');
}
