/* SPDX-License-Identifier: MIT */
/* Changes of many tasks in one request: by ids, or by what they have in common; and the
 * removal of what is finished and old. */
#include <stdlib.h>
#include <string.h>

#include "api/tasks.h"
#include "base/mem.h"

#define IDS_MAX    ((size_t)100000)
#define BIT(state) (1u << ER_TASK_##state)

/* ---- which tasks ---- */

/* Finds the tasks that an action by filter is about, page by page, then acts. */
struct select_query {
    struct er_query q;
    struct er_call *call;
    struct er_filter filter;
    struct er_change_request *change;
    er_task_id *ids;
    size_t n, size;
};

static void
run_select(struct er_query *q, struct er_store_reader *r)
{
    struct select_query *s = (struct select_query *)(void *)q;
    bool more = true;
    while (q->rc == 0 && more && s->n < IDS_MAX) {
        struct er_task *tasks;
        struct er_arena arena = {0};
        size_t n = 0;
        q->rc = er_store_list(r, &s->filter, &arena, &tasks, &n, &more);
        for (size_t i = 0; q->rc == 0 && i < n; i++) {
            if (s->n == s->size) {
                s->size = s->size ? s->size * 2 : 64;
                s->ids = er_xrealloc_array(s->ids, s->size, sizeof *s->ids);
            }
            s->ids[s->n++] = tasks[i].id;
            s->filter.before = tasks[i].id;
        }
        er_arena_free(&arena);
    }
}

static void
take_selected(struct select_query *s)
{
    struct er_change_request *c = s->change;
    c->n = s->n;
    c->rows = er_arena_alloc(&c->arena, (s->n + 1) * sizeof *c->rows);
    if (!c->rows) {
        er_call_problem(s->call, ER_ENOMEM, NULL, "nothing was changed: out of memory");
        er_change_drop(c);
        return;
    }
    /* oldest first; for a cancel as they come: see newest_first */
    for (size_t i = 0; i < s->n; i++) {
        c->rows[i].id = s->ids[c->kind == ER_CHANGE_CANCEL ? i : s->n - 1 - i];
    }
    er_engine_change(s->call->api->engine, c);
}

static void
done_select(struct er_query *q)
{
    struct select_query *s = (struct select_query *)(void *)q;
    struct er_change_request *c = s->change;
    if (q->rc) {
        er_call_problem(s->call, q->rc, NULL, "cannot read the list: %s",
                        er_error_meaning(q->rc));
        er_change_drop(c);
    } else {
        take_selected(s);
    }
    er_free(s->ids);
    er_arena_free(&q->arena);
    er_free(s);
}

/* The states an action by filter is about: what it could change. */
static unsigned
states_of_action(enum er_change_kind kind)
{
    unsigned final = BIT(COMPLETED) | BIT(FAILED) | BIT(CANCELLED);
    unsigned all = (1u << ER_TASK_STATES) - 1;
    switch (kind) {
    case ER_CHANGE_CANCEL:
    case ER_CHANGE_EDIT:
        return all & ~final;
    case ER_CHANGE_PAUSE:
        return BIT(QUEUED) | BIT(SCHEDULED) | BIT(BLOCKED) | BIT(RUNNING);
    case ER_CHANGE_RESUME:
        return BIT(PAUSED);
    case ER_CHANGE_RETRY:
        return BIT(FAILED) | BIT(CANCELLED);
    case ER_CHANGE_REMOVE:
        return final;
    case ER_CHANGE_REQUEUE:
        return BIT(RUNNING);
    }
    return all;
}

static void
act_by_filter(struct er_call *call, struct er_change_request *c, const json_t *o)
{
    unsigned states = 0;
    if (!er_call_states(call, json_string_value(json_object_get(o, "state")), &states)) {
        er_change_drop(c);
        return;
    }
    const char *queue = json_string_value(json_object_get(o, "queue"));
    const char *tag = json_string_value(json_object_get(o, "tag"));
    struct select_query *s = er_xzalloc(sizeof *s);
    s->q.run = run_select;
    s->q.done = done_select;
    s->call = call;
    s->change = c;
    s->filter = (struct er_filter){
        .states = states ? states : states_of_action(c->kind),
        .queue = er_arena_strdup(&s->q.arena, queue),
        .tag = er_arena_strdup(&s->q.arena, tag),
        .limit = 1000,
    };
    if ((queue && !s->filter.queue) || (tag && !s->filter.tag)) {
        s->q.rc = ER_ENOMEM; /* without it, it would be about all tasks */
        done_select(&s->q);
        return;
    }
    er_engine_query(call->api->engine, &s->q);
}

