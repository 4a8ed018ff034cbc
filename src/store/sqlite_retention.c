/* SPDX-License-Identifier: MIT */
/* What is kept and for how long. Finished tasks go oldest first and leave tombstones;
 * facts go from the front, so that those that stay are consecutive; tombstones, ended
 * sessions, environments that nobody names and durations that were long not used go too.
 * Numbers of what is removed are never used again: the latest fact stays, and a mark
 * remembers the greatest id of a task. */
#include "store/sqlite_priv.h"

#define DURATIONS_KEPT 10000

/* Runs a statement whose only parameter is an id. */
static int
run_with_id(struct er_store *s, enum er_sql which, int64_t id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    er_stmt_i64(&q, id);
    return er_stmt_run(&q);
}

static int
leave_tombstone(struct er_store *s, er_usec now, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TOMBSTONE_ADD);
    er_stmt_i64(&q, id);
    er_stmt_i64(&q, now);
    return er_stmt_run_one(&q);
}

static int
delete_rows(struct er_store *s, const struct er_brief *t)
{
    int rc = run_with_id(s, ER_SQL_TASK_REMOVE, t->id);
    if (rc == 0 && t->attempt > 0) {
        rc = run_with_id(s, ER_SQL_ATTEMPTS_REMOVE, t->id);
    }
    if (rc == 0) {
        rc = run_with_id(s, ER_SQL_DEPENDENCIES_REMOVE, t->id);
    }
    if (rc == 0 && t->has_tags) {
        rc = run_with_id(s, ER_SQL_TAGS_REMOVE, t->id);
    }
    if (rc == 0 && t->items_completed + t->items_failed > 0) {
        rc = run_with_id(s, ER_SQL_ITEMS_REMOVE, t->id);
    }
    return rc;
}

int
er_sqlite_remove(struct er_store *s, er_usec now, const struct er_brief *t)
{
    /* Before the row goes, so that its number is not taken again after a restart. */
    int rc = t->id == s->last_task ? run_with_id(s, ER_SQL_MARK_TASK, s->last_task) : 0;
    if (rc == 0) {
        rc = leave_tombstone(s, now, t->id);
    }
    if (rc == 0) {
        rc = delete_rows(s, t);
    }
    if (rc == 0 && t->env != 0) {
        rc = er_sqlite_env_use(s, t->env, -1);
    }
    if (rc) {
        return rc;
    }
    er_sqlite_count(s, t->lane, t->state, -1);
    er_sqlite_count_log(s, -t->output_bytes);
    er_buf_clear(&s->buf);
    er_buf_add_str(&s->buf, "{\"state\":");
    er_buf_add_json_str(&s->buf, er_task_state_word(t->state));
    er_buf_add_char(&s->buf, '}');
    return er_sqlite_fact(s, now, ER_EVENT_TASK_REMOVED, t, t->attempt,
                          er_sqlite_data(s));
}

/* How many finished tasks there are (of one state, or of all when it is -1). */
static int
count_finished(struct er_store *s, int only_state, int64_t *out)
{
    int rc = er_sqlite_sums_flush(s); /* what this transaction has counted must be seen */
    if (rc) {
        return rc;
    }
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_FINISHED_COUNT);
    er_stmt_i64(&q, only_state);
    rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

static int
is_needed(struct er_store *s, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_TASK_NEEDED);
    er_stmt_i64(&q, id);
    int rc = er_stmt_step(&q);
    er_stmt_end(&q);
    return rc;
}

/* Which finished tasks go, the oldest first. */
struct choice {
    er_usec before; /* what finished then or before */
    int only_state; /* -1 = any */
    int64_t bytes;  /* only what has output, until so many bytes go; -1 = all */
    size_t n;       /* at most so many */
};

