/* SPDX-License-Identifier: MIT */
/* What an engine needs to go on after a start, and the parts of it that the reader gives,
 * too. Nothing here walks the table of tasks: lanes are asked one by one whether they
 * have something, counts are read from their table. */
#include "store/sqlite_priv.h"

#include <string.h>

int
er_sqlite_load_rows(struct er_stmt *q, struct er_arena *arena, er_sqlite_read_fn *read,
                    size_t element, struct er_sqlite_rows *out)
{
    char *array = NULL;
    size_t n = 0, size = 0;
    int rc;
    while ((rc = er_stmt_step(q)) == 1) {
        char *more = er_sqlite_grow(arena, array, n, &size, element);
        array = more ? more : array;
        rc = more ? read(q, arena, array + element * n++) : er_sqlite_no_memory(q->c);
        if (rc) {
            break;
        }
    }
    er_stmt_end(q);
    if (rc == 0) {
        *out = (struct er_sqlite_rows){array, n};
    }
    return rc;
}

/* All rows of a statement without parameters. */
static int
load_rows(struct er_sqlite *c, struct er_arena *arena, enum er_sql which,
          er_sqlite_read_fn *read, size_t element, struct er_sqlite_rows *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, which);
    return er_sqlite_load_rows(&q, arena, read, element, out);
}

static int
code(struct er_stmt *q, bool failed)
{
    return failed ? er_sqlite_no_memory(q->c) : 0;
}

static int
read_lane(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_lane *lane = out;
    bool failed = false;
    lane->id = er_col_i64(q, 0);
    lane->queue = er_col_text(q, 1, arena, &failed);
    lane->type = er_col_text(q, 2, arena, &failed);
    lane->limit_key = er_col_text(q, 3, arena, &failed);
    return code(q, failed);
}

static int
read_id(struct er_stmt *q, struct er_arena *arena, void *out)
{
    (void)arena;
    *(int64_t *)out = er_col_i64(q, 0);
    return 0;
}

static int
read_session(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_session *session = out;
    bool failed = false;
    session->id = er_col_i64(q, 0);
    session->worker = er_col_text(q, 1, arena, &failed);
    session->token = er_col_text(q, 2, arena, &failed);
    session->pid = er_col_int(q, 3);
    session->started_at = er_col_i64(q, 4);
    return code(q, failed);
}

static int
read_running(struct er_stmt *q, struct er_arena *arena, void *out)
{
    return er_sqlite_read_joined(q, arena, out);
}

/* One row of the table: one state of a queue. */
struct counter_row {
    const char *queue;
    int state;
    int64_t n;
};

static int
read_counter(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct counter_row *row = out;
    bool failed = false;
    row->queue = er_col_text(q, 0, arena, &failed);
    row->state = er_col_int(q, 1);
    row->n = er_col_i64(q, 2);
    return code(q, failed);
}

/* Rows of one queue stand together. */
static int
load_counters(struct er_sqlite *c, struct er_arena *arena, struct er_counter **out,
              size_t *out_n)
{
    struct er_sqlite_rows rows;
    size_t n = 0;
    int rc = load_rows(c, arena, ER_SQL_COUNTERS, read_counter,
                       sizeof(struct counter_row), &rows);
    if (rc) {
        return rc;
    }
    const struct counter_row *row = rows.data;
    struct er_counter *all = er_arena_alloc(arena, (rows.n + 1) * sizeof *all);
    if (!all) {
        return er_sqlite_no_memory(c);
    }
    for (size_t i = 0; i < rows.n; i++) {
        if (n == 0 || strcmp(all[n - 1].queue, row[i].queue) != 0) {
            all[n++].queue = row[i].queue;
        }
        if (row[i].state >= 0 && row[i].state < ER_TASK_STATES) {
            all[n - 1].n[row[i].state] = row[i].n;
        }
    }
    *out = all;
    *out_n = n;
    return 0;
}

