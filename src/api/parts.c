/* SPDX-License-Identifier: MIT */
/* Parts of a task: its result, attempts, items, what it waits for, and why it waits. Each
 * is one query: what to read and how to show it stand side by side. */
#include <string.h>

#include "api/settings.h"
#include "api/tasks.h"
#include "base/mem.h"
#include "wire/task_json.h"

#define RESULTS_MAX      ((size_t)16 << 20) /* bytes of results in one answer, */
#define RESULTS_JSON_MAX ((size_t)32 << 20) /* and what they may come to as JSON */

struct part {
    struct er_query q;
    struct er_call *call;
    struct er_task task;
    size_t limit, offset;
    const char *cursor; /* items: behind this name */
    int failed;         /* items: -1 all, 0 completed, 1 failed */
    bool open, with_results;
    struct er_attempt *attempts;
    struct er_item *items;
    struct er_after *after;
    struct er_after_result *results;
    size_t n, n_results;
    int (*read)(struct part *p, struct er_store_reader *r);
    void (*show)(struct part *p, struct er_buf *b);
};

static void
run_part(struct er_query *q, struct er_store_reader *r)
{
    struct part *p = (struct part *)(void *)q;
    q->rc = p->read(p, r);
}

static void
done_part(struct er_query *q)
{
    struct part *p = (struct part *)(void *)q;
    struct er_call *call = p->call;
    struct er_buf b;
    er_buf_init(&b, 0);
    if (q->rc == ER_ENOTFOUND) {
        er_call_problem(call, q->rc, NULL, "there is no task %lld", (long long)call->id);
    } else if (q->rc) {
        er_call_problem(call, q->rc, NULL, "cannot read task %lld: %s",
                        (long long)call->id, er_error_meaning(q->rc));
    } else if (call->req && !call->answered) {
        p->show(p, &b);
        if (!call->answered) {
            er_call_json(call, 200, &b);
        }
    }
    er_buf_fini(&b);
    er_call_release(call);
    er_arena_free(&q->arena);
    er_free(p);
}

static struct part *
new_part(struct er_call *call, int (*read)(struct part *p, struct er_store_reader *r),
         void (*show)(struct part *p, struct er_buf *b))
{
    struct part *p = er_xzalloc(sizeof *p);
    p->q.run = run_part;
    p->q.done = done_part;
    p->call = call;
    p->read = read;
    p->show = show;
    return p;
}

static void
start(struct part *p)
{
    er_call_hold(p->call);
    er_engine_query(p->call->api->engine, &p->q);
}

/* ---- result ---- */

static int
read_result(struct part *p, struct er_store_reader *r)
{
    return er_store_get(r, p->call->id, true, &p->q.arena, &p->task);
}

static void
show_result(struct part *p, struct er_buf *b)
{
    struct er_call *call = p->call;
    if (!p->task.result) {
        enum er_task_state state = er_task_shown_state(&p->task);
        bool is_cancelled = state == ER_TASK_CANCELLED;
        er_call_problem(call, ER_ENOTFOUND, NULL, "task %lld has no result%s: it %s%s",
                        (long long)call->id, er_task_state_is_final(state) ? "" : " yet",
                        er_task_state_is_final(state) && !is_cancelled ? ""
                        : is_cancelled                                 ? "was "
                                                                       : "is ",
                        er_task_state_word(state));
        return;
    }
    er_buf_add(b, p->task.result, p->task.result_len);
    call->answered = true;
    er_request_reply(call->req, 200, "application/octet-stream", b);
}

void
er_api_result(struct er_call *call)
{
    start(new_part(call, read_result, show_result));
}

/* ---- attempts ---- */

static int
read_attempts(struct part *p, struct er_store_reader *r)
{
    int rc = er_store_get(r, p->call->id, false, &p->q.arena, &p->task);
    return rc ? rc : er_store_attempts(r, p->call->id, &p->q.arena, &p->attempts, &p->n);
}

static void
show_attempts(struct part *p, struct er_buf *b)
{
    er_buf_add_str(b, "{\"attempts\":[");
    for (size_t i = 0; i < p->n; i++) {
        const struct er_attempt *a = &p->attempts[i];
        const struct er_attempt_json j = {
            .number = a->number,
            .run = a->run,
            .worker = a->worker,
            .started_at = a->started_at,
            .finished_at = a->finished_at,
            .outcome = a->outcome,
            .has_exit_code = a->has_exit_code,
            .exit_code = a->exit_code,
            .signal = a->signal,
            .error_json = a->error_json,
            .cpu_for = a->cpu_for,
            .peak_rss = a->peak_rss,
            .output_bytes = a->output_bytes,
        };
        er_buf_add_str(b, i ? "," : "");
        er_attempt_json(b, &j);
    }
    er_buf_add_str(b, "]}");
}

void
er_api_attempts(struct er_call *call)
{
    start(new_part(call, read_attempts, show_attempts));
}

/* ---- items ---- */

static int
read_items(struct part *p, struct er_store_reader *r)
{
    int rc = er_store_get(r, p->call->id, false, &p->q.arena, &p->task);
    return rc ? rc
              : er_store_items(r, p->call->id, p->failed, p->cursor, p->limit + 1,
                               &p->q.arena, &p->items, &p->n);
}