/* Their ids, into s->tmp. */
static int
gather(struct er_store *s, const struct choice *choice, er_task_id **out, size_t *out_n)
{
    struct er_stmt q;
    size_t found = 0, size = 0;
    int64_t bytes = 0;
    int rc = 0;
    er_stmt_begin(&q, &s->c, ER_SQL_FINISHED_OLDEST);
    er_stmt_i64(&q, choice->before);
    er_stmt_i64(&q, choice->only_state);
    while (found < choice->n && (choice->bytes < 0 || bytes < choice->bytes) &&
           (rc = er_stmt_step(&q)) == 1) {
        er_task_id id = er_col_i64(&q, 0);
        int64_t output = er_col_i64(&q, 2);
        rc = choice->bytes >= 0 && output == 0 ? 1 : is_needed(s, id);
        if (rc < 0) {
            break;
        }
        if (rc == 0) {
            er_task_id *more = er_sqlite_grow(&s->tmp, *out, found, &size, sizeof *more);
            if (!more) {
                rc = er_sqlite_no_memory(&s->c);
                break;
            }
            *out = more;
            more[found++] = id;
            bytes += output;
        }
    }
    er_stmt_end(&q);
    *out_n = found;
    return rc < 0 ? rc : 0;
}

/* What was removed by this call so far, in the caller's arena. */
struct removed {
    struct er_arena *arena;
    struct er_removed *list;
    size_t n, size;
    bool more; /* the limit has cut */
};

