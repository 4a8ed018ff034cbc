/* SPDX-License-Identifier: MIT */
/* Edits of one task that waits: everything that can be wrong is found out first (unknown
 * dependencies, circles), then the row is written as the edit wants it, then told. Other
 * dependencies may let the task go, block it, or end it.
 *
 * A circle is looked for from the new dependencies along what they wait for, breadth
 * first, with a list and a set instead of recursion: chains may be 100,000 tasks deep.
 * What has ended is waited for by nobody, so that the search sees unfinished tasks
 * only. */
#include "store/sqlite_priv.h"

#include <string.h>

#define CHAIN_MAX (sizeof((struct er_edit *)NULL)->chain / sizeof(er_task_id))

/* The task before and after an edit, and its new dependencies. */
struct change {
    const struct er_edit *edit;
    struct er_brief old, t;
    int *states; /* of edit->after: how they ended, or -1 = not yet */
    er_task_id *ids;
    int unmet; /* the first that can no longer end as asked for, or -1 */
};

/* A task that the edited one would wait for. */
struct node {
    er_task_id id;
    size_t from;   /* the place in the list of what waits for it */
    size_t length; /* steps from the edited task */
    int first;     /* the new dependency at which the way to it begins */
    UT_hash_handle hh;
};
struct search {
    struct er_store *s;
    er_task_id task;
    struct node **list; /* in the order in which they were found */
    size_t n, size;
    struct node *seen;
};

static int
visit(struct search *w, er_task_id id, size_t from, size_t length, int first)
{
    struct node *node;
    HASH_FIND(hh, w->seen, &id, sizeof id, node);
    if (node) {
        return 0;
    }
    struct node **list =
        er_sqlite_grow(&w->s->tmp, w->list, w->n, &w->size, sizeof(struct node *));
    node = list ? er_arena_alloc(&w->s->tmp, sizeof *node) : NULL;
    if (!node) {
        return er_sqlite_no_memory(&w->s->c);
    }
    *node = (struct node){.id = id, .from = from, .length = length, .first = first};
    HASH_ADD(hh, w->seen, id, sizeof node->id, node);
    if (!node->hh.tbl) {
        return er_sqlite_no_memory(&w->s->c);
    }
    w->list = list;
    list[w->n++] = node;
    return 0;
}

/* Adds what the i-th of the list waits for: 1 when the edited task is among it. */
static int
look_behind(struct search *w, size_t i)
{
    struct er_stmt q;
    const struct node node = *w->list[i];
    er_stmt_begin(&q, &w->s->c, ER_SQL_WAITS_FOR);
    er_stmt_i64(&q, node.id);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        er_task_id on = er_col_i64(&q, 0);
        if (on == w->task) {
            break;
        }
        rc = visit(w, on, i, node.length + 1, node.first);
        if (rc) {
            break;
        }
    }
    er_stmt_end(&q);
    return rc;
}

/* The circle: the task, the way to the i-th of the list, the task again; its beginning
 * when it is longer than the chain. */
static void
tell_chain(const struct search *w, size_t i, struct er_edit *edit)
{
    size_t length = w->list[i]->length;
    edit->n_chain = length + 2 < CHAIN_MAX ? length + 2 : CHAIN_MAX;
    edit->chain[0] = w->task;
    if (length + 1 < CHAIN_MAX) {
        edit->chain[length + 1] = w->task;
    }
    for (; length > 0; i = w->list[i]->from, length--) {
        if (length < CHAIN_MAX) {
            edit->chain[length] = w->list[i]->id;
        }
    }
    edit->bad_after = w->list[i]->first;
}

