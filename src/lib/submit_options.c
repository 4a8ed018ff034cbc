/* SPDX-License-Identifier: MIT */
/* Options of a submit: read, written as members of its document, and, where it is
 * refused, found again in what the refusal names. A key of its own makes a submit one
 * that may be sent again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/utf8.h"
#include "lib/handle.h"
#include "lib/submit_priv.h"
#include "wire/json.h"
#include "wire/json_dump.h"

/* ---- reading ---- */

static int
check_text(const char *field, const char *text, errand_error *error)
{
    return !text || er_utf8_is_valid(text, strlen(text))
               ? 0
               : er_handle_fail(error, ER_EINVALID, field, "%s is not UTF-8", field);
}

static int
check_texts(const struct errand_submit_options *o, errand_error *error)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"name", o->name},
                 {"queue", o->queue},
                 {"key", o->key},
                 {"limit_key", o->limit_key},
                 {"correlation", o->correlation},
                 {"on_lost", o->on_lost}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof texts / sizeof texts[0]; i++) {
        rc = check_text(texts[i].name, texts[i].text, error);
    }
    for (size_t i = 0; rc == 0 && o->tags && o->tags[i]; i++) {
        rc = check_text("tags", o->tags[i], error);
    }
    return rc;
}

int
er_submit_read_options(struct errand_submit_options *out,
                       const struct errand_submit_options *given, errand_error *error)
{
    int rc = er_handle_read(out, sizeof *out, given, error);
    const struct {
        const char *name;
        int64_t value;
    } spans[] = {{"delay_ms", out->delay_ms},
                 {"timeout_ms", out->timeout_ms},
                 {"expires_ms", out->expires_ms},
                 {"backoff_ms", out->backoff_ms},
                 {"heartbeat_ms", out->heartbeat_ms},
                 {"grace_ms", out->grace_ms},
                 {"cost", out->cost},
                 {"parent", out->parent}};
    for (size_t i = 0; rc == 0 && i < sizeof spans / sizeof spans[0]; i++) {
        if (spans[i].value < 0) {
            rc = er_handle_fail(error, ER_EINVALID, spans[i].name, "%s is negative",
                                spans[i].name);
        }
    }
    if (rc == 0 && out->retries != 0 && !out->has_retries) {
        rc = er_handle_fail(error, ER_EINVALID, "retries",
                            "retries %d without has_retries", out->retries);
    }
    if (rc == 0 && out->n_after > 0 && !out->after) {
        rc = er_handle_fail(error, ER_EINVALID, "after", "after is NULL");
    }
    return rc ? rc : check_texts(out, error);
}

/* ---- writing ---- */

