/* SPDX-License-Identifier: MIT */
/* Reading one thing: a task, its attempts, its dependencies, facts, an environment. Lists
 * are in sqlite_list.c. */
#include "store/sqlite_priv.h"

#include <string.h>

#include "model/topic.h"

/* Results that a claim reads by the way: a look of the reader costs each a turn of
 * threads. */
#define AFTER_FEW   ((size_t)16)
#define AFTER_SMALL ((size_t)16 << 10)

/* Facts that one call looks at, at most: bounds its time when a filter lets few pass. */
#define FACTS_LOOKED_AT 50000

struct er_sqlite *
er_sqlite_reader(struct er_store_reader *r)
{
    if (r->c == &r->own) {
        r->own.failed = 0;
        r->own.err.text[0] = '\0';
    }
    return r->c;
}

int
er_sqlite_read_joined(struct er_stmt *q, struct er_arena *arena, struct er_task *out)
{
    bool failed = false;
    int64_t signature;
    int rc = er_sqlite_read_task(q, arena, out, &signature);
    if (rc) {
        return rc;
    }
    out->queue = er_col_text(q, ER_TASK_N_COLUMNS, arena, &failed);
    out->type = er_col_text(q, ER_TASK_N_COLUMNS + 1, arena, &failed);
    out->limit_key = er_col_text(q, ER_TASK_N_COLUMNS + 2, arena, &failed);
    out->worker = er_col_text(q, ER_TASK_N_COLUMNS + 3, arena, &failed);
    return failed ? er_sqlite_no_memory(q->c) : 0;
}

static int
read_result(struct er_stmt *q, struct er_arena *arena, struct er_task *t)
{
    int col = ER_TASK_N_COLUMNS + 4;
    if (sqlite3_column_type(q->st, col) == SQLITE_NULL) {
        return 0;
    }
    const void *bytes = sqlite3_column_blob(q->st, col);
    size_t n = (size_t)sqlite3_column_bytes(q->st, col);
    if (!bytes && n > 0) {
        return er_sqlite_no_memory(q->c);
    }
    t->result = er_arena_memdup(arena, bytes, n);
    t->result_len = n;
    return t->result ? 0 : er_sqlite_no_memory(q->c);
}

int
er_store_get(struct er_store_reader *r, er_task_id id, bool with_result,
             struct er_arena *arena, struct er_task *out)
{
    struct er_stmt q;
    struct er_task t;
    er_stmt_begin(&q, er_sqlite_reader(r),
                  with_result ? ER_SQL_TASK_GET_RESULT : ER_SQL_TASK_GET);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        rc = er_sqlite_read_joined(&q, arena, &t);
        if (rc == 0 && with_result) {
            rc = read_result(&q, arena, &t);
        }
    } else if (rc == 0) {
        rc = ER_ENOTFOUND;
    }
    er_stmt_end(&q);
    if (rc == 0) {
        *out = t;
    }
    return rc;
}

int
er_store_get_tombstone(struct er_store_reader *r, er_task_id id, struct er_tombstone *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, er_sqlite_reader(r), ER_SQL_TOMBSTONE_GET);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = (struct er_tombstone){
            .id = id,
            .run = er_col_int(&q, 0),
            .state = (enum er_task_state)er_col_int(&q, 1),
            .has_exit_code = er_col_i64_or(&q, 2, INT64_MIN) != INT64_MIN,
            .exit_code = er_col_int(&q, 2),
            .finished_at = er_col_i64(&q, 3),
            .removed_at = er_col_i64(&q, 4),
        };
    }
    er_stmt_end(&q);
    return rc == 1 ? 0 : rc == 0 ? ER_ENOTFOUND : rc;
}

