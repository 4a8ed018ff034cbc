/* SPDX-License-Identifier: MIT */
/* Settings that users make: of queues, of limit keys, of types, and the switch for
 * everything. Each change is a row and a fact. Rates are kept as texts, one behind the
 * other (`60/1m 90000/1m:starts`), as people write them.
 *
 * A setting that is refused leaves the transaction as it was. */
#include "store/sqlite_priv.h"

#include <string.h>

#define RATES_SIZE 1024 /* of ER_MAX_RATES texts */

static void
add_limit(struct er_buf *b, int64_t limit)
{
    if (limit > 0) {
        er_buf_add_i64(b, limit);
    } else {
        er_buf_add_str(b, "null");
    }
}

static bool
is_same_rate(const struct er_rate *a, const struct er_rate *b)
{
    return a->n == b->n && a->per_for == b->per_for && a->burst == b->burst &&
           a->starts == b->starts;
}

/* One rate as text, at the end of what b has: 0; ER_EINVALID: it is out of bounds, or
 * reads otherwise than it was written; ER_ENOMEM. */
static int
add_rate(struct er_buf *b, const struct er_rate *rate)
{
    struct er_rate again;
    size_t start = b->len;
    if (rate->n < 1 || rate->per_for < 1 || rate->burst < 1) {
        return ER_EINVALID;
    }
    er_rate_encode(rate, b);
    if (b->failed) {
        return ER_ENOMEM;
    }
    return er_rate_parse(b->data + start, &again, NULL) == 0 && is_same_rate(rate, &again)
               ? 0
               : ER_EINVALID;
}

/* The rates as they are stored, in s->tmp. */
static int
encode_rates(struct er_store *s, const struct er_rate *rates, size_t n, const char **out)
{
    struct er_buf *b = &s->buf;
    if (n > ER_MAX_RATES) {
        return ER_EINVALID;
    }
    er_buf_clear(b);
    er_buf_add_str(b, "");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            er_buf_add_char(b, ' ');
        }
        int rc = b->failed ? ER_ENOMEM : add_rate(b, &rates[i]);
        if (rc) {
            return rc == ER_ENOMEM ? er_sqlite_no_memory(&s->c) : rc;
        }
    }
    *out = b->len > 0 ? er_arena_memdup(&s->tmp, b->data, b->len) : "";
    return *out ? 0 : er_sqlite_no_memory(&s->c);
}

/* The same as an array of texts. */
static void
add_rates(struct er_buf *b, const char *rates)
{
    er_buf_add_str(b, ",\"rates\":[");
    for (const char *p = rates; *p;) {
        size_t n = strcspn(p, " ");
        er_buf_add_json(b, p, n);
        p += n;
        if (*p) {
            er_buf_add_char(b, ',');
            p++;
        }
    }
    er_buf_add_char(b, ']');
}

static int
read_rates(struct er_stmt *q, int col, struct er_rate rates[ER_MAX_RATES], size_t *out_n)
{
    char one[RATES_SIZE];
    size_t n = 0;
    const char *p = (const char *)sqlite3_column_text(q->st, col);
    if (!p) {
        return er_sqlite_no_memory(q->c);
    }
    while (*p) {
        size_t len = strcspn(p, " ");
        bool ok = n < ER_MAX_RATES && len < sizeof one;
        if (ok) {
            memcpy(one, p, len);
            one[len] = '\0';
            ok = er_rate_parse(one, &rates[n++], NULL) == 0;
        }
        if (!ok) {
            return er_sqlite_fail(q->c, ER_ECORRUPT, "a stored rate is none");
        }
        p += len + (p[len] == ' ');
    }
    *out_n = n;
    return 0;
}

/* A fact about no task, whose data stands in s->buf. */
static int
record(struct er_store *s, er_usec now, enum er_event event)
{
    return er_sqlite_fact(s, now, event, NULL, 0, er_sqlite_data(s));
}

/* Begins the data of a fact about what has limits, in s->buf. */
static struct er_buf *
begin_data(struct er_store *s, const char *member, const char *name, int concurrency)
{
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_addf(b, "{\"%s\":", member);
    er_buf_add_json_str(b, name);
    er_buf_add_str(b, ",\"concurrency\":");
    add_limit(b, concurrency);
    return b;
}

