/* SPDX-License-Identifier: MIT */
/* Opening: what is in the file decides. Nothing, or an empty database: a new store. Ours,
 * of this version or an older one: upgraded, in one transaction. Ours, newer: refused
 * before anything is written to it (and not even checkpointed when it is closed again).
 * Anything else: refused as not a store. Damage shows as SQLite finds it, some of it
 * right here: a bad header, a file shorter than its header says, missing tables.
 *
 * Settings: WAL with synchronous=FULL, so that a commit is on disk when it returns; one
 * connection that writes and checkpoints, and a reader that may do neither (the WAL-reset
 * bug of SQLite 3.7.0 to 3.51.2 needs two that checkpoint); no mmap, so that an I/O error
 * is an error code and not a signal. */
#include "store/sqlite_priv.h"

#include <stdio.h>
#include <string.h>

#define BUSY_MS 2000 /* somebody looks into the file with another program */

/* A larger cache was not faster: what is written now was read or written just before. */
#define WRITER_SETTINGS                                                                  \
    "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2000; PRAGMA mmap_size=0;"       \
    "PRAGMA cache_size=-4000; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;"        \
    "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=16777216;"                     \
    "PRAGMA secure_delete=OFF"
#define READER_SETTINGS                                                                  \
    "PRAGMA query_only=1; PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0;"              \
    "PRAGMA cache_size=-2000; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF"

static int
connect(struct er_sqlite *c, const char *path, int flags, struct er_err *err)
{
    int rc = sqlite3_open_v2(path, &c->db,
                             flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_EXRESCODE,
                             er_sqlite_vfs());
    if (rc != SQLITE_OK) {
        int code = er_sqlite_failed(c, rc);
        return code == ER_ENOTFOUND ? er_fail(err, code, "its folder does not exist")
                                    : er_fail(err, code, "%s", c->err.text);
    }
    (void)sqlite3_busy_timeout(c->db, BUSY_MS);
    return 0;
}

