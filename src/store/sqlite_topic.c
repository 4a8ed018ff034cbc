/* SPDX-License-Identifier: MIT */
/* A program's own facts, and named cursors. A topic is a fact like any other: numbered,
 * in the order of commits, gone with retention. A cursor is a number under a name, which
 * whoever reads facts moves when it has done with them.
 *
 * A row that is refused has changed nothing, and the transaction stays good. */
#include "store/sqlite_priv.h"

#include <string.h>

#include "model/topic.h"

/* What is wrong with a row by itself. */
static int
check(const struct er_topic *row)
{
    if (!row->name || er_topic_refusal(row->name)) {
        return ER_EINVALID;
    }
    if (row->correlation &&
        (*row->correlation == '\0' || strlen(row->correlation) > ER_MAX_NAME)) {
        return ER_EINVALID;
    }
    return row->data_json && strlen(row->data_json) > ER_MAX_TOPIC_DATA ? ER_ETOOBIG : 0;
}

static int
put_topic(struct er_store *s, er_usec now, struct er_topic *row)
{
    struct er_brief t;
    row->seq = 0;
    row->status = check(row);
    if (row->status) {
        return 0;
    }
    int rc = row->task != 0 ? er_sqlite_brief(s, row->task, &t) : 1;
    if (rc <= 0) {
        row->status = rc == 0 ? ER_ENOTFOUND : 0;
        return rc;
    }
    rc = er_sqlite_fact_topic(s, now, row, row->task != 0 ? &t : NULL);
    row->seq = rc == 0 ? s->last_seq : 0;
    return rc;
}

int
er_store_topic_put(struct er_store *s, er_usec now, struct er_topic *rows, size_t n)
{
    int rc = er_sqlite_enter(s);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = put_topic(s, now, &rows[i]);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_cursor_put(struct er_store *s, er_usec now, const char *name, int64_t seq)
{
    struct er_stmt q;
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        er_stmt_begin(&q, &s->c, ER_SQL_CURSOR_PUT);
        er_stmt_text(&q, name);
        er_stmt_i64(&q, seq > 0 ? seq : 0);
        er_stmt_i64(&q, now);
        rc = er_stmt_run(&q);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_cursor_remove(struct er_store *s, const char *name)
{
    struct er_stmt q;
    int changes = 0;
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        er_stmt_begin(&q, &s->c, ER_SQL_CURSOR_REMOVE);
        er_stmt_text(&q, name);
        rc = er_stmt_run(&q);
        changes = rc == 0 ? sqlite3_changes(s->c.db) : 0;
    }
    rc = er_sqlite_leave(s, rc);
    return rc == 0 && changes == 0 ? ER_ENOTFOUND : rc;
}

int
er_store_cursor(struct er_store_reader *r, const char *name, int64_t *out_seq)
{
    struct er_stmt q;
    er_stmt_begin(&q, er_sqlite_reader(r), ER_SQL_CURSOR_GET);
    er_stmt_text(&q, name);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out_seq = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    return rc == 1 ? 0 : rc == 0 ? ER_ENOTFOUND : rc;
}
