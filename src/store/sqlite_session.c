/* SPDX-License-Identifier: MIT */
/* Sessions of workers, and the settings of queues. */
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

static void
add_limit(struct er_buf *b, int64_t limit)
{
    if (limit > 0) {
        er_buf_add_i64(b, limit);
    } else {
        er_buf_add_str(b, "null");
    }
}

static int
queue_put(struct er_store *s, er_usec now, const struct er_queue *queue)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_QUEUE_PUT);
    er_stmt_text(&q, queue->name);
    er_stmt_i64(&q, queue->concurrency);
    er_stmt_i64(&q, queue->size);
    er_stmt_i64(&q, queue->paused);
    int rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"queue\":");
    er_buf_add_json_str(b, queue->name);
    er_buf_add_str(b, ",\"concurrency\":");
    add_limit(b, queue->concurrency);
    er_buf_add_str(b, ",\"size\":");
    add_limit(b, queue->size);
    er_buf_add_str(b, queue->paused ? ",\"paused\":true}" : ",\"paused\":false}");
    return er_sqlite_fact(s, now, ER_EVENT_QUEUE_CHANGED, NULL, 0, er_sqlite_data(s));
}

int
er_store_queue_put(struct er_store *s, er_usec now, const struct er_queue *queue)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0 && (queue->concurrency < 0 || queue->size < 0)) {
        return ER_EINVALID;
    }
    if (rc == 0) {
        rc = queue_put(s, now, queue);
    }
    return er_sqlite_leave(s, rc);
}

/* 0: settings there and no task that is not final; else why not. */
static int
can_remove(struct er_store *s, const char *name)
{
    struct er_stmt q;
    /* What this transaction has counted must be seen. */
    int rc = er_sqlite_sums_flush(s);
    if (rc) {
        return rc;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_QUEUE_USED);
    er_stmt_text(&q, name);
    rc = er_stmt_step(&q);
    if (rc == 1) {
        rc = er_col_int(&q, 0) ? ER_ESTATE : 0;
    } else if (rc == 0) {
        rc = ER_ENOTFOUND;
    }
    er_stmt_end(&q);
    return rc;
}

static int
queue_remove(struct er_store *s, er_usec now, const char *name)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_QUEUE_REMOVE);
    er_stmt_text(&q, name);
    int rc = er_stmt_run_one(&q);
    if (rc) {
        return rc;
    }
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, "{\"queue\":");
    er_buf_add_json_str(&s->buf, name);
    er_buf_add_str(&s->buf, ",\"removed\":true}");
    return er_sqlite_fact(s, now, ER_EVENT_QUEUE_CHANGED, NULL, 0, er_sqlite_data(s));
}

int
er_store_queue_remove(struct er_store *s, er_usec now, const char *name)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = can_remove(s, name);
        if (rc && s->c.failed == 0) {
            return rc; /* refused; nothing has changed */
        }
    }
    if (rc == 0) {
        rc = queue_remove(s, now, name);
    }
    return er_sqlite_leave(s, rc);
}
