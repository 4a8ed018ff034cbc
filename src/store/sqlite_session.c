/* SPDX-License-Identifier: MIT */
/* Sessions of workers. */
#include "store/sqlite_priv.h"

static int
record_session(struct er_store *s, er_usec now, enum er_event event, int64_t id,
               const char *worker, int pid)
{
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"worker\":");
    er_buf_add_json_str(b, worker);
    er_buf_add_str(b, ",\"session\":");
    er_buf_add_i64(b, id);
    er_buf_add_str(b, ",\"pid\":");
    er_buf_add_i64(b, pid);
    er_buf_add_char(b, '}');
    return er_sqlite_fact(s, now, event, NULL, 0, er_sqlite_data(s));
}

static int
session_open(struct er_store *s, er_usec now, struct er_session *session)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_SESSION_ADD);
    er_stmt_text(&q, session->worker);
    er_stmt_text(&q, session->token);
    er_stmt_i64(&q, session->pid);
    er_stmt_i64(&q, now);
    int rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    session->id = sqlite3_last_insert_rowid(s->c.db);
    session->started_at = now;
    return record_session(s, now, ER_EVENT_WORKER_STARTED, session->id, session->worker,
                          session->pid);
}

int
er_store_session_open(struct er_store *s, er_usec now, struct er_session *session)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = session_open(s, now, session);
    }
    return er_sqlite_leave(s, rc);
}

/* What stands in the way of closing: 0; ER_ENOTFOUND; ER_ESTATE; or a failure. */
static int
can_close(struct er_store *s, int64_t id, int *out_pid)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_SESSION_USED);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out_pid = er_col_int(&q, 0);
        rc = er_col_int(&q, 1) ? ER_ESTATE : 0;
    } else if (rc == 0) {
        rc = ER_ENOTFOUND;
    }
    er_stmt_end(&q);
    return rc;
}

static int
session_close(struct er_store *s, er_usec now, int64_t id, int pid, bool lost)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_SESSION_END);
    er_stmt_i64(&q, id);
    er_stmt_i64(&q, now);
    int rc = er_stmt_run_one(&q);
    s->session = 0;
    return rc || !lost ? rc
                       : record_session(s, now, ER_EVENT_WORKER_LOST, id, s->worker, pid);
}

int
er_store_session_close(struct er_store *s, er_usec now, int64_t id, bool lost)
{
    int pid = 0;
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = can_close(s, id, &pid);
        if (rc && s->c.failed == 0) {
            return rc; /* refused; nothing has changed */
        }
    }
    if (rc == 0) {
        rc = er_sqlite_session(s, id); /* the worker's name */
        rc = rc < 0 ? rc : session_close(s, now, id, pid, lost);
    }
    return er_sqlite_leave(s, rc);
}