/* The parts that are whole tables, or ranges of an index. */
static int
load_tables(struct er_sqlite *c, struct er_arena *arena, struct er_store_state *out)
{
    enum { LANES, OPEN_LANES, QUEUES, SESSIONS, RUNNING, LIMITS, TYPES, PARTS };
    static const struct {
        enum er_sql which;
        er_sqlite_read_fn *read;
        size_t element;
    } parts[PARTS] = {
        [LANES] = {ER_SQL_LANES, read_lane, sizeof *out->lanes},
        [OPEN_LANES] = {ER_SQL_LANES_OPEN, read_id, sizeof *out->open_lanes},
        [QUEUES] = {ER_SQL_QUEUES, er_sqlite_read_queue, sizeof *out->queues},
        [SESSIONS] = {ER_SQL_SESSIONS_OPEN, read_session, sizeof *out->sessions},
        [RUNNING] = {ER_SQL_TASKS_OPEN, read_running, sizeof *out->running},
        [LIMITS] = {ER_SQL_LIMITS, er_sqlite_read_limit, sizeof *out->limits},
        [TYPES] = {ER_SQL_TYPES, er_sqlite_read_type, sizeof *out->types},
    };
    struct er_sqlite_rows rows[PARTS];
    for (int i = 0; i < PARTS; i++) {
        int rc = load_rows(c, arena, parts[i].which, parts[i].read, parts[i].element,
                           &rows[i]);
        if (rc) {
            return rc;
        }
    }
    out->lanes = rows[LANES].data;
    out->n_lanes = rows[LANES].n;
    out->open_lanes = rows[OPEN_LANES].data;
    out->n_open_lanes = rows[OPEN_LANES].n;
    out->queues = rows[QUEUES].data;
    out->n_queues = rows[QUEUES].n;
    out->sessions = rows[SESSIONS].data;
    out->n_sessions = rows[SESSIONS].n;
    out->running = rows[RUNNING].data;
    out->n_running = rows[RUNNING].n;
    out->limits = rows[LIMITS].data;
    out->n_limits = rows[LIMITS].n;
    out->types = rows[TYPES].data;
    out->n_types = rows[TYPES].n;
    return 0;
}

int
er_store_load(struct er_store *s, struct er_arena *arena, struct er_store_state *out)
{
    struct er_store_state state = {.next_due = ER_NEVER};
    int rc = load_tables(&s->c, arena, &state);
    if (rc == 0) {
        rc = load_counters(&s->c, arena, &state.counters, &state.n_counters);
    }
    if (rc == 0) {
        rc = er_sqlite_next_moment(s, &state.next_due);
    }
    if (rc == 0) {
        rc = er_sqlite_all_paused(s, &state.all_paused);
    }
    if (rc == 0) {
        rc = er_sqlite_fact_bounds(&s->c, &state.first_seq, &state.last_seq);
    }
    if (rc == 0) {
        *out = state;
    }
    return rc;
}

int
er_store_queues(struct er_store_reader *r, struct er_arena *arena, struct er_queue **out,
                size_t *out_n)
{
    struct er_sqlite_rows rows;
    int rc = load_rows(er_sqlite_reader(r), arena, ER_SQL_QUEUES, er_sqlite_read_queue,
                       sizeof **out, &rows);
    if (rc == 0) {
        *out = rows.data;
        *out_n = rows.n;
    }
    return rc;
}

int
er_store_limits(struct er_store_reader *r, struct er_arena *arena, struct er_limit **out,
                size_t *out_n)
{
    struct er_sqlite_rows rows;
    int rc = load_rows(er_sqlite_reader(r), arena, ER_SQL_LIMITS, er_sqlite_read_limit,
                       sizeof **out, &rows);
    if (rc == 0) {
        *out = rows.data;
        *out_n = rows.n;
    }
    return rc;
}

/* What waits and is held counts as paused, as it is shown. Between the two reads it may
 * have gone on: no count becomes less than 0. */
static int
move_held(struct er_sqlite *c, struct er_counter *counters, size_t n)
{
    struct er_stmt q;
    int rc;
    er_stmt_begin(&q, c, ER_SQL_COUNTERS_HELD);
    while ((rc = er_stmt_step(&q)) == 1) {
        const char *queue = (const char *)sqlite3_column_text(q.st, 0);
        int64_t state = er_col_i64(&q, 1), held = er_col_i64(&q, 2);
        for (size_t i = 0; queue && i < n; i++) {
            int64_t *of = counters[i].n;
            if (strcmp(counters[i].queue, queue) == 0) {
                held = held < of[state] ? held : of[state];
                of[state] -= held;
                of[ER_TASK_PAUSED] += held;
            }
        }
    }
    er_stmt_end(&q);
    return rc;
}

int
er_store_counters(struct er_store_reader *r, struct er_arena *arena,
                  struct er_counter **out, size_t *out_n)
{
    struct er_sqlite *c = er_sqlite_reader(r);
    int rc = load_counters(c, arena, out, out_n);
    return rc ? rc : move_held(c, *out, *out_n);
}