static int
read_attempt(struct er_stmt *q, struct er_arena *arena, struct er_attempt *a)
{
    bool failed = false;
    a->number = er_col_int(q, 0);
    a->run = er_col_int(q, 1);
    a->session = er_col_i64(q, 2);
    a->worker = er_col_text(q, 3, arena, &failed);
    a->started_at = er_col_i64_or(q, 4, ER_NEVER);
    a->finished_at = er_col_i64_or(q, 5, ER_NEVER);
    a->outcome = er_col_text(q, 6, arena, &failed);
    a->has_exit_code = er_col_i64_or(q, 7, INT64_MIN) != INT64_MIN;
    a->exit_code = er_col_int(q, 7);
    a->signal = er_col_int(q, 8);
    a->error_json = er_col_text(q, 9, arena, &failed);
    a->cpu_for = er_col_i64(q, 10);
    a->peak_rss = er_col_i64(q, 11);
    a->output_bytes = er_col_i64(q, 12);
    return failed ? er_sqlite_no_memory(q->c) : 0;
}

int
er_store_attempts(struct er_store_reader *r, er_task_id id, struct er_arena *arena,
                  struct er_attempt **out, size_t *out_n)
{
    struct er_stmt q;
    struct er_attempt *list = NULL;
    size_t n = 0, size = 0;
    er_stmt_begin(&q, er_sqlite_reader(r), ER_SQL_ATTEMPTS);
    er_stmt_i64(&q, id);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        struct er_attempt *more = er_sqlite_grow(arena, list, n, &size, sizeof *list);
        list = more ? more : list;
        rc = more ? read_attempt(&q, arena, &list[n++]) : er_sqlite_no_memory(r->c);
        if (rc) {
            break;
        }
    }
    er_stmt_end(&q);
    if (rc == 0) {
        *out = list;
        *out_n = n;
    }
    return rc;
}

static int
read_after(struct er_stmt *q, struct er_arena *arena, void *out)
{
    (void)arena;
    *(struct er_after *)out = (struct er_after){
        .id = er_col_i64(q, 0),
        .when = (enum er_after_when)er_col_int(q, 1),
        .state = (int)er_col_i64_or(q, 2, -1),
    };
    return 0;
}

int
er_store_after(struct er_store_reader *r, er_task_id id, bool open, size_t offset,
               size_t limit, struct er_arena *arena, struct er_after **out, size_t *out_n)
{
    struct er_stmt q;
    struct er_sqlite_rows rows;
    er_stmt_begin(&q, er_sqlite_reader(r), open ? ER_SQL_AFTER_OPEN : ER_SQL_AFTER);
    er_stmt_i64(&q, id);
    er_stmt_i64(&q, (int64_t)(offset > INT64_MAX ? INT64_MAX : offset));
    er_stmt_i64(&q, (int64_t)(limit > INT64_MAX ? INT64_MAX : limit));
    int rc = er_sqlite_load_rows(&q, arena, read_after, sizeof **out, &rows);
    if (rc == 0) {
        *out = rows.data;
        *out_n = rows.n;
    }
    return rc;
}

static int
read_after_result(struct er_stmt *q, struct er_arena *arena, void *out)
{
    (void)arena;
    *(struct er_after_result *)out = (struct er_after_result){
        .id = er_col_i64(q, 0),
        .state = (int)er_col_i64_or(q, 1, -1),
        .has_exit_code = er_col_i64_or(q, 2, INT64_MIN) != INT64_MIN,
        .exit_code = er_col_int(q, 2),
        /* -1 = none, until the results themselves are read */
        .result_len = (size_t)er_col_i64_or(q, 3, -1),
    };
    return 0;
}

/* A result that is there, into the arena. */
static int
read_one_result(struct er_sqlite *c, struct er_arena *arena, struct er_after_result *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, ER_SQL_RESULT_GET);
    er_stmt_i64(&q, out->id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        const void *bytes = sqlite3_column_blob(q.st, 0);
        size_t n = (size_t)sqlite3_column_bytes(q.st, 0);
        out->result = bytes || n == 0 ? er_arena_memdup(arena, n ? bytes : "", n) : NULL;
        rc = out->result ? 0 : er_sqlite_no_memory(c);
    }
    er_stmt_end(&q);
    return rc;
}

/* The results of the first `most` dependencies (-1 = all); *out_left tells how many were
 * left out. */