static int
remove_gathered(struct er_store *s, er_usec now, const er_task_id *ids, size_t n,
                struct removed *r)
{
    for (size_t i = 0; i < n; i++) {
        struct er_brief t;
        int rc = er_sqlite_brief(s, ids[i], &t);
        struct er_removed *more =
            er_sqlite_grow(r->arena, r->list, r->n, &r->size, sizeof *more);
        if (!more) {
            return er_sqlite_no_memory(&s->c);
        }
        r->list = more;
        if (rc == 1) {
            more[r->n++] = (struct er_removed){.id = ids[i], .attempts = t.attempt};
            rc = er_sqlite_remove(s, now, &t);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Removes what was chosen, and at most `limit` in all. One more than may go is asked for,
 * which tells whether the limit cuts. */
static int
remove_chosen(struct er_store *s, er_usec now, struct choice choice, size_t limit,
              struct removed *r)
{
    er_task_id *ids = NULL;
    size_t n = 0, left = limit - r->n;
    choice.n = choice.n > left ? left + 1 : choice.n;
    int rc = gather(s, &choice, &ids, &n);
    if (rc) {
        return rc;
    }
    if (n > left) {
        n = left;
        r->more = true;
    }
    return remove_gathered(s, now, ids, n, r);
}

/* What is beyond the number and the age that stay. */
static int
prune_tasks(struct er_store *s, er_usec now, const struct er_retention *keep,
            size_t limit, struct removed *r)
{
    int64_t finished = 0;
    int rc = count_finished(s, keep->only_state, &finished);
    if (rc || finished <= keep->keep) {
        return rc;
    }
    struct choice choice = {
        .before = now - keep->keep_for,
        .only_state = keep->only_state,
        .bytes = -1,
        .n = (size_t)(finished - keep->keep),
    };
    return remove_chosen(s, now, choice, limit, r);
}

/* The bytes of output of all finished tasks. */
static int
count_log_bytes(struct er_store *s, int64_t *out)
{
    struct er_stmt q;
    int rc = er_sqlite_sums_flush(s); /* what this transaction has counted must be seen */
    if (rc) {
        return rc;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_LOG_BYTES);
    rc = er_stmt_step(&q);
    *out = rc == 1 ? er_col_i64(&q, 0) : 0;
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

/* What is beyond the bytes that stay. Tasks without output would make no room: they
 * stay. */
static int
prune_logs(struct er_store *s, er_usec now, const struct er_retention *keep, size_t limit,
           struct removed *r)
{
    int64_t bytes = 0;
    int rc = count_log_bytes(s, &bytes);
    if (rc || bytes <= keep->log_bytes) {
        return rc;
    }
    struct choice choice = {
        .before = INT64_MAX,
        .only_state = -1,
        .bytes = bytes - keep->log_bytes,
        .n = SIZE_MAX,
    };
    return remove_chosen(s, now, choice, limit, r);
}

/* The number of the first fact that stays, when at most `limit` may go. */
static int
first_to_stay(struct er_store *s, er_usec now, const struct er_retention *keep,
              size_t limit, int64_t *out, bool *out_more)
{
    struct er_stmt q;
    int64_t first = 0;
    size_t n = 0;
    int rc;
    er_stmt_begin(&q, &s->c, ER_SQL_EVENTS_OLDEST);
    while ((rc = er_stmt_step(&q)) == 1) {
        int64_t seq = er_col_i64(&q, 0);
        bool goes =
            seq <= s->last_seq - keep->facts || er_col_i64(&q, 1) < now - keep->facts_for;
        /* The latest always stays: it says which number is next, and what is gone. */
        if (!goes || seq == s->last_seq) {
            break;
        }
        if (n++ == limit) {
            *out_more = true;
            break;
        }
        first = seq + 1;
    }
    er_stmt_end(&q);
    *out = first;
    return rc < 0 ? rc : 0;
}

static int
prune_facts(struct er_store *s, er_usec now, const struct er_retention *keep,
            size_t limit, bool *out_more)
{
    int64_t first = 0;
    int rc = first_to_stay(s, now, keep, limit, &first, out_more);
    if (rc || first == 0) {
        return rc;
    }
    return run_with_id(s, ER_SQL_EVENTS_REMOVE, first);
}

static int
prune_with_limit(struct er_store *s, enum er_sql which, int64_t bound, size_t limit,
                 bool *out_more)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    er_stmt_i64(&q, bound);
    er_stmt_i64(&q, (int64_t)limit);
    int rc = er_stmt_run(&q);
    if (rc == 0 && (size_t)sqlite3_changes(s->c.db) == limit) {
        *out_more = true;
    }
    return rc;
}

static int
prune_envs(struct er_store *s, size_t limit, bool *out_more)
{
    struct er_stmt q;
    int rc = er_sqlite_sums_flush(s); /* a use of this transaction must be seen */
    if (rc) {
        return rc;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_ENVS_REMOVE);
    er_stmt_i64(&q, (int64_t)limit);
    rc = er_stmt_run(&q);
    if (rc == 0 && sqlite3_changes(s->c.db) > 0) {
        *out_more = *out_more || (size_t)sqlite3_changes(s->c.db) == limit;
        er_sqlite_envs_forget(s);
        er_stmt_begin(&q, &s->c, ER_SQL_ENV_TALLIES_REMOVE);
        rc = er_stmt_run(&q);
    }
    return rc;
}

static int
prune_durations(struct er_store *s, size_t limit, bool *out_more)
{
    int rc = er_sqlite_durations_flush(s);
    if (rc == 0) {
        er_sqlite_durations_forget(s);
        rc =
            prune_with_limit(s, ER_SQL_DURATIONS_REMOVE, DURATIONS_KEPT, limit, out_more);
    }
    return rc;
}

static int
prune_rest(struct er_store *s, er_usec now, const struct er_retention *keep, size_t limit,
           bool *out_more)
{
    er_usec before = now - keep->tombstone_for;
    int rc = prune_with_limit(s, ER_SQL_TOMBSTONES_REMOVE, before, limit, out_more);
    if (rc == 0) {
        rc = prune_with_limit(s, ER_SQL_SESSIONS_REMOVE, before, limit, out_more);
    }
    if (rc == 0) {
        rc = prune_envs(s, limit, out_more);
    }
    if (rc == 0) {
        rc = prune_durations(s, limit, out_more);
    }
    return rc;
}

int
er_store_prune(struct er_store *s, er_usec now, const struct er_retention *keep,
               size_t limit, struct er_arena *arena, struct er_removed **out,
               size_t *out_n, bool *out_more)
{
    struct removed r = {.arena = arena};
    int rc = er_sqlite_enter(s);
    if (rc == 0) {
        rc = prune_tasks(s, now, keep, limit, &r);
    }
    if (rc == 0 && keep->only_state < 0 && keep->log_bytes > 0) {
        rc = prune_logs(s, now, keep, limit, &r);
    }
    if (rc == 0 && keep->only_state < 0) {
        rc = prune_facts(s, now, keep, 10 * limit, &r.more);
    }
    if (rc == 0 && keep->only_state < 0) {
        rc = prune_rest(s, now, keep, limit, &r.more);
    }
    if (rc == 0) {
        *out = r.list;
        *out_n = r.n;
        *out_more = r.more;
    }
    return er_sqlite_leave(s, rc);
}
