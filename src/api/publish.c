/* SPDX-License-Identifier: MIT */
/* POST /v1/events: a program's own events, one or one a line. A sample is handed at once
 * to who listens now; what is durable waits for the whole request and goes to the store
 * in one transaction. A line that is wrong is told and disturbs no other.
 *
 * Failure modes: no such name, task or member (that line's problem); a store that refuses
 * (every durable line's). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/heap.h"
#include "base/mem.h"
#include "model/topic.h"
#include "wire/json.h"
#include "wire/json_dump.h"
#include "wire/problem.h"

#define LINES_MAX ((size_t)100000)
#define BYTES_MAX ((size_t)256 << 20) /* of all lines of a request */
#define SAMPLE    SIZE_MAX            /* `row` of a line that is not durable */

struct line {
    int status;
    size_t row; /* of the durable ones */
    char *words, *field;
};
struct publish {
    struct er_op op;
    struct er_call *call;
    struct er_arena arena; /* texts of the rows */
    struct er_topic *rows;
    size_t n_rows, rows_size;
    struct line *lines;
    size_t n_lines, lines_size;
    size_t bytes;
};

/* What one document says; borrowed from it. */
struct event {
    const char *name, *correlation;
    bool durable;
    int64_t task;
    const json_t *data;
};

static const struct er_json_field fields[] = {
    {.name = "event",
     .kind = ER_JSON_STRING,
     .required = true,
     .max = ER_MAX_NAME,
     .offset = offsetof(struct event, name)},
    {.name = "durable", .kind = ER_JSON_BOOL, .offset = offsetof(struct event, durable)},
    {.name = "task",
     .kind = ER_JSON_INT,
     .min = 1,
     .max = INT64_C(1) << 53,
     .offset = offsetof(struct event, task)},
    {.name = "correlation_id",
     .kind = ER_JSON_STRING,
     .min = 1,
     .max = ER_MAX_NAME,
     .offset = offsetof(struct event, correlation)},
    {.name = "data", .kind = ER_JSON_ANY, .offset = offsetof(struct event, data)},
};
static const struct er_json_form form = {fields, sizeof fields / sizeof *fields, false};

static void
free_publish(struct er_call *call)
{
    struct publish *p = call->state;
    for (size_t i = 0; i < p->n_lines; i++) {
        er_free(p->lines[i].words);
        er_free(p->lines[i].field);
    }
    er_arena_free(&p->arena);
    er_free(p->rows);
    er_free(p->lines);
    er_free(p);
}

static struct publish *
get_publish(struct er_call *call)
{
    if (!call->state) {
        struct publish *p = er_xzalloc(sizeof *p);
        p->call = call;
        call->state = p;
        call->free_state = free_publish;
    }
    return call->state;
}

static void
refuse(struct line *line, int status, const char *field, const char *words)
{
    line->status = status;
    line->field = er_xstrdup(field && *field ? field : NULL);
    line->words = er_xstrdup(words);
}

/* Keeps a row for the store. ER_ENOMEM. */
static int
add_row(struct publish *p, const struct er_topic *topic)
{
    if (p->n_rows == p->rows_size) {
        p->rows_size = p->rows_size ? p->rows_size * 2 : 1;
        p->rows = er_xrealloc_array(p->rows, p->rows_size, sizeof *p->rows);
    }
    struct er_topic *row = &p->rows[p->n_rows];
    *row = (struct er_topic){.task = topic->task};
    row->name = er_arena_strdup(&p->arena, topic->name);
    row->correlation = er_arena_strdup(&p->arena, topic->correlation);
    row->data_json = er_arena_strdup(&p->arena, topic->data_json);
    if (!row->name || !row->data_json || (topic->correlation && !row->correlation)) {
        return ER_ENOMEM;
    }
    p->n_rows++;
    return 0;
}

/* What the document says is as it must be: takes it. */
static void
take(struct publish *p, struct line *line, const struct event *ev)
{
    struct er_topic topic = {
        .name = ev->name, .task = ev->task, .correlation = ev->correlation};
    char *data = ev->data ? er_json_dumps(ev->data, JSON_COMPACT | JSON_ENCODE_ANY)
                          : strdup("null");
    int rc = data ? 0 : ER_ENOMEM;
    topic.data_json = data;
    if (data && strlen(data) > ER_MAX_TOPIC_DATA) {
        char words[100];
        (void)snprintf(words, sizeof words, "data is %zu bytes long as JSON (at most %d)",
                       strlen(data), ER_MAX_TOPIC_DATA);
        refuse(line, ER_ETOOBIG, "data", words);
    } else if (rc == 0 && ev->durable) {
        line->row = p->n_rows;
        rc = add_row(p, &topic);
    } else if (rc == 0) {
        er_engine_topic(p->call->api->engine, &topic);
    }
    if (rc) {
        refuse(line, rc, NULL, er_error_meaning(rc));
    }
    free(data);
}