static int
after_results(struct er_sqlite *c, er_task_id id, int64_t most, size_t max_bytes,
              struct er_arena *arena, struct er_sqlite_rows *out, size_t *out_left)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, ER_SQL_AFTER_RESULTS);
    er_stmt_i64(&q, id);
    er_stmt_i64(&q, most);
    int rc = er_sqlite_load_rows(&q, arena, read_after_result,
                                 sizeof(struct er_after_result), out);
    struct er_after_result *list = out->data;
    for (size_t i = 0; rc == 0 && i < out->n; i++) {
        if (list[i].result_len == SIZE_MAX) {
            list[i].result_len = 0;
        } else if (list[i].result_len <= max_bytes) {
            max_bytes -= list[i].result_len;
            rc = read_one_result(c, arena, &list[i]);
        } else {
            ++*out_left;
        }
    }
    return rc;
}

int
er_sqlite_after_few(struct er_sqlite *c, er_task_id id, struct er_arena *arena,
                    struct er_after_result **out, size_t *out_n)
{
    struct er_sqlite_rows rows = {NULL, 0};
    size_t left = 0;
    int rc = after_results(c, id, AFTER_FEW + 1, AFTER_SMALL, arena, &rows, &left);
    bool all = rc == 0 && left == 0 && rows.n <= AFTER_FEW;
    *out = all ? rows.data : NULL;
    *out_n = all ? rows.n : 0;
    return rc;
}

int
er_store_after_results(struct er_store_reader *r, er_task_id id, size_t max_bytes,
                       struct er_arena *arena, struct er_after_result **out,
                       size_t *out_n)
{
    struct er_sqlite_rows rows = {NULL, 0};
    size_t left = 0;
    (void)er_sqlite_reader(r);
    int rc = er_sqlite_snapshot(r, true);
    if (rc) {
        return rc;
    }
    rc = after_results(r->c, id, -1, max_bytes, arena, &rows, &left);
    int ended = er_sqlite_snapshot(r, false);
    rc = rc ? rc : ended;
    if (rc == 0) {
        *out = rows.data;
        *out_n = rows.n;
    }
    return rc;
}

static int
read_fact(struct er_stmt *q, struct er_arena *arena, struct er_fact *f)
{
    bool failed = false;
    *f = (struct er_fact){
        .seq = er_col_i64(q, 0),
        .event = (enum er_event)er_col_int(q, 1),
        .at = er_col_i64(q, 2),
        .task = er_col_i64(q, 3),
        .run = er_col_int(q, 4),
        .attempt = er_col_int(q, 5),
        .correlation = er_col_text(q, 6, arena, &failed),
        .data_json = er_col_text(q, 7, arena, &failed),
        .queue = er_col_text(q, 8, arena, &failed),
        .type = er_col_text(q, 9, arena, &failed),
        .topic = er_col_text(q, 10, arena, &failed),
    };
    return failed ? er_sqlite_no_memory(q->c) : 0;
}

/* Whether a row passes what the statement does not look at. */
static bool
passes(struct er_stmt *q, const struct er_fact_filter *f)
{
    int event = er_col_int(q, 1);
    if (f->task != 0 && er_col_i64(q, 3) != f->task) {
        return false;
    }
    if (f->events != 0 && (event < 0 || event > 63 || (f->events >> event & 1) == 0)) {
        return false;
    }
    if (event == ER_EVENT_TOPIC && f->n_names > 0) {
        const char *topic = (const char *)sqlite3_column_text(q->st, 10);
        if (!topic || !er_topic_fits_any(f->names, f->n_names, topic)) {
            return false;
        }
    }
    if (!f->correlation) {
        return true;
    }
    const char *correlation = (const char *)sqlite3_column_text(q->st, 6);
    return correlation && strcmp(correlation, f->correlation) == 0;
}