static int
search_circle(struct search *w, const int *states, struct er_edit *edit)
{
    for (size_t k = 0; k < edit->n_after; k++) {
        int rc = states[k] < 0 ? visit(w, edit->after[k].id, 0, 1, (int)k) : 0;
        if (rc) {
            return rc;
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        int rc = look_behind(w, i);
        if (rc == 1) {
            tell_chain(w, i, edit);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Whether anything waits for a task: 1, 0 or an error. Without that there is no
 * circle. */
static int
is_waited_for(struct er_store *s, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_IS_WAITED_FOR);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    er_stmt_end(&q);
    return rc;
}

/* 1: the new dependencies would make a circle, which the edit tells now. */
static int
makes_circle(struct er_store *s, er_task_id id, const int *states, struct er_edit *edit)
{
    for (size_t k = 0; k < edit->n_after; k++) {
        if (edit->after[k].id == id) {
            edit->bad_after = (int)k;
            edit->chain[0] = edit->chain[1] = id;
            edit->n_chain = 2;
            return 1;
        }
    }
    int rc = is_waited_for(s, id);
    if (rc == 1) {
        struct search w = {.s = s, .task = id};
        rc = search_circle(&w, states, edit);
        HASH_CLEAR(hh, w.seen);
    }
    return rc;
}

/* Judges the new dependencies: 0 (row->status says whether they may be) or an error. */
static int
check_after(struct er_store *s, struct er_change *row, struct er_edit *edit,
            struct change *c)
{
    size_t n = edit->n_after;
    c->states = er_arena_alloc(&s->tmp, (n + 1) * sizeof *c->states);
    c->ids = er_arena_alloc(&s->tmp, (n + 1) * sizeof *c->ids);
    if (!c->states || !c->ids) {
        return er_sqlite_no_memory(&s->c);
    }
    int rc = er_sqlite_after_states(s, edit->after, n, c->states, &edit->bad_after);
    for (size_t k = 0; k < n && edit->bad_after < 0; k++) {
        c->ids[k] = edit->after[k].id;
        if (c->ids[k] == 0) {
            edit->bad_after = (int)k; /* a ref: there is no batch that it could mean */
        }
    }
    if (rc || edit->bad_after >= 0) {
        row->status = rc ? 0 : ER_ENOTFOUND;
        return rc;
    }
    rc = makes_circle(s, row->id, c->states, edit);
    if (rc == 1) {
        row->status = ER_EINVALID;
    }
    return rc < 0 ? rc : 0;
}

/* What the new dependencies mean for the task. */
static void
count_after(struct change *c)
{
    const struct er_edit *edit = c->edit;
    c->t.waiting = 0;
    for (size_t k = 0; k < edit->n_after; k++) {
        if (c->states[k] < 0) {
            c->t.waiting++;
        } else if (!er_after_is_met(edit->after[k].when,
                                    (enum er_task_state)c->states[k]) &&
                   c->unmet < 0) {
            c->unmet = (int)k;
        }
    }
}

/* Where the task stands after the edit. Dependencies come before moments. */
static void
choose_state(struct change *c, er_usec now)
{
    const struct er_edit *edit = c->edit;
    struct er_brief *t = &c->t;
    if (t->waiting > 0 || c->unmet >= 0) {
        t->state = ER_TASK_BLOCKED; /* to be cancelled from there, when it is unmet */
        return;
    }
    if (edit->has_run_at || c->old.state == ER_TASK_BLOCKED) {
        bool later = t->run_at != ER_NEVER && t->run_at > now;
        t->state = later ? ER_TASK_SCHEDULED : ER_TASK_QUEUED;
    }
}

/* The task as the edit wants it. */
static int
apply(struct er_store *s, er_usec now, struct change *c)
{
    const struct er_edit *edit = c->edit;
    struct er_brief *t = &c->t;
    if (edit->has_priority) {
        /* A later run's rank is counted from its beginning, which only the rank tells. */
        er_usec from = t->created_at;
        if (t->run > 1) {
            from = t->rank - er_sqlite_rank(s, 0, t->priority);
        }
        t->rank = er_sqlite_rank(s, from, edit->priority);
        t->priority = edit->priority;
    }
    t->run_at = edit->has_run_at ? edit->run_at : t->run_at;
    t->expires_at = edit->has_expires ? edit->expires_at : t->expires_at;
    if (edit->has_cost) {
        t->cost = edit->cost > 0 ? edit->cost : 1;
    }
    if (edit->has_after) {
        count_after(c);
    }
    choose_state(c, now);
    const char *queue = edit->queue ? edit->queue : t->lane->queue;
    const char *limit_key = edit->limit_key ? edit->limit_key : t->lane->limit_key;
    return er_sqlite_lane(s, queue, t->lane->type, limit_key, &t->lane);
}

static void
bind_if(struct er_stmt *q, bool has, int64_t v)
{
    if (has) {
        er_stmt_i64(q, v);
    } else {
        er_stmt_null(q);
    }
}

static int
write_task(struct er_store *s, const struct er_brief *t, const struct er_edit *edit)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_EDIT);
    er_stmt_i64(&q, t->id);
    er_stmt_i64(&q, t->state);
    er_stmt_i64(&q, t->lane->id);
    er_stmt_i64(&q, t->rank);
    er_stmt_i64(&q, t->priority);
    er_stmt_i64_or_null(&q, t->run_at, ER_NEVER);
    bind_if(&q, edit->has_run_at, edit->run_at_fixed);
    er_stmt_i64(&q, t->waiting);
    er_stmt_i64_or_null(&q, t->expires_at, ER_NEVER);
    er_stmt_i64(&q, t->cost);
    er_stmt_text(&q, edit->name);
    bind_if(&q, edit->has_retries, edit->retries);
    bind_if(&q, edit->has_on_lost, edit->on_lost);
    bind_if(&q, edit->has_timeout, edit->timeout_for);
    bind_if(&q, edit->has_backoff, edit->backoff_for);
    bind_if(&q, edit->has_grace, edit->grace_for);
    bind_if(&q, edit->has_heartbeat, edit->heartbeat_for);
    return er_stmt_run_one(&q);
}

static int
write_after(struct er_store *s, const struct change *c)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_DEPENDENCIES_REMOVE);
    er_stmt_i64(&q, c->t.id);
    int rc = er_stmt_run(&q);
    return rc ? rc
              : er_sqlite_add_after(s, c->t.id, c->edit->after, c->edit->n_after, c->ids,
                                    c->states);
}