static void
read_event(struct publish *p, struct line *line, const json_t *o)
{
    struct er_json_fault fault;
    struct event ev = {.name = NULL};
    int rc = er_json_read(o, &form, &ev, NULL, &fault);
    if (rc) {
        refuse(line, rc, fault.field, fault.err.text);
        return;
    }
    const char *why = er_topic_refusal(ev.name);
    if (why) {
        char words[300];
        (void)snprintf(words, sizeof words, "event '%.100s' %s", ev.name, why);
        refuse(line, ER_EINVALID, "event", words);
        return;
    }
    take(p, line, &ev);
}

static void
add_document(struct publish *p, const char *text, size_t len)
{
    struct er_err err;
    json_t *o = NULL;
    if (p->n_lines == p->lines_size) {
        p->lines_size = p->lines_size ? p->lines_size * 2 : 1;
        p->lines = er_xrealloc_array(p->lines, p->lines_size, sizeof *p->lines);
    }
    struct line *line = &p->lines[p->n_lines++];
    *line = (struct line){.row = SAMPLE};
    int rc = er_json_parse(text, len, &o, &err);
    if (rc) {
        refuse(line, rc, NULL, err.text);
    } else {
        read_event(p, line, o);
    }
    json_decref(o);
}

void
er_api_publish_line(struct er_call *call, const char *text, size_t len)
{
    struct publish *p = get_publish(call);
    p->bytes += len;
    if (p->n_lines >= LINES_MAX) {
        er_call_problem(call, ER_ETOOBIG, NULL, "more than %zu lines in one request",
                        LINES_MAX);
    } else if (p->bytes > BYTES_MAX) {
        er_call_problem(call, ER_ETOOBIG, NULL, "more than %zu bytes in one request",
                        BYTES_MAX);
    } else {
        add_document(p, text, len);
    }
}

/* ---- the answer ---- */

static void
add_seq(const struct publish *p, const struct line *line, struct er_buf *b)
{
    if (line->row == SAMPLE) {
        er_buf_add_str(b, "{\"seq\":null}");
    } else {
        er_buf_addf(b, "{\"seq\":%lld}", (long long)p->rows[line->row].seq);
    }
}

static void
answer_one(struct publish *p)
{
    const struct line *line = &p->lines[0];
    struct er_buf b;
    if (line->status) {
        er_call_problem(p->call, line->status, line->field, "%s", line->words);
        return;
    }
    er_buf_init(&b, 0);
    add_seq(p, line, &b);
    er_call_json(p->call, line->row == SAMPLE ? 202 : 201, &b);
}

static void
answer_many(struct publish *p)
{
    char extra[40];
    struct er_buf b;
    er_buf_init(&b, BYTES_MAX);
    for (size_t i = 0; i < p->n_lines; i++) {
        const struct line *line = &p->lines[i];
        if (line->status) {
            (void)snprintf(extra, sizeof extra, "\"line\":%zu", i + 1);
            (void)er_problem_json(&b, line->status, line->words, line->field, extra);
        } else {
            add_seq(p, line, &b);
        }
        er_buf_add_char(&b, '\n');
    }
    er_call_ndjson(p->call, 200, &b);
}

static void
answer(struct publish *p)
{
    if (p->call->is_lines) {
        answer_many(p);
    } else {
        answer_one(p);
    }
}

static void
tell_row(struct line *line, const struct er_topic *row, int rc)
{
    char words[100];
    int status = rc ? rc : row->status;
    if (status == ER_ENOTFOUND) {
        (void)snprintf(words, sizeof words, "there is no task %lld",
                       (long long)row->task);
        refuse(line, status, "task", words);
    } else if (status) {
        refuse(line, status, NULL, er_error_meaning(status));
    }
}

static int
run_publish(struct er_op *op, struct er_store *s, er_usec now)
{
    struct publish *p = ER_CONTAINER(op, struct publish, op);
    return er_store_topic_put(s, now, p->rows, p->n_rows);
}

static void
done_publish(struct er_op *op, int rc)
{
    struct publish *p = ER_CONTAINER(op, struct publish, op);
    for (size_t i = 0; i < p->n_lines; i++) {
        struct line *line = &p->lines[i];
        if (line->status == 0 && line->row != SAMPLE) {
            tell_row(line, &p->rows[line->row], rc);
        }
    }
    answer(p);
    er_call_release(p->call);
}

void
er_api_publish(struct er_call *call)
{
    struct publish *p = get_publish(call);
    if (!call->is_lines) {
        const struct er_buf *body = er_request_body(call->req);
        add_document(p, body->data ? body->data : "", body->len);
    }
    if (p->n_rows == 0) {
        answer(p);
        return;
    }
    p->op.run = run_publish;
    p->op.done = done_publish;
    er_call_hold(call);
    er_engine_post(call->api->engine, &p->op);
}
