/* SPDX-License-Identifier: MIT */
/* Decides every row's fate before anything of a batch is written, so that a row that
 * fails leaves nothing behind and no savepoint is needed.
 *
 * 1. Each row by itself: its key (used before, in the store or by an earlier row?), its
 *    parent, the tasks it names, its tags.
 * 2. Rows in an order in which each stands behind those it refers to (Kahn's algorithm);
 *    what is left over is, or hangs on, a cycle. Walking in that order: a row that refers
 *    to one that failed has failed too; one whose dependency can no longer be met begins
 *    as cancelled, and so its own dependents know.
 * 3. Ids, in the order of the rows. */
#include "store/sqlite_priv.h"

#include <string.h>

struct key_seen {
    const char *key;
    size_t row;
    UT_hash_handle hh;
};

/* The state of a task that exists or has left a tombstone: 1, 0 (neither) or an error. */
static int
find_state(struct er_store *s, er_task_id id, enum er_task_state *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_STATE_OR_TOMBSTONE);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = (enum er_task_state)er_col_int(&q, 0);
    }
    er_stmt_end(&q);
    return rc;
}

static void
clash(struct er_new_task *row, bool same, er_task_id id)
{
    row->id = id;
    row->existing = same;
    row->status = same ? 0 : ER_EEXISTS;
}

static int
check_key_in_store(struct er_store *s, struct er_new_task *row)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_KEY_FIND);
    er_stmt_text(&q, row->key);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        clash(row, er_col_i64(&q, 1) == (int64_t)row->body_hash, er_col_i64(&q, 0));
        row->state = (enum er_task_state)er_col_int(&q, 2);
        row->lane = er_col_i64(&q, 3);
        row->rank = er_col_i64(&q, 4);
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

static int
check_key(struct er_store *s, struct er_plan *p, size_t i, struct key_seen **seen)
{
    struct er_new_task *row = &p->rows[i];
    struct key_seen *k;
    HASH_FIND_STR(*seen, row->key, k);
    if (k) {
        clash(row, p->rows[k->row].body_hash == row->body_hash, 0);
        p->plan[i].alias = (int)k->row;
        return 0;
    }
    int rc = check_key_in_store(s, row);
    if (rc || row->id != 0) {
        return rc;
    }
    k = er_arena_alloc(&s->tmp, sizeof *k);
    if (k) {
        k->key = row->key;
        k->row = i;
        HASH_ADD_KEYPTR(hh, *seen, k->key, strlen(k->key), k);
    }
    return k && k->hh.tbl ? 0 : er_sqlite_no_memory(&s->c);
}

static int
check_tags(struct er_store *s, struct er_new_task *row)
{
    const char *at = NULL;
    int rc;
    while ((rc = er_sqlite_tag_next(row->tags_json, &at, &s->buf)) == 1) {
    }
    row->status = rc == ER_EINVALID ? rc : 0;
    return rc == ER_ENOMEM ? er_sqlite_no_memory(&s->c) : 0;
}

static void
refuse(struct er_new_task *row, int status, int bad_after)
{
    row->status = status;
    row->bad_after = bad_after;
}

/* How a dependency has ended: 1 (its state, or -1 = not yet, in *out), 0 (it never was)
 * or an error. One of which nothing is left has ended as was asked for. */
static int
find_end(struct er_store *s, const struct er_new_after *after, int *out)
{
    enum er_task_state state = ER_TASK_QUEUED;
    int rc = find_state(s, after->id, &state);
    if (rc == 0 && after->id > 0 && after->id <= s->last_task) {
        state = after->when == ER_AFTER_FAIL ? ER_TASK_FAILED : ER_TASK_COMPLETED;
        rc = 1;
    }
    *out = er_task_state_is_final(state) ? (int)state : -1;
    return rc;
}

int
er_sqlite_after_states(struct er_store *s, const struct er_new_after *after, size_t n,
                       int *out_states, int *out_bad)
{
    *out_bad = -1;
    for (size_t k = 0; k < n; k++) {
        out_states[k] = -1;
        int rc = after[k].id != 0 ? find_end(s, &after[k], &out_states[k]) : 1;
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            *out_bad = (int)k;
            return 0;
        }
    }
    return 0;
}

/* The first reference to a row that is not there; -1. */
static int
find_bad_ref(const struct er_plan *p, const struct er_new_task *row, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const struct er_new_after *a = &row->after[k];
        if (a->id == 0 && (a->ref < 0 || (size_t)a->ref >= p->n)) {
            return (int)k;
        }
    }
    return -1;
}

