/* SPDX-License-Identifier: MIT */
/* Transactions. What a transaction adds to memory (numbers given away, lanes, sums,
 * cached look-ups) becomes lasting with the commit and is forgotten with a rollback, so
 * that the store in memory never says more than the one on disk.
 *
 * A commit that fails (full disk, failed sync) is rolled back here. SQLite may have done
 * so by itself on such an error; both ways end outside a transaction, and the next one
 * works as soon as the disk does. */
#include "store/sqlite_priv.h"

#define ENDED_KEPT 4096 /* places of the work list that stay for the next verb */

static void
begin_effects(struct er_store *s)
{
    s->fx = (struct er_effects){.next_due = ER_NEVER};
    s->facts_size = s->ready_size = s->lanes_size = 0;
    s->turn++;
}

int
er_store_begin(struct er_store *s)
{
    ER_ASSERT(!s->in_tx);
    s->c.failed = 0;
    s->c.err.text[0] = '\0';
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_BEGIN);
    int rc = er_stmt_run(&q);
    if (rc == 0) {
        s->in_tx = true;
        s->changes = sqlite3_total_changes64(s->c.db);
        begin_effects(s);
    }
    return rc;
}

int
er_sqlite_prepare_end(struct er_sqlite *c)
{
    struct er_stmt q;
    er_stmt_begin(&q, c, ER_SQL_ROLLBACK);
    int rc = q.rc;
    er_stmt_end(&q);
    return rc == SQLITE_OK ? 0 : er_sqlite_failed(c, rc);
}

void
er_sqlite_end_transaction(struct er_sqlite *c)
{
    struct er_stmt q;
    if (!sqlite3_get_autocommit(c->db)) {
        er_stmt_begin(&q, c, ER_SQL_ROLLBACK);
        (void)sqlite3_step(q.st);
        er_stmt_end(&q);
    }
}

/* Ends the transaction as one that never was. */
static void
undo(struct er_store *s)
{
    er_sqlite_end_transaction(&s->c);
    ER_ASSERT(sqlite3_get_autocommit(s->c.db));
    er_arena_free(&s->fx.arena);
    er_arena_free(&s->tmp);
    begin_effects(s);
    er_sqlite_sums_forget(s);
    er_sqlite_durations_forget(s);
    s->last_task = s->committed_task;
    s->last_seq = s->committed_seq;
    s->session = 0;
    s->n_ended = 0;
    s->in_tx = false;
}

int
er_store_commit(struct er_store *s, struct er_effects *out)
{
    ER_ASSERT(s->in_tx);
    int rc = s->c.failed;
    if (rc == 0) {
        rc = er_sqlite_sums_flush(s);
    }
    if (rc == 0) {
        rc = er_sqlite_durations_flush(s);
    }
    if (rc == 0) {
        struct er_stmt q;
        er_stmt_begin(&q, &s->c, ER_SQL_COMMIT);
        rc = er_stmt_run(&q);
    }
    if (rc) {
        undo(s);
        return rc;
    }
    er_sqlite_sums_keep(s);
    er_sqlite_durations_keep(s);
    s->committed_task = s->last_task;
    s->committed_seq = s->last_seq;
    s->in_tx = false;
    s->fx.written = sqlite3_total_changes64(s->c.db) != s->changes;
    s->ready_total += (int64_t)s->fx.n_ready;
    s->fx.ready_total = s->ready_total;
    *out = s->fx;
    begin_effects(s);
    return 0;
}

void
er_store_rollback(struct er_store *s)
{
    ER_ASSERT(s->in_tx);
    undo(s);
}

const char *
er_store_failure(const struct er_store *s)
{
    return s->c.err.text;
}

int
er_sqlite_enter(struct er_store *s)
{
    ER_ASSERT(s->in_tx);
    return s->c.failed;
}

int
er_sqlite_leave(struct er_store *s, int rc)
{
    er_arena_clear(&s->tmp);
    if (s->ended_size > ENDED_KEPT) {
        er_free(s->ended);
        s->ended = NULL;
        s->ended_size = s->n_ended = 0;
    }
    if (rc < 0 && s->c.failed == 0) {
        s->c.failed = rc;
    }
    return rc;
}