/* Closes without writing what the log still holds into the file. */
static void
disconnect_untouched(struct er_sqlite *c)
{
    if (c->db) {
        (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    er_sqlite_close(c);
}

struct found {
    int64_t application, version, tables;
};

/* Whether this may be opened, from what stands in the file's header. */
static int
judge(const struct found *f, int newest, struct er_err *err)
{
    if (f->application == 0 && f->version == 0 && f->tables == 0) {
        return 0;
    }
    if (f->application != ER_SQLITE_APPLICATION) {
        return er_fail(
            err, ER_ECORRUPT,
            "it is a database, but not a store of errand (application id %lld)",
            (long long)f->application);
    }
    if (f->version > newest) {
        return er_fail(err, ER_ESCHEMA,
                       "it has schema %lld, made by a newer version; errand " ER_VERSION
                       " knows schemas up to %d",
                       (long long)f->version, newest);
    }
    return 0;
}

static int
inspect(struct er_sqlite *c, struct found *f, struct er_err *err)
{
    int rc = er_sqlite_number(c, "PRAGMA user_version", 0, &f->version);
    if (rc == 0) {
        rc = er_sqlite_number(c, "PRAGMA application_id", 0, &f->application);
    }
    if (rc == 0) {
        rc = er_sqlite_number(c, "SELECT count(*) FROM sqlite_master", 0, &f->tables);
    }
    if (rc == ER_ECORRUPT) {
        return er_fail(err, rc, "it is not a store, or it is damaged: %s", c->err.text);
    }
    return rc ? er_fail(err, rc, "%s", c->err.text) : 0;
}

static int
exec(struct er_sqlite *c, const char *sql, struct er_err *err)
{
    int rc = er_sqlite_exec(c, sql);
    return rc ? er_fail(err, rc, "%s", c->err.text) : 0;
}

static int
run_migrations(struct er_sqlite *c, const char *const *migrations, int from, int n,
               struct er_err *err)
{
    char end[128];
    for (int i = from; i < n; i++) {
        int rc = exec(c, migrations[i], err);
        if (rc) {
            return er_fail_prefix(err, rc, "upgrade to schema %d", i + 1);
        }
    }
    (void)snprintf(end, sizeof end,
                   "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
                   ER_SQLITE_APPLICATION, n);
    return exec(c, end, err);
}

int
er_sqlite_migrate(struct er_sqlite *c, const char *const *migrations, int n,
                  struct er_err *err)
{
    struct found f;
    int rc = inspect(c, &f, err);
    if (rc == 0) {
        rc = judge(&f, n, err);
    }
    if (rc || f.version == n) {
        return rc;
    }
    rc = exec(c, "BEGIN IMMEDIATE", err);
    if (rc == 0) {
        rc = run_migrations(c, migrations, (int)f.version, n, err);
    }
    if (rc && !sqlite3_get_autocommit(c->db)) {
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return rc;
}

/* WAL is a property of the file; it must be set outside a transaction. */
static int
set_journal(struct er_store *s, struct er_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->c.db, "PRAGMA journal_mode=WAL", -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    int code = 0;
    if (!mode) {
        code = er_sqlite_failed(&s->c, rc);
        code = er_fail(err, code, "%s", s->c.err.text);
    } else if (strcmp(mode, s->in_memory ? "memory" : "wal") != 0) {
        code = er_fail(err, ER_EIO,
                       "its journal mode is '%s' and cannot be changed to 'wal'", mode);
    }
    (void)sqlite3_finalize(st);
    return code;
}

/* The numbers that go on where they were. */
static int
load_numbers(struct er_store *s)
{
    int rc = er_sqlite_number(&s->c,
                              "SELECT max(ifnull((SELECT max(id) FROM task), 0),"
                              " ifnull((SELECT value FROM mark WHERE name = 'task'), 0))",
                              0, &s->committed_task);
    if (rc == 0) {
        rc = er_sqlite_number(&s->c, "SELECT max(seq) FROM event", 0, &s->committed_seq);
    }
    s->last_task = s->committed_task;
    s->last_seq = s->committed_seq;
    return rc;
}

/* What memory knows of the store. */
static int
load(struct er_store *s, struct er_err *err)
{
    int rc = er_sqlite_exec(&s->c, "DELETE FROM tally WHERE kind = 0 AND n = 0");
    if (rc == 0) {
        rc = load_numbers(s);
    }
    if (rc == 0) {
        rc = er_sqlite_lanes_load(s);
    }
    if (rc == 0) {
        rc = er_sqlite_prepare_end(&s->c);
    }
    return rc ? er_fail(err, rc, "%s", s->c.err.text) : 0;
}

static int
prepare(struct er_store *s, struct er_err *err)
{
    struct found f;
    int rc = inspect(&s->c, &f, err);
    if (rc == 0) {
        rc = judge(&f, er_sqlite_schema_count, err);
    }
    if (rc) {
        return rc;
    }
    if (sqlite3_db_readonly(s->c.db, "main") == 1) {
        return er_fail(err, ER_EAUTH, "the file cannot be written");
    }
    rc = set_journal(s, err);
    if (rc == 0) {
        rc = exec(&s->c, WRITER_SETTINGS, err);
    }
    if (rc == 0) {
        rc = er_sqlite_migrate(&s->c, er_sqlite_schema, er_sqlite_schema_count, err);
    }
    return rc ? rc : load(s, err);
}

void
er_store_own_process(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int
er_store_open(const char *path, struct er_store **out, struct er_err *err)
{
    struct er_store *s = er_zalloc(sizeof *s);
    char *copy = s ? er_strdup(path) : NULL;
    if (!copy) {
        er_free(s);
        return er_fail(err, ER_ENOMEM, "cannot open the store '%s': out of memory", path);
    }
    s->path = copy;
    s->ageing = ER_AGEING;
    s->in_memory = strcmp(path, ":memory:") == 0;
    er_buf_init(&s->buf, 0);
    int rc = connect(&s->c, path, SQLITE_OPEN_CREATE, err);
    if (rc == 0) {
        rc = prepare(s, err);
    }
    if (rc) {
        (void)er_fail_prefix(err, rc, "cannot open the store '%s'", path);
        disconnect_untouched(&s->c);
        er_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void
er_store_close(struct er_store *s)
{
    if (!s) {
        return;
    }
    if (s->in_tx) {
        er_store_rollback(s);
    }
    er_sqlite_close(&s->c);
    er_sqlite_lanes_free(s);
    er_sqlite_durations_forget(s);
    er_arena_free(&s->fx.arena);
    er_arena_free(&s->tmp);
    er_buf_fini(&s->buf);
    er_free(s->ended);
    er_free(s->path);
    er_free(s);
}

int
er_store_reader_open(struct er_store *s, struct er_store_reader **out, struct er_err *err)
{
    struct er_store_reader *r = er_zalloc(sizeof *r);
    if (!r) {
        return er_fail(err, ER_ENOMEM,
                       "cannot open the store for reading: out of memory");
    }
    r->c = s->in_memory ? &s->c : &r->own;
    int rc = s->in_memory ? 0 : connect(&r->own, s->path, 0, err);
    if (rc == 0 && !s->in_memory) {
        rc = exec(&r->own, READER_SETTINGS, err);
    }
    if (rc == 0 && !s->in_memory) {
        rc = er_sqlite_prepare_end(&r->own);
        rc = rc ? er_fail(err, rc, "%s", r->own.err.text) : 0;
    }
    if (rc) {
        (void)er_fail_prefix(err, rc, "cannot open the store '%s' for reading", s->path);
        er_store_reader_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

void
er_store_reader_close(struct er_store_reader *r)
{
    if (r) {
        disconnect_untouched(&r->own);
        er_free(r);
    }
}

int
er_store_check(struct er_store_reader *r, struct er_err *err)
{
    return er_sqlite_check_file(er_sqlite_reader(r), "PRAGMA quick_check(1)", err);
}
