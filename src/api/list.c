/* SPDX-License-Identifier: MIT */
/* GET /v1/tasks: a page of tasks, newest first, with the counts of all. */
#include <stdio.h>
#include <string.h>

#include "api/counts.h"
#include "api/tasks.h"
#include "base/mem.h"
#include "model/suggest.h"

struct list_query {
    struct er_query q;
    struct er_call *call;
    struct er_filter filter;
    bool default_view;
    bool only_running; /* the page ends within those */
    struct er_task *tasks, *running;
    size_t n, n_running;
    bool more;
    struct er_counter *counters;
    size_t n_counters;
};

#define BIT(state) (1u << ER_TASK_##state)

static void
run_list(struct er_query *q, struct er_store_reader *r)
{
    struct list_query *l = (struct list_query *)(void *)q;
    if (l->default_view && l->filter.before <= 0) {
        struct er_filter running = l->filter;
        running.states = BIT(RUNNING);
        running.before = -running.before;
        q->rc = er_store_list(r, &running, &q->arena, &l->running, &l->n_running,
                              &l->only_running);
        l->filter.before = 0;
        l->filter.limit -= l->n_running;
    }
    if (l->default_view) {
        l->filter.states =
            ~(BIT(CANCELLED) | BIT(RUNNING)) & ((1u << ER_TASK_STATES) - 1);
    }
    if (q->rc == 0 && l->filter.limit > 0 && !l->only_running) {
        q->rc = er_store_list(r, &l->filter, &q->arena, &l->tasks, &l->n, &l->more);
    }
    if (q->rc == 0) {
        q->rc = er_store_counters(r, &q->arena, &l->counters, &l->n_counters);
    }
}

/* Where the next page begins. Within those that run (a page of the default view that had
 * no room for all of them): less than 0. */
static void
add_next(const struct list_query *l, struct er_buf *b)
{
    if (l->only_running) {
        er_buf_addf(b, "\"-%lld\"", (long long)l->running[l->n_running - 1].id);
    } else if (l->filter.limit == 0) { /* all that run, and nothing else */
        er_buf_addf(b, "\"%lld\"", (long long)INT64_MAX);
    } else if (l->more && l->n > 0) {
        er_buf_addf(b, "\"%lld\"", (long long)l->tasks[l->n - 1].id);
    } else {
        er_buf_add_str(b, "null");
    }
}

/* Both lists are newest first: merged in that order. */
static void
add_tasks(struct list_query *l, struct er_buf *b)
{
    size_t i = 0, k = 0;
    while (i < l->n_running || k < l->n) {
        bool first = k >= l->n || (i < l->n_running && l->running[i].id > l->tasks[k].id);
        const struct er_task *t = first ? &l->running[i++] : &l->tasks[k++];
        if (i + k > 1) {
            er_buf_add_char(b, ',');
        }
        er_task_view(l->call, t, NULL, b);
    }
}

static void
done_list(struct er_query *q)
{
    struct list_query *l = (struct list_query *)(void *)q;
    if (q->rc) {
        er_call_problem(l->call, q->rc, NULL, "cannot read the list: %s",
                        er_error_meaning(q->rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_add_str(&b, "{\"tasks\":[");
        add_tasks(l, &b);
        er_buf_add_str(&b, "],\"next\":");
        add_next(l, &b);
        er_buf_add_str(&b, ",\"counts\":");
        er_counts_add_sum(&b, l->counters, l->n_counters);
        er_buf_addf(&b, ",\"all_paused\":%s}",
                    er_engine_all_paused(l->call->api->engine) ? "true" : "false");
        er_call_json(l->call, 200, &b);
    }
    er_call_release(l->call);
    er_arena_free(&q->arena);
    er_free(l);
}

bool
er_call_states(struct er_call *call, const char *text, unsigned *out)
{
    const char *names[ER_TASK_STATES];
    for (int i = 0; i < ER_TASK_STATES; i++) {
        names[i] = er_task_state_word((enum er_task_state)i);
    }
    while (text && *text) {
        char word[32];
        size_t len = strcspn(text, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)(len < 31 ? len : 31), text);
        int st = er_task_state_find(word);
        if (st < 0) {
            struct er_err err;
            int rc = er_suggest_fail_list(&err, ER_EINVALID, "state", word, names,
                                          ER_TASK_STATES);
            er_call_problem(call, rc, "state", "%s", err.text);
            return false;
        }
        *out |= 1u << st;
        text += len + (text[len] == ',');
    }
    return true;
}

/* A text of the query into the filter. Without it the list would be another. */
static int
copy_text(struct list_query *l, const char *name, const char **out)
{
    const char *text = er_request_query(l->call->req, name);
    *out = er_arena_strdup(&l->q.arena, text);
    return text && !*out ? ER_ENOMEM : 0;
}

void
er_api_list(struct er_call *call)
{
    int64_t limit, before;
    unsigned states = 0;
    const char *view = er_request_query(call->req, "view");
    const char *key = er_request_query(call->req, "key");
    if (key && (*key == '\0' || strlen(key) > ER_MAX_NAME)) {
        er_call_problem(call, ER_EINVALID, "key", "the key is %s",
                        *key ? "longer than 1000 bytes" : "empty");
        return;
    }
    if (!er_call_number(call, "limit", 1, 1000, 50, &limit) ||
        !er_call_number(call, "cursor", -INT64_MAX, INT64_MAX, 0, &before) ||
        !er_call_states(call, er_request_query(call->req, "state"), &states)) {
        return;
    }
    bool default_view = view && strcmp(view, "default") == 0 && states == 0;
    if (er_request_query(call->req, "cursor") &&
        (before == 0 || (before < 0 && !default_view))) {
        er_call_problem(call, ER_EINVALID, "cursor",
                        "cursor is what a page of the same list had as \"next\"");
        return;
    }
    struct list_query *l = er_xzalloc(sizeof *l);
    l->q.run = run_list;
    l->q.done = done_list;
    l->call = call;
    l->default_view = default_view;
    l->filter = (struct er_filter){
        .states = states,
        .before = before,
        .limit = (size_t)limit,
    };
    if (copy_text(l, "queue", &l->filter.queue) ||
        copy_text(l, "type", &l->filter.type) || copy_text(l, "tag", &l->filter.tag) ||
        copy_text(l, "key", &l->filter.key) ||
        copy_text(l, "correlation", &l->filter.correlation)) {
        er_call_problem(call, ER_ENOMEM, NULL, "the list was not read: out of memory");
        er_arena_free(&l->q.arena);
        er_free(l);
        return;
    }
    er_call_hold(call);
    er_engine_query(call->api->engine, &l->q);
}