static void
add_name(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, ",\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static void
add_text(struct er_buf *b, const char *name, const char *value)
{
    if (value) {
        add_name(b, name);
        er_buf_add_json_str(b, value);
    }
}

static void
add_number(struct er_buf *b, const char *name, int64_t value, bool is_given)
{
    if (is_given) {
        add_name(b, name);
        er_buf_add_i64(b, value);
    }
}

static void
add_span(struct er_buf *b, const char *name, int64_t ms)
{
    if (ms > 0) {
        add_name(b, name);
        er_buf_addf(b, "%lld.%03d", (long long)(ms / 1000), (int)(ms % 1000));
    }
}

void
er_submit_add_options(struct er_buf *b, const struct errand_submit_options *o)
{
    add_text(b, "name", o->name);
    add_text(b, "queue", o->queue);
    add_text(b, "key", o->key);
    add_text(b, "limit_key", o->limit_key);
    add_text(b, "correlation_id", o->correlation);
    add_number(b, "parent", o->parent, o->parent != 0);
    add_number(b, "priority", o->priority, o->priority != 0);
    add_number(b, "retries", o->retries, o->has_retries);
    add_number(b, "cost", o->cost, o->cost != 0);
    add_span(b, "delay_s", o->delay_ms);
    add_span(b, "timeout_s", o->timeout_ms);
    add_span(b, "expires_s", o->expires_ms);
    add_span(b, "backoff_s", o->backoff_ms);
    add_span(b, "heartbeat_s", o->heartbeat_ms);
    add_span(b, "grace_s", o->grace_ms);
    add_text(b, "on_lost", o->on_lost);
    if (o->held) {
        er_buf_add_str(b, ",\"held\":true");
    }
    for (size_t i = 0; i < o->n_after; i++) {
        er_buf_add_str(b, i == 0 ? ",\"after\":[" : ",");
        er_buf_add_i64(b, o->after[i]);
    }
    er_buf_add_str(b, o->n_after > 0 ? "]" : "");
    for (size_t i = 0; o->tags && o->tags[i]; i++) {
        er_buf_add_str(b, i == 0 ? ",\"tags\":[" : ",");
        er_buf_add_json_str(b, o->tags[i]);
    }
    er_buf_add_str(b, o->tags && o->tags[0] ? "]" : "");
}

int
er_submit_add_more(struct er_buf *b, const char *more, errand_error *error)
{
    struct er_err err = {""};
    json_t *o = NULL, *over = NULL;
    if (!more) {
        return 0;
    }
    int rc = er_json_parse(more, strlen(more), &over, &err);
    if (rc == 0 && !json_is_object(over)) {
        rc = er_fail(&err, ER_EINVALID, "it is not an object");
    }
    if (rc) {
        json_decref(over);
        return er_handle_fail(error, rc, "more", "more: %s", err.text);
    }
    o = json_loadb(b->data, b->len, 0, NULL);
    if (json_object_get(over, "args")) {
        (void)json_object_del(o, "args_text");
    }
    char *text = NULL;
    if (o && json_object_update(o, over) == 0) {
        (void)er_submit_lift_texts(o);
        text = er_json_dumps(o, JSON_COMPACT);
    }
    json_decref(over);
    json_decref(o);
    er_buf_clear(b);
    if (!text) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    er_buf_add_str(b, text);
    free(text);
    return 0;
}

/* ---- keys ---- */

const char *
er_submit_make_key(const struct errand *e, char out[ER_SUBMIT_KEY])
{
    if (e->embedded) {
        return NULL; /* an answer cannot be lost inside */
    }
    er_uuid7(er_clock_wall(er_clock_system()), out);
    return out;
}

static bool
has_key(const struct errand_submit_options *given)
{
    struct errand_submit_options o;
    if (er_submit_read_options(&o, given, NULL) != 0) {
        return false;
    }
    json_t *more = o.more ? json_loads(o.more, 0, NULL) : NULL;
    bool is_there = o.key || json_is_string(json_object_get(more, "key"));
    json_decref(more);
    return is_there;
}

void
er_submit_bear_key(const struct errand *e, const struct errand_submit_options *given,
                   struct er_sync_spec *spec, char out[ER_SUBMIT_KEY])
{
    spec->has_key = has_key(given);
    spec->key = spec->has_key ? NULL : er_submit_make_key(e, out);
}

/* ---- refusals ---- */

int
er_submit_name_option(int rc, errand_error *error)
{
    static const char *const names[][2] = {
        {"delay_s", "delay_ms"},          {"timeout_s", "timeout_ms"},
        {"expires_s", "expires_ms"},      {"backoff_s", "backoff_ms"},
        {"heartbeat_s", "heartbeat_ms"},  {"grace_s", "grace_ms"},
        {"correlation_id", "correlation"}};
    static const char texts[] = "args_text"; /* what errand_args has made */
    size_t n = sizeof texts - 1;
    if (rc && error && strncmp(error->field, texts, n) == 0) {
        (void)memmove(error->field + 4, error->field + n, strlen(error->field + n) + 1);
    }
    for (size_t i = 0; rc && error && i < sizeof names / sizeof *names; i++) {
        if (strcmp(error->field, names[i][0]) == 0) {
            (void)snprintf(error->field, sizeof error->field, "%s", names[i][1]);
            break;
        }
    }
    return rc;
}