static int
record(struct er_store *s, er_usec now, const struct er_brief *t)
{
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"state\":");
    er_buf_add_json_str(b, er_task_state_word(t->state));
    er_buf_add_str(b, ",\"priority\":");
    er_buf_add_i64(b, t->priority);
    er_buf_add_str(b, ",\"run_at\":");
    er_sqlite_add_moment(b, t->state == ER_TASK_PAUSED ? ER_NEVER : t->run_at);
    er_buf_add_str(b, ",\"waiting_for\":");
    er_buf_add_i64(b, t->waiting);
    er_buf_add_char(b, '}');
    return er_sqlite_fact(s, now, ER_EVENT_TASK_CHANGED, t, t->attempt,
                          er_sqlite_data(s));
}

/* What the edit means for others. */
static int
announce(struct er_store *s, er_usec now, const struct change *c)
{
    const struct er_brief *old = &c->old, *t = &c->t;
    if (c->unmet >= 0) {
        int rc = er_sqlite_cancel_dependent(s, now, t, c->ids[c->unmet]);
        return rc ? rc : er_sqlite_settle(s, now);
    }
    if (t->state == ER_TASK_SCHEDULED) {
        er_sqlite_next_due(s, t->run_at);
    }
    if (t->attempt == 0) {
        er_sqlite_next_due(s, t->expires_at);
    }
    bool moved = old->state != t->state || old->lane != t->lane || old->rank != t->rank ||
                 old->cost != t->cost;
    return moved && t->state == ER_TASK_QUEUED && !t->held ? er_sqlite_ready(s, t) : 0;
}

static int
edit_task(struct er_store *s, er_usec now, struct change *c)
{
    c->t = c->old;
    c->unmet = -1;
    int rc = apply(s, now, c);
    if (rc == 0) {
        rc = write_task(s, &c->t, c->edit);
    }
    if (rc == 0 && c->edit->has_after) {
        rc = write_after(s, c);
    }
    if (rc == 0) {
        er_sqlite_count(s, c->old.lane, c->old.state, -1);
        er_sqlite_count(s, c->t.lane, c->t.state, 1);
        rc = record(s, now, &c->t);
    }
    return rc ? rc : announce(s, now, c);
}

static int
edit_row(struct er_store *s, er_usec now, struct er_change *row, struct er_edit *edit)
{
    struct change c = {.edit = edit};
    edit->bad_after = -1;
    edit->n_chain = 0;
    int rc = er_sqlite_look(s, row, &c.old);
    if (rc <= 0) {
        return rc;
    }
    if (!er_sqlite_waits(&c.old) || (c.old.state == ER_TASK_PAUSED && edit->has_after)) {
        row->status = ER_ESTATE;
        return 0;
    }
    rc = edit->has_after ? check_after(s, row, edit, &c) : 0;
    return rc || row->status != 0 ? rc : edit_task(s, now, &c);
}

int
er_store_edit(struct er_store *s, er_usec now, struct er_change *row,
              struct er_edit *edit)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = edit_row(s, now, row, edit);
    }
    return er_sqlite_leave(s, rc);
}
