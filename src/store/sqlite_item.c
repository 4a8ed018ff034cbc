/* SPDX-License-Identifier: MIT */
/* Items: what a task has stored of its work, one by one. Each is a row found by its name;
 * the task's row has the counts, which follow once for all items of one task that come
 * together. An attempt that is not open any more stores nothing. */
#include "store/sqlite_priv.h"

#include <string.h>

/* The task whose items are being stored, and what they add to its counts. */
struct counting {
    er_task_id id;
    int attempt;
    int64_t session;
    bool open; /* its attempt is */
    int64_t completed, failed;
};

static int
write_counts(struct er_store *s, const struct counting *c)
{
    if (c->completed == 0 && c->failed == 0) {
        return 0;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_ITEMS);
    er_stmt_i64(&q, c->id);
    er_stmt_i64(&q, c->completed);
    er_stmt_i64(&q, c->failed);
    return er_stmt_run_one(&q);
}

/* Begins with the task of a row, unless it is the same as before. */
static int
turn_to(struct er_store *s, const struct er_item_row *row, struct counting *c)
{
    if (row->id == c->id && row->attempt == c->attempt && row->session == c->session) {
        return 0;
    }
    int rc = write_counts(s, c);
    if (rc) {
        return rc;
    }
    *c = (struct counting){
        .id = row->id, .attempt = row->attempt, .session = row->session};
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_OPEN);
    er_stmt_i64(&q, c->id);
    er_stmt_i64(&q, c->attempt);
    er_stmt_i64(&q, c->session);
    rc = er_stmt_step(&q);
    er_stmt_end(&q);
    c->open = rc == 1;
    return rc < 0 ? rc : 0;
}

/* How an item that is there already has ended: 1 (failed or not in *out), 0 or an
 * error. */
static int
find_item(struct er_store *s, const struct er_item_row *row, bool *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_ITEM_GET);
    er_stmt_i64(&q, row->id);
    er_stmt_text(&q, row->name);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = er_col_int(&q, 0) != 0;
    }
    er_stmt_end(&q);
    return rc;
}

static int
put_row(struct er_store *s, er_usec now, struct er_item_row *row, struct counting *c)
{
    bool had_failed = false;
    int rc = turn_to(s, row, c);
    row->status = c->open ? 0 : ER_ELOST;
    if (rc || !c->open) {
        return rc;
    }
    int found = find_item(s, row, &had_failed);
    if (found < 0) {
        return found;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_ITEM_PUT);
    er_stmt_i64(&q, row->id);
    er_stmt_text(&q, row->name);
    er_stmt_i64(&q, row->failed);
    er_stmt_i64(&q, row->attempt);
    er_stmt_i64(&q, now);
    rc = er_stmt_run(&q);
    c->failed += row->failed - (found && had_failed);
    c->completed += !row->failed - (found && !had_failed);
    return rc;
}

int
er_store_items_put(struct er_store *s, er_usec now, struct er_item_row *rows, size_t n)
{
    struct counting c = {.id = 0};
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = put_row(s, now, &rows[i], &c);
    }
    if (rc == 0) {
        rc = write_counts(s, &c);
    }
    return er_sqlite_leave(s, rc);
}

static int
read_item(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_item *item = out;
    bool failed = false;
    item->name = er_col_text(q, 0, arena, &failed);
    item->failed = er_col_int(q, 1) != 0;
    item->attempt = er_col_int(q, 2);
    item->at = er_col_i64(q, 3);
    return failed ? er_sqlite_no_memory(q->c) : 0;
}

int
er_store_items(struct er_store_reader *r, er_task_id id, int failed, const char *after,
               size_t limit, struct er_arena *arena, struct er_item **out, size_t *out_n)
{
    struct er_stmt q;
    struct er_sqlite_rows rows;
    er_stmt_begin(&q, er_sqlite_reader(r),
                  failed > 0 ? ER_SQL_ITEMS_FAILED : ER_SQL_ITEMS);
    er_stmt_i64(&q, id);
    er_stmt_text(&q, after ? after : "");
    er_stmt_i64(&q, failed);
    er_stmt_i64(&q, (int64_t)(limit > INT64_MAX ? INT64_MAX : limit));
    int rc = er_sqlite_load_rows(&q, arena, read_item, sizeof **out, &rows);
    if (rc == 0) {
        *out = rows.data;
        *out_n = rows.n;
    }
    return rc;
}