/* Whether the body says which tasks an action is about. A member of the wrong kind must
 * not pass for one that is absent: the action would be about all tasks. */
static bool
check_targets(struct er_call *call, const json_t *o, bool *out_by_filter)
{
    static const char *const known[] = {"ids",   "all",  "queue",     "tag",
                                        "state", "hold", "free_slot", "reason"};
    const json_t *ids = json_object_get(o, "ids");
    size_t n = json_array_size(ids);
    if (!er_call_known(call, o, known, 8) || !er_call_check_flag(call, o, "all") ||
        !er_call_check_text(call, o, "queue") || !er_call_check_text(call, o, "tag") ||
        !er_call_check_text(call, o, "state")) {
        return false;
    }
    *out_by_filter = json_is_true(json_object_get(o, "all")) ||
                     json_object_get(o, "queue") || json_object_get(o, "tag");
    if (*out_by_filter == (ids != NULL) || (ids && !json_is_array(ids)) || n > IDS_MAX ||
        (ids && json_object_get(o, "state"))) {
        er_call_problem(call, ER_EINVALID, "ids",
                        "give either ids (an array of at most %zu) or "
                        "one of all, queue, tag, and state with those",
                        IDS_MAX);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) <= 0) {
            er_call_problem(call, ER_EINVALID, "ids", "ids[%zu] is not the id of a task",
                            i);
            return false;
        }
    }
    return true;
}

/* The order of a cancel: what waits comes before what it waits for, which would else
 * cancel it (and the request for it were refused), or set it free for the moment. */
static int
newest_first(const void *a, const void *b)
{
    const struct er_change *x = a, *y = b;
    return (x->id < y->id) - (x->id > y->id);
}

void
er_api_actions(struct er_call *call)
{
    bool by_filter = false;
    enum er_change_kind kind;
    json_t *o = er_change_kind_of(call, &kind) ? er_call_object(call) : NULL;
    if (!o || !check_targets(call, o, &by_filter)) {
        json_decref(o);
        return;
    }
    const json_t *ids = json_object_get(o, "ids");
    size_t n = json_array_size(ids);
    struct er_change_request *c = er_change_new(call, kind, n);
    if (!c) {
        json_decref(o);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        c->rows[i].id = json_integer_value(json_array_get(ids, i));
    }
    if (kind == ER_CHANGE_CANCEL) {
        qsort(c->rows, n, sizeof *c->rows, newest_first);
    }
    if (!er_change_read_body(call, c, o)) {
        er_change_drop(c);
    } else if (by_filter) {
        act_by_filter(call, c, o);
    } else {
        er_engine_change(call->api->engine, c);
    }
    json_decref(o);
}

/* ---- clean ---- */

static void
on_cleaned(void *ctx, int rc, int64_t removed)
{
    struct er_call *call = ctx;
    if (rc) {
        er_call_problem(call, rc, NULL, "cannot clean: %s", er_error_meaning(rc));
    } else {
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_addf(&b, "{\"removed\":%lld}", (long long)removed);
        er_call_json(call, 200, &b);
    }
    er_call_release(call);
}

void
er_api_clean(struct er_call *call)
{
    static const char *const known[] = {"state", "older_than_s", "keep"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 3)) {
        json_decref(o);
        return;
    }
    struct er_retention keep = call->api->config.retention;
    const json_t *state = json_object_get(o, "state"),
                 *older = json_object_get(o, "older_than_s"),
                 *newest = json_object_get(o, "keep");
    const char *word = json_string_value(state);
    int only = word ? er_task_state_find(word) : -1;
    double age = json_number_value(older);
    /* of the wrong kind is not absent: that would remove all that is finished */
    const char *wrong =
        state && (only < 0 || !er_task_state_is_final((enum er_task_state)only)) ? "state"
        : older && (!json_is_number(older) || age < 0 || age > 1e9) ? "older_than_s"
        : newest && (!json_is_integer(newest) || json_integer_value(newest) < 0) ? "keep"
                                                                                 : NULL;
    keep.keep = json_integer_value(newest);
    json_decref(o);
    if (wrong) {
        er_call_problem(
            call, ER_EINVALID, wrong,
            "state is one of completed, failed, cancelled; older_than_s is a number "
            "from 0 to 1e9, keep a whole one from 0");
        return;
    }
    keep.keep_for = (er_usec)(age * 1e6);
    keep.only_state = only;
    er_call_hold(call);
    er_engine_clean(call->api->engine, &keep, on_cleaned, call);
}