static int
check_after(struct er_store *s, struct er_plan *p, size_t i)
{
    struct er_new_task *row = &p->rows[i];
    struct er_plan_row *plan = &p->plan[i];
    plan->after_state = er_arena_alloc(&s->tmp, row->n_after * sizeof *plan->after_state);
    plan->after_id = er_arena_alloc(&s->tmp, row->n_after * sizeof *plan->after_id);
    if (!plan->after_state || !plan->after_id) {
        return er_sqlite_no_memory(&s->c);
    }
    int bad;
    int rc = er_sqlite_after_states(s, row->after, row->n_after, plan->after_state, &bad);
    if (rc) {
        return rc;
    }
    int bad_ref = find_bad_ref(p, row, bad >= 0 ? (size_t)bad : row->n_after);
    bad = bad_ref >= 0 ? bad_ref : bad;
    if (bad >= 0) {
        refuse(row, ER_ENOTFOUND, bad);
    }
    for (size_t k = 0; k < row->n_after; k++) {
        plan->after_id[k] = row->after[k].id;
    }
    return 0;
}

/* A parent that there is not refuses the row; its correlation id is taken where that is
 * wanted. Children of one parent often come together: it is asked for once. */
static int
check_parent(struct er_store *s, struct er_plan *p, size_t i)
{
    struct er_new_task *row = &p->rows[i];
    struct er_stmt q;
    bool failed = false;
    if (row->parent != p->parent) {
        er_stmt_begin(&q, &s->c, ER_SQL_PARENT_FIND);
        er_stmt_i64(&q, row->parent);
        int rc = er_stmt_step(&q);
        const char *correlation = rc == 1 ? er_col_text(&q, 0, &s->tmp, &failed) : NULL;
        er_stmt_end(&q);
        if (rc < 0 || failed) {
            return rc < 0 ? rc : er_sqlite_no_memory(&s->c);
        }
        if (rc == 0) {
            row->status = ER_ENOTFOUND;
            return 0;
        }
        p->parent = row->parent;
        p->parent_correlation = correlation;
    }
    if (row->inherit_correlation && p->parent_correlation) {
        p->plan[i].correlation = p->parent_correlation;
    }
    return 0;
}

/* How many tasks still fit into a queue, as far as this batch has come. */
struct room {
    const char *queue;
    int64_t size; /* 0 = no limit */
    int64_t waiting;
    struct room *next;
};

static int
ask_room(struct er_store *s, struct room *room)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_QUEUE_ROOM);
    er_stmt_text(&q, room->queue);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        room->size = er_col_i64(&q, 0);
        room->waiting = er_col_i64(&q, 1);
        rc = 0;
    }
    er_stmt_end(&q);
    return rc;
}

/* The room of a queue, asked for once a batch. */
static int
find_room(struct er_store *s, const char *queue, struct room **rooms, struct room **out)
{
    struct room *room = *rooms;
    while (room && strcmp(room->queue, queue) != 0) {
        room = room->next;
    }
    if (!room) {
        room = er_arena_alloc(&s->tmp, sizeof *room);
        if (!room) {
            return er_sqlite_no_memory(&s->c);
        }
        *room = (struct room){.queue = queue, .next = *rooms};
        int rc = ask_room(s, room);
        if (rc == 0 && room->size == 0) {
            er_sqlite_queue_boundless(s, queue);
        }
        if (rc == 0 &&
            room->size > 0) { /* what this transaction has counted must be seen */
            rc = er_sqlite_sums_flush(s);
            rc = rc ? rc : ask_room(s, room);
        }
        if (rc) {
            return rc;
        }
        *rooms = room;
    }
    *out = room;
    return 0;
}

static int
check_room(struct er_store *s, struct er_new_task *row, struct room **rooms)
{
    struct room *room = NULL;
    if (er_sqlite_queue_is_boundless(s, row->queue)) {
        return 0;
    }
    int rc = find_room(s, row->queue, rooms, &room);
    if (rc || !room || room->size == 0) {
        return rc;
    }
    if (room->waiting >= room->size) {
        row->status = ER_EFULL;
        row->waiting = room->waiting;
        row->queue_size = room->size;
    } else {
        room->waiting++;
    }
    return 0;
}