/* Ends it with the rates, and records it. */
static int
record_rates(struct er_store *s, er_usec now, enum er_event event, const char *rates)
{
    add_rates(&s->buf, rates);
    er_buf_add_char(&s->buf, '}');
    return record(s, now, event);
}

static int
record_removed(struct er_store *s, er_usec now, enum er_event event, const char *member,
               const char *name)
{
    er_buf_clear(&s->buf);
    er_buf_addf(&s->buf, "{\"%s\":", member);
    er_buf_add_json_str(&s->buf, name);
    er_buf_add_str(&s->buf, ",\"removed\":true}");
    return record(s, now, event);
}

/* Deletes the row of that name: 1; 0: there was none; or an error. */
static int
delete_named(struct er_store *s, enum er_sql which, const char *name)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    er_stmt_text(&q, name);
    int rc = er_stmt_run(&q);
    return rc ? rc : sqlite3_changes(s->c.db);
}

/* Ends a verb: what was refused (and has changed nothing) is not a failure. */
static int
leave(struct er_store *s, int rc)
{
    bool refused = rc < 0 && s->c.failed == 0;
    int left = er_sqlite_leave(s, refused ? 0 : rc);
    return refused ? rc : left;
}

/* ---- queues ---- */

static int
queue_put(struct er_store *s, er_usec now, const struct er_queue *queue)
{
    struct er_stmt q;
    const char *rates;
    if (queue->concurrency < 0 || queue->size < 0) {
        return ER_EINVALID;
    }
    int rc = encode_rates(s, queue->rates, queue->n_rates, &rates);
    if (rc) {
        return rc;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_QUEUE_PUT);
    er_stmt_text(&q, queue->name);
    er_stmt_i64(&q, queue->concurrency);
    er_stmt_i64(&q, queue->size);
    er_stmt_i64(&q, queue->paused);
    er_stmt_text(&q, rates);
    rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    struct er_buf *b = begin_data(s, "queue", queue->name, queue->concurrency);
    er_buf_add_str(b, ",\"size\":");
    add_limit(b, queue->size);
    er_buf_add_str(b, queue->paused ? ",\"paused\":true" : ",\"paused\":false");
    return record_rates(s, now, ER_EVENT_QUEUE_CHANGED, rates);
}

int
er_store_queue_put(struct er_store *s, er_usec now, const struct er_queue *queue)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = queue_put(s, now, queue);
        er_sqlite_queues_changed(s);
    }
    return leave(s, rc);
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
    if (rc == 1 && er_col_int(&q, 0)) {
        rc = ER_ESTATE;
    } else if (rc == 1) {
        rc = er_col_int(&q, 1) ? 0 : ER_ENOTFOUND;
    }
    er_stmt_end(&q);
    return rc;
}

int
er_store_queue_remove(struct er_store *s, er_usec now, const char *name)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = can_remove(s, name);
    }
    if (rc == 0) {
        rc = delete_named(s, ER_SQL_QUEUE_REMOVE, name);
        er_sqlite_queues_changed(s);
        rc = rc < 0 ? rc : record_removed(s, now, ER_EVENT_QUEUE_CHANGED, "queue", name);
    }
    return leave(s, rc);
}

int
er_store_probe(struct er_store *s, er_usec now)
{
    struct er_stmt q;
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        er_stmt_begin(&q, &s->c, ER_SQL_MARK_PUT);
        er_stmt_text(&q, "probe");
        er_stmt_i64(&q, now);
        rc = er_stmt_run(&q);
    }
    return er_sqlite_leave(s, rc);
}

static int
pause_all(struct er_store *s, er_usec now, bool paused)
{
    bool is;
    int rc = er_sqlite_all_paused(s, &is);
    if (rc || is == paused) {
        return rc;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_MARK_PUT);
    er_stmt_text(&q, "paused");
    er_stmt_i64(&q, paused);
    rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, paused ? "{\"all\":true,\"paused\":true}"
                                   : "{\"all\":true,\"paused\":false}");
    return record(s, now, ER_EVENT_QUEUE_CHANGED);
}

int
er_sqlite_all_paused(struct er_store *s, bool *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_MARK_GET);
    er_stmt_text(&q, "paused");
    int rc = er_stmt_step(&q);
    *out = rc == 1 && er_col_i64(&q, 0) != 0;
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