/* Reads on from f->since; *out_end tells that nothing was left. */
static int
read_facts(struct er_store_reader *r, const struct er_fact_filter *f,
           struct er_arena *arena, struct er_fact **out, size_t *out_n, int64_t *last,
           bool *out_end)
{
    struct er_stmt q;
    struct er_fact *list = NULL;
    size_t n = 0, size = 0, looked = 0, bytes = 0;
    size_t max_bytes = f->max_bytes ? f->max_bytes : SIZE_MAX;
    int rc = 1;
    er_stmt_begin(&q, r->c, f->task ? ER_SQL_EVENTS_OF_TASK : ER_SQL_EVENTS);
    er_stmt_i64(&q, f->since);
    er_stmt_i64(&q, f->until > 0 ? f->until : INT64_MAX);
    if (f->task) {
        er_stmt_i64(&q, f->task);
    }
    while (n < f->limit && bytes < max_bytes && looked++ < FACTS_LOOKED_AT &&
           (rc = er_stmt_step(&q)) == 1) {
        *last = er_col_i64(&q, 0);
        if (!passes(&q, f)) {
            continue;
        }
        bytes += (size_t)sqlite3_column_bytes(q.st, 7);
        struct er_fact *more = er_sqlite_grow(arena, list, n, &size, sizeof *list);
        list = more ? more : list;
        rc = more ? read_fact(&q, arena, &list[n++]) : er_sqlite_no_memory(r->c);
        if (rc) {
            break;
        }
        rc = 1;
    }
    er_stmt_end(&q);
    *out = list;
    *out_n = n;
    *out_end = rc == 0;
    return rc < 0 ? rc : 0;
}

int
er_sqlite_snapshot(struct er_store_reader *r, bool begin)
{
    if (r->c != &r->own) {
        return 0;
    }
    struct er_stmt q;
    er_stmt_begin(&q, r->c, begin ? ER_SQL_BEGIN : ER_SQL_COMMIT);
    int rc = er_stmt_run(&q);
    if (rc) {
        er_sqlite_end_transaction(r->c); /* none stays open behind a failure */
    }
    return rc;
}

int
er_store_facts(struct er_store_reader *r, const struct er_fact_filter *f,
               struct er_arena *arena, struct er_fact **out, size_t *out_n,
               int64_t *out_last)
{
    struct er_fact *list = NULL;
    size_t n = 0;
    int64_t last = f->since, first, greatest = 0;
    bool end = false;
    (void)er_sqlite_reader(r);
    int rc = er_sqlite_snapshot(r, true);
    if (rc) {
        return rc;
    }
    rc = read_facts(r, f, arena, &list, &n, &last, &end);
    if (rc == 0 && end) {
        rc = er_sqlite_fact_bounds(r->c, &first, &greatest);
        greatest = f->until > 0 && f->until < greatest ? f->until : greatest;
    }
    int ended = er_sqlite_snapshot(r, false);
    rc = rc ? rc : ended;
    if (rc == 0) {
        *out = list;
        *out_n = n;
        *out_last = greatest > last ? greatest : last;
    }
    return rc;
}

int
er_sqlite_fact_bounds(struct er_sqlite *c, int64_t *out_first, int64_t *out_last)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, ER_SQL_EVENT_BOUNDS);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out_first = er_col_i64(&q, 0);
        *out_last = er_col_i64(&q, 1);
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

int
er_store_fact_bounds(struct er_store_reader *r, int64_t *out_first, int64_t *out_last)
{
    return er_sqlite_fact_bounds(er_sqlite_reader(r), out_first, out_last);
}

int
er_store_env(struct er_store_reader *r, int64_t env, struct er_arena *arena,
             const char **out_json)
{
    struct er_stmt q;
    bool failed = false;
    er_stmt_begin(&q, er_sqlite_reader(r), ER_SQL_ENV_GET);
    er_stmt_i64(&q, env);
    int rc = er_stmt_step(&q);
    const char *json = rc == 1 ? er_col_text(&q, 0, arena, &failed) : NULL;
    er_stmt_end(&q);
    if (failed) {
        return er_sqlite_no_memory(r->c);
    }
    if (rc == 1) {
        *out_json = json;
    }
    return rc == 1 ? 0 : rc == 0 ? ER_ENOTFOUND : rc;
}
