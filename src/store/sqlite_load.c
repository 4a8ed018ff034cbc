/* SPDX-License-Identifier: MIT */
/* What an engine needs to go on after a start. Nothing here walks the table of tasks:
 * lanes are asked one by one whether they have something, counts are read from their
 * table. */
#include "store/sqlite_priv.h"

#include <string.h>

/* A growing array in an arena, filled by one statement. */
struct rows {
    struct er_arena *arena;
    void *data;
    size_t n, size, element;
};

static void *
add_row(struct rows *r)
{
    void *more = er_sqlite_grow(r->arena, r->data, r->n, &r->size, r->element);
    if (!more) {
        return NULL;
    }
    r->data = more;
    return (char *)r->data + r->element * r->n++;
}

/* Runs a statement without parameters; `read` fills one zeroed element from a row. */
static int
load_rows(struct er_store *s, enum er_sql which, struct rows *r,
          int (*read)(struct er_store *s, struct er_stmt *q, struct er_arena *a,
                      void *out))
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        void *element = add_row(r);
        rc = element ? read(s, &q, r->arena, element) : er_sqlite_no_memory(&s->c);
        if (rc) {
            break;
        }
    }
    er_stmt_end(&q);
    return rc;
}

static int
code(struct er_store *s, bool failed)
{
    return failed ? er_sqlite_no_memory(&s->c) : 0;
}

static int
read_lane(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    struct er_lane *lane = out;
    bool failed = false;
    lane->id = er_col_i64(q, 0);
    lane->queue = er_col_text(q, 1, a, &failed);
    lane->type = er_col_text(q, 2, a, &failed);
    lane->limit_key = er_col_text(q, 3, a, &failed);
    return code(s, failed);
}

static int
read_id(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    (void)s;
    (void)a;
    *(int64_t *)out = er_col_i64(q, 0);
    return 0;
}

static int
read_queue(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    struct er_queue *queue = out;
    bool failed = false;
    queue->name = er_col_text(q, 0, a, &failed);
    queue->concurrency = er_col_int(q, 1);
    queue->size = er_col_i64(q, 2);
    queue->paused = er_col_int(q, 3) != 0;
    return code(s, failed);
}

/* One row of the table is one state of a queue; sum_counters folds them. */
struct counter_row {
    const char *queue;
    int state;
    int64_t n;
};

static int
read_counter(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    struct counter_row *row = out;
    bool failed = false;
    row->queue = er_col_text(q, 0, a, &failed);
    row->state = er_col_int(q, 1);
    row->n = er_col_i64(q, 2);
    return code(s, failed);
}

static int
load_counters(struct er_store *s, struct er_arena *arena, struct er_store_state *out)
{
    struct rows rows = {.arena = &s->tmp, .element = sizeof(struct counter_row)};
    int rc = load_rows(s, ER_SQL_COUNTERS, &rows, read_counter);
    struct er_counter *all =
        rc == 0 ? er_arena_alloc(arena, (rows.n + 1) * sizeof *all) : NULL;
    if (!all) {
        return rc ? rc : code(s, true);
    }
    const struct counter_row *row = rows.data;
    size_t n = 0;
    for (size_t i = 0; i < rows.n; i++) {
        if (n == 0 || strcmp(all[n - 1].queue, row[i].queue) != 0) {
            all[n].queue = er_arena_strdup(arena, row[i].queue);
            if (!all[n++].queue) {
                return code(s, true);
            }
        }
        if (row[i].state >= 0 && row[i].state < ER_TASK_STATES) {
            all[n - 1].n[row[i].state] = row[i].n;
        }
    }
    out->counters = all;
    out->n_counters = n;
    return 0;
}

static int
read_session(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    struct er_session *session = out;
    bool failed = false;
    session->id = er_col_i64(q, 0);
    session->worker = er_col_text(q, 1, a, &failed);
    session->token = er_col_text(q, 2, a, &failed);
    session->pid = er_col_int(q, 3);
    session->started_at = er_col_i64(q, 4);
    return code(s, failed);
}

static int
read_running(struct er_store *s, struct er_stmt *q, struct er_arena *a, void *out)
{
    struct er_task *t = out;
    bool failed = false;
    int64_t signature;
    int rc = er_sqlite_read_task(q, a, t, &signature);
    if (rc) {
        return rc;
    }
    struct er_lane_entry *lane = er_sqlite_lane_find(s, t->lane);
    if (!lane) {
        return er_sqlite_fail(&s->c, ER_ECORRUPT, "a task has a lane that is unknown");
    }
    t->queue = er_arena_strdup(a, lane->queue);
    t->type = er_arena_strdup(a, lane->type);
    t->limit_key = lane->limit_key[0] ? er_arena_strdup(a, lane->limit_key) : NULL;
    t->worker = er_col_text(q, ER_TASK_N_COLUMNS, a, &failed);
    failed = failed || !t->queue || !t->type || (lane->limit_key[0] && !t->limit_key);
    return code(s, failed);
}

#define LOAD(s, a, which, read, array, count)                                            \
    load_array(s, a, which, read, sizeof *(array), (void **)&(array), &(count))

static int
load_array(struct er_store *s, struct er_arena *arena, enum er_sql which,
           int (*read)(struct er_store *, struct er_stmt *, struct er_arena *, void *),
           size_t element, void **out, size_t *out_n)
{
    struct rows rows = {.arena = arena, .element = element};
    int rc = load_rows(s, which, &rows, read);
    *out = rows.data;
    *out_n = rows.n;
    return rc;
}

static int
load(struct er_store *s, struct er_arena *arena, struct er_store_state *out)
{
    int rc = LOAD(s, arena, ER_SQL_LANES, read_lane, out->lanes, out->n_lanes);
    if (rc == 0) {
        rc = LOAD(s, arena, ER_SQL_LANES_OPEN, read_id, out->open_lanes,
                  out->n_open_lanes);
    }
    if (rc == 0) {
        rc = LOAD(s, arena, ER_SQL_QUEUES, read_queue, out->queues, out->n_queues);
    }
    if (rc == 0) {
        rc = load_counters(s, arena, out);
    }
    if (rc == 0) {
        rc = LOAD(s, arena, ER_SQL_SESSIONS_OPEN, read_session, out->sessions,
                  out->n_sessions);
    }
    if (rc == 0) {
        rc = LOAD(s, arena, ER_SQL_TASKS_RUNNING, read_running, out->running,
                  out->n_running);
    }
    if (rc == 0) {
        rc = er_sqlite_next_moment(s, &out->next_due);
    }
    return rc;
}

int
er_store_load(struct er_store *s, struct er_arena *arena, struct er_store_state *out)
{
    struct er_store_state state = {.next_due = ER_NEVER, .last_seq = s->last_seq};
    int rc = load(s, arena, &state);
    if (rc == 0) {
        rc = er_sqlite_number(&s->c, "SELECT min(seq) FROM event", 0, &state.first_seq);
    }
    er_arena_free(&s->tmp);
    if (rc == 0) {
        *out = state;
    }
    return rc;
}