int
er_store_pause_all(struct er_store *s, er_usec now, bool paused)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = pause_all(s, now, paused);
    }
    return er_sqlite_leave(s, rc);
}

int
er_sqlite_read_queue(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_queue *queue = out;
    bool failed = false;
    queue->name = er_col_text(q, 0, arena, &failed);
    queue->concurrency = er_col_int(q, 1);
    queue->size = er_col_i64(q, 2);
    queue->paused = er_col_int(q, 3) != 0;
    return failed ? er_sqlite_no_memory(q->c)
                  : read_rates(q, 4, queue->rates, &queue->n_rates);
}

/* ---- limit keys ---- */

static int
limit_put(struct er_store *s, er_usec now, const struct er_limit *limit)
{
    struct er_stmt q;
    const char *rates;
    if (limit->concurrency < 0) {
        return ER_EINVALID;
    }
    int rc = encode_rates(s, limit->rates, limit->n_rates, &rates);
    if (rc) {
        return rc;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_LIMIT_PUT);
    er_stmt_text(&q, limit->key);
    er_stmt_i64(&q, limit->concurrency);
    er_stmt_text(&q, rates);
    rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    (void)begin_data(s, "key", limit->key, limit->concurrency);
    return record_rates(s, now, ER_EVENT_LIMIT_CHANGED, rates);
}

int
er_store_limit_put(struct er_store *s, er_usec now, const struct er_limit *limit)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = limit_put(s, now, limit);
    }
    return leave(s, rc);
}

/* Removes a setting that nothing hangs on. */
static int
remove_named(struct er_store *s, er_usec now, enum er_sql which, enum er_event event,
             const char *member, const char *name)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = delete_named(s, which, name);
        if (rc >= 0) {
            rc = rc == 0 ? ER_ENOTFOUND : record_removed(s, now, event, member, name);
        }
    }
    return leave(s, rc);
}

int
er_store_limit_remove(struct er_store *s, er_usec now, const char *key)
{
    return remove_named(s, now, ER_SQL_LIMIT_REMOVE, ER_EVENT_LIMIT_CHANGED, "key", key);
}

int
er_sqlite_read_limit(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_limit *limit = out;
    bool failed = false;
    limit->key = er_col_text(q, 0, arena, &failed);
    limit->concurrency = er_col_int(q, 1);
    return failed ? er_sqlite_no_memory(q->c)
                  : read_rates(q, 2, limit->rates, &limit->n_rates);
}

/* ---- types ---- */

static void
bind_type(struct er_stmt *q, struct er_store *s, enum er_sql which,
          const struct er_type_row *type)
{
    er_stmt_begin(q, &s->c, which);
    er_stmt_text(q, type->name);
    er_stmt_text(q, type->definition_json);
}

static int
type_put(struct er_store *s, er_usec now, const struct er_type_row *type)
{
    struct er_stmt q;
    bind_type(&q, s, ER_SQL_TYPE_SAME, type);
    int rc = er_stmt_step(&q);
    er_stmt_end(&q);
    if (rc != 0) {
        return rc < 0 ? rc : 0; /* the same is there */
    }
    bind_type(&q, s, ER_SQL_TYPE_PUT, type);
    rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    struct er_buf *b = &s->buf;
    er_buf_clear(b);
    er_buf_add_str(b, "{\"type\":");
    er_buf_add_json_str(b, type->name);
    er_buf_add_str(b, ",\"definition\":");
    er_buf_add_str(b, type->definition_json);
    er_buf_add_char(b, '}');
    return record(s, now, ER_EVENT_TYPE_CHANGED);
}

int
er_store_type_put(struct er_store *s, er_usec now, const struct er_type_row *type)
{
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = type_put(s, now, type);
    }
    return er_sqlite_leave(s, rc);
}

int
er_store_type_remove(struct er_store *s, er_usec now, const char *name)
{
    return remove_named(s, now, ER_SQL_TYPE_REMOVE, ER_EVENT_TYPE_CHANGED, "type", name);
}

int
er_sqlite_read_type(struct er_stmt *q, struct er_arena *arena, void *out)
{
    struct er_type_row *type = out;
    bool failed = false;
    type->name = er_col_text(q, 0, arena, &failed);
    type->definition_json = er_col_text(q, 1, arena, &failed);
    return failed ? er_sqlite_no_memory(q->c) : 0;
}