static void
show_items(struct part *p, struct er_buf *b)
{
    size_t n = p->n > p->limit ? p->limit : p->n;
    char at[ER_RFC3339_SIZE];
    er_buf_add_str(b, "{\"items\":[");
    for (size_t i = 0; i < n; i++) {
        const struct er_item *item = &p->items[i];
        er_time_format(item->at, at);
        er_buf_add_str(b, i ? ",{\"name\":" : "{\"name\":");
        er_buf_add_json_str(b, item->name);
        er_buf_addf(b, ",\"failed\":%s,\"attempt\":%d,\"time\":\"%s\"}",
                    item->failed ? "true" : "false", item->attempt, at);
    }
    er_buf_addf(b, "],\"items_completed\":%lld,\"items_failed\":%lld,\"next\":",
                (long long)p->task.items_completed, (long long)p->task.items_failed);
    er_buf_add_json_str(b, p->n > n ? p->items[n - 1].name : NULL);
    er_buf_add_char(b, '}');
}

void
er_api_items(struct er_call *call)
{
    int64_t limit;
    const char *state = er_request_query(call->req, "state");
    if (!er_call_number(call, "limit", 1, 1000, 100, &limit)) {
        return;
    }
    bool failed = state && strcmp(state, "failed") == 0;
    if (state && !failed && strcmp(state, "completed") != 0) {
        er_call_problem(call, ER_EINVALID, "state",
                        "state is completed or failed, not '%.50s'", state);
        return;
    }
    struct part *p = new_part(call, read_items, show_items);
    p->limit = (size_t)limit;
    p->failed = !state ? -1 : failed ? 1 : 0;
    const char *cursor = er_request_query(call->req, "cursor");
    p->cursor = er_arena_strdup(&p->q.arena, cursor);
    if (cursor && !p->cursor) { /* without it, it would be the first page */
        er_call_hold(call);
        p->q.rc = ER_ENOMEM;
        done_part(&p->q);
        return;
    }
    start(p);
}

/* ---- what it waits for ---- */

static int
read_after(struct part *p, struct er_store_reader *r)
{
    er_task_id id = p->call->id;
    int rc = er_store_get(r, id, false, &p->q.arena, &p->task);
    if (rc == 0) {
        rc = er_store_after(r, id, p->open, p->offset, p->limit + 1, &p->q.arena,
                            &p->after, &p->n);
    }
    if (rc == 0 && p->with_results) {
        rc = er_store_after_results(r, id, RESULTS_MAX, &p->q.arena, &p->results,
                                    &p->n_results);
    }
    return rc;
}

static void
add_result(const struct er_after_result *r, size_t *left, struct er_buf *b)
{
    if (r->has_exit_code) {
        er_buf_addf(b, ",\"exit_code\":%d,\"result\":", r->exit_code);
    } else {
        er_buf_add_str(b, ",\"exit_code\":null,\"result\":");
    }
    size_t before = b->len;
    (void)er_result_json_max(b, r->result, r->result_len, *left);
    *left -= b->len - before < *left ? b->len - before : *left;
    if (r->result_len > 0) {
        er_buf_addf(b, ",\"result_bytes\":%zu", r->result_len);
    } else {
        er_buf_add_str(b, ",\"result_bytes\":null");
    }
}

static void
show_after(struct part *p, struct er_buf *b)
{
    size_t n = p->n > p->limit ? p->limit : p->n, left = RESULTS_JSON_MAX;
    er_buf_add_str(b, "{\"after\":[");
    for (size_t i = 0; i < n; i++) {
        const struct er_after *a = &p->after[i];
        er_buf_addf(b, "%s{\"id\":%lld,\"when\":\"%s\",\"state\":", i ? "," : "",
                    (long long)a->id, er_after_when_word(a->when));
        er_buf_add_json_str(
            b, a->state < 0 ? NULL : er_task_state_word((enum er_task_state)a->state));
        if (p->with_results && p->offset + i < p->n_results) {
            add_result(&p->results[p->offset + i], &left, b);
        }
        er_buf_add_char(b, '}');
    }
    er_buf_addf(b, "],\"waiting\":%d,\"next\":", p->task.waiting);
    if (p->n > n) {
        er_buf_addf(b, "\"%zu\"}", p->offset + n);
    } else {
        er_buf_add_str(b, "null}");
    }
}

/* A parameter that switches something on: absent or 0 = off. */
static bool
is_on(struct er_call *call, const char *name)
{
    const char *text = er_request_query(call->req, name);
    return text && strcmp(text, "0") != 0;
}

void
er_api_after(struct er_call *call)
{
    int64_t limit, offset;
    bool open = is_on(call, "open"), results = is_on(call, "results");
    if (!er_call_number(call, "limit", 1, 1000, 100, &limit) ||
        !er_call_number(call, "cursor", 0, ER_MAX_AFTER, 0, &offset)) {
        return;
    }
    if (open && results) {
        er_call_problem(call, ER_EINVALID, "results",
                        "open and results are both given: what is still waited for has "
                        "no result");
        return;
    }
    struct part *p = new_part(call, read_after, show_after);
    p->limit = (size_t)limit;
    p->offset = (size_t)offset;
    p->open = open;
    p->with_results = results;
    start(p);
}

/* ---- why ---- */

static void
show_why(struct er_show *show)
{
    struct er_call *call = show->call;
    struct er_buf b, why;
    if (show->q.rc) {
        er_show_answer(show);
        return;
    }
    er_buf_init(&why, 0);
    er_buf_init(&b, 0);
    er_usec until = er_why(call, &show->task, show, &why);
    er_buf_addf(&b, "{\"id\":%lld,\"state\":\"%s\",\"why\":", (long long)show->id,
                er_task_state_word(er_task_shown_state(&show->task)));
    er_buf_add_json_str(&b, why.data ? why.data : "");
    er_buf_add_str(&b, ",\"until\":");
    er_setting_add_moment(&b, until);
    er_buf_add_char(&b, '}');
    er_buf_fini(&why);
    er_call_json(call, 200, &b);
}

void
er_api_why(struct er_call *call)
{
    er_show_start(er_show_new(call, call->id, show_why));
}