static int
check_row(struct er_store *s, struct er_plan *p, size_t i, struct key_seen **seen)
{
    struct er_new_task *row = &p->rows[i];
    int rc = row->key ? check_key(s, p, i, seen) : 0;
    if (rc == 0 && row->status == 0 && !row->existing && row->tags_json) {
        rc = check_tags(s, row);
    }
    if (rc == 0 && row->status == 0 && !row->existing && row->parent != 0) {
        rc = check_parent(s, p, i);
    }
    if (rc == 0 && row->status == 0 && !row->existing && row->n_after > 0) {
        rc = check_after(s, p, i);
    }
    return rc;
}

static int
check_rows(struct er_store *s, struct er_plan *p)
{
    struct key_seen *seen = NULL;
    struct room *rooms = NULL;
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        struct er_new_task *row = &p->rows[i];
        row->status = 0;
        row->bad_after = -1;
        row->existing = false;
        row->id = 0;
        p->plan[i] = (struct er_plan_row){
            .alias = -1, .cancel_after = -1, .correlation = row->correlation};
        rc = check_row(s, p, i, &seen);
        if (rc == 0 && row->status == 0 && !row->existing && p->plan[i].alias < 0) {
            rc = check_room(s, row, &rooms);
        }
    }
    HASH_CLEAR(hh, seen);
    return rc;
}

/* The row that a reference means; a repetition means the row that it repeats. */
static size_t
target(const struct er_plan *p, const struct er_new_after *a)
{
    size_t j = (size_t)a->ref;
    int alias = p->rows[j].status == 0 ? p->plan[j].alias : -1;
    return alias >= 0 ? (size_t)alias : j;
}

static bool
has_refs(const struct er_plan *p, size_t i)
{
    return p->rows[i].status == 0 && !p->rows[i].existing && p->rows[i].n_after > 0;
}

/* For each row the list of those that refer to it. */
static int
list_refs(struct er_store *s, struct er_plan *p)
{
    size_t total = 0;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; has_refs(p, i) && k < p->rows[i].n_after; k++) {
            if (p->rows[i].after[k].id == 0) {
                p->plan[target(p, &p->rows[i].after[k])].n_refs++;
                p->plan[i].pending++;
                total++;
            }
        }
    }
    p->refs = er_arena_alloc(&s->tmp, (total + 1) * sizeof *p->refs);
    if (!p->refs) {
        return er_sqlite_no_memory(&s->c);
    }
    size_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->plan[i].first_ref = at;
        at += p->plan[i].n_refs;
        p->plan[i].n_refs = 0;
    }
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; has_refs(p, i) && k < p->rows[i].n_after; k++) {
            if (p->rows[i].after[k].id == 0) {
                struct er_plan_row *t = &p->plan[target(p, &p->rows[i].after[k])];
                p->refs[t->first_ref + t->n_refs++] = i;
            }
        }
    }
    return 0;
}

/* What is known of one dependency once all rows before this one are decided. */
static void
decide_after(struct er_plan *p, size_t i, size_t k)
{
    struct er_new_task *row = &p->rows[i];
    struct er_plan_row *plan = &p->plan[i];
    const struct er_new_after *a = &row->after[k];
    if (a->id == 0) {
        size_t j = target(p, a);
        if (p->rows[j].status != 0) {
            refuse(row, ER_ENOTFOUND, (int)k);
            return;
        }
        enum er_task_state state =
            p->rows[j].existing ? p->rows[j].state : p->plan[j].state;
        plan->after_state[k] = er_task_state_is_final(state) ? (int)state : -1;
    }
    if (plan->after_state[k] < 0) {
        plan->waiting++;
    } else if (!er_after_is_met(a->when, (enum er_task_state)plan->after_state[k]) &&
               plan->cancel_after < 0) {
        plan->cancel_after = (int)k;
    }
}

static void
decide(struct er_plan *p, size_t i, er_usec now)
{
    struct er_new_task *row = &p->rows[i];
    struct er_plan_row *plan = &p->plan[i];
    for (size_t k = 0; row->status == 0 && !row->existing && k < row->n_after; k++) {
        decide_after(p, i, k);
    }
    if (plan->cancel_after >= 0) {
        plan->state = ER_TASK_CANCELLED;
    } else if (plan->waiting > 0) {
        plan->state = ER_TASK_BLOCKED;
    } else if (row->run_at != ER_NEVER && row->run_at > now) {
        plan->state = ER_TASK_SCHEDULED;
    } else {
        plan->state = ER_TASK_QUEUED;
    }
}

static void
walk(struct er_plan *p, er_usec now)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->plan[i].pending == 0) {
            p->order[p->n_order++] = i;
        }
    }
    for (size_t at = 0; at < p->n_order; at++) {
        size_t i = p->order[at];
        decide(p, i, now);
        for (size_t r = 0; r < p->plan[i].n_refs; r++) {
            size_t dependent = p->refs[p->plan[i].first_ref + r];
            if (--p->plan[dependent].pending == 0) {
                p->order[p->n_order++] = dependent;
            }
        }
    }
}

/* How many rows of a cycle, or on the way to one, a row refers to; the first in *out_k.
 */
static bool
refers_to_left_over(const struct er_plan *p, size_t i, int *out_k)
{
    for (size_t k = 0; k < p->rows[i].n_after; k++) {
        const struct er_new_after *a = &p->rows[i].after[k];
        if (a->id == 0 && p->plan[target(p, a)].pending > 0) {
            *out_k = (int)k;
            return true;
        }
    }
    return false;
}

/* What no walk reaches: rows on a cycle (which somebody on the cycle refers to) are
 * invalid; those that only hang on one have an unknown dependency. */
static int
refuse_cycles(struct er_store *s, struct er_plan *p)
{
    size_t left = p->n - p->n_order;
    if (left == 0) {
        return 0;
    }
    size_t *leaves = er_arena_alloc(&s->tmp, left * sizeof *leaves);
    size_t *users = er_arena_alloc(&s->tmp, p->n * sizeof *users);
    if (!leaves || !users) {
        return er_sqlite_no_memory(&s->c);
    }
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t r = 0; p->plan[i].pending > 0 && r < p->plan[i].n_refs; r++) {
            users[i] += p->plan[p->refs[p->plan[i].first_ref + r]].pending > 0;
        }
        if (p->plan[i].pending > 0) {
            int k = -1;
            refuse(&p->rows[i], ER_EINVALID, refers_to_left_over(p, i, &k) ? k : -1);
            if (users[i] == 0) {
                leaves[n++] = i;
            }
        }
    }
    for (size_t at = 0; at < n; at++) {
        struct er_new_task *row = &p->rows[leaves[at]];
        row->status = ER_ENOTFOUND;
        for (size_t k = 0; k < row->n_after; k++) {
            size_t j = row->after[k].id == 0 ? target(p, &row->after[k]) : leaves[at];
            if (row->after[k].id == 0 && p->plan[j].pending > 0 && --users[j] == 0) {
                leaves[n++] = j;
            }
        }
    }
    return 0;
}

static bool
has_failed(const struct er_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->rows[i].status != 0) {
            return true;
        }
    }
    return false;
}

static void
repeat_alias(struct er_plan *p, size_t i)
{
    const struct er_new_task *first = &p->rows[p->plan[i].alias];
    struct er_new_task *row = &p->rows[i];
    row->id = first->id;
    if (row->existing) {
        row->status = first->status;
        row->bad_after = first->bad_after;
        row->existing = first->status == 0;
        p->plan[i].state = p->plan[p->plan[i].alias].state;
    }
}

static void
give_ids(struct er_store *s, struct er_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->plan[i].alias >= 0) {
            repeat_alias(p, i);
        } else if (p->rows[i].status == 0 && !p->rows[i].existing) {
            p->rows[i].id = ++s->last_task;
            p->rows[i].state = p->plan[i].state;
        }
    }
    for (size_t i = 0; i < p->n; i++) {
        for (size_t k = 0; has_refs(p, i) && k < p->rows[i].n_after; k++) {
            if (p->rows[i].after[k].id == 0) {
                p->plan[i].after_id[k] = p->rows[target(p, &p->rows[i].after[k])].id;
            }
        }
    }
}

int
er_sqlite_plan(struct er_store *s, er_usec now, struct er_new_task *rows, size_t n,
               struct er_plan *out)
{
    struct er_plan p = {.rows = rows, .n = n};
    p.plan = er_arena_alloc(&s->tmp, n * sizeof *p.plan);
    p.order = er_arena_alloc(&s->tmp, n * sizeof *p.order);
    if (!p.plan || !p.order) {
        return er_sqlite_no_memory(&s->c);
    }
    int rc = check_rows(s, &p);
    if (rc == 0) {
        rc = list_refs(s, &p);
    }
    if (rc == 0) {
        walk(&p, now);
        rc = refuse_cycles(s, &p);
    }
    *out = p;
    return rc;
}

void
er_sqlite_plan_finish(struct er_store *s, struct er_plan *p, bool atomic)
{
    if (atomic && has_failed(p)) {
        for (size_t i = 0; i < p->n; i++) {
            p->rows[i].status = p->rows[i].status ? p->rows[i].status : ER_ECANCELLED;
        }
        return;
    }
    give_ids(s, p);
}
