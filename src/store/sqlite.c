/* SPDX-License-Identifier: MIT */
/* One connection to SQLite: its statements, prepared once, and its errors. This is the
 * only place that knows SQLite's codes. */
#include "store/sqlite_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const statement_texts[] = {
#define ER_SQL(name, text) text,
#include "store/sqlite_statements.def"
#undef ER_SQL
};

/* What the failed system call said. SQLite takes errno as it finds it, which may be that
 * of an earlier call: only what fits the failure is believed; 0 otherwise. */
static int
system_errno(struct er_sqlite *c, int sqlite_rc)
{
    int errnum = c->db ? sqlite3_system_errno(c->db) : 0;
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EROFS:
        return errnum;
    case ENOENT:
    case EACCES:
    case EPERM:
        return (sqlite_rc & 0xff) == SQLITE_CANTOPEN ? errnum : 0;
    default:
        return 0;
    }
}

static int
map_io(struct er_sqlite *c, int sqlite_rc)
{
    int errnum = system_errno(c, sqlite_rc);
    return errnum ? er_error_from_errno(errnum) : ER_EIO;
}

static int
map_code(struct er_sqlite *c, int sqlite_rc)
{
    switch (sqlite_rc) {
    case SQLITE_IOERR_NOMEM:
        return ER_ENOMEM;
    case SQLITE_IOERR_CORRUPTFS:
        return ER_ECORRUPT;
    default:
        break;
    }
    switch (sqlite_rc & 0xff) {
    case SQLITE_NOMEM:
        return ER_ENOMEM;
    case SQLITE_FULL:
        return ER_EDISKFULL;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return map_io(c, sqlite_rc);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ER_EBUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ER_EAUTH;
    case SQLITE_TOOBIG:
        return ER_ETOOBIG;
    case SQLITE_INTERRUPT:
        return ER_ECANCELLED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* our rules about the data do not hold */
    case SQLITE_ERROR:      /* a table or column is missing */
    case SQLITE_MISMATCH:
        return ER_ECORRUPT;
    default:
        return ER_EIO;
    }
}

int
er_sqlite_failed(struct er_sqlite *c, int sqlite_rc)
{
    int code = map_code(c, sqlite_rc);
    const char *words = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(sqlite_rc);
    int errnum = system_errno(c, sqlite_rc);
    char more[256], why[128];
    if (errnum != 0) {
        (void)snprintf(more, sizeof more, "%s (%s)", words,
                       strerror_r(errnum, why, sizeof why));
        words = more;
    }
    return er_sqlite_fail(c, code, words);
}

int
er_sqlite_fail(struct er_sqlite *c, int code, const char *words)
{
    if (c->failed == 0) {
        c->failed = code;
        (void)er_fail(&c->err, code, "%s", words);
    }
    return code;
}

int
er_sqlite_no_memory(struct er_sqlite *c)
{
    return er_sqlite_fail(c, ER_ENOMEM, "out of memory");
}

void *
er_sqlite_grow(struct er_arena *arena, void *array, size_t n, size_t *size,
               size_t element)
{
    if (n < *size) {
        return array;
    }
    size_t more = *size ? *size * 2 : 8;
    void *new = er_arena_alloc(arena, more * element);
    if (new) {
        if (n > 0) {
            memcpy(new, array, n * element);
        }
        *size = more;
    }
    return new;
}

int
er_sqlite_exec(struct er_sqlite *c, const char *sql)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : er_sqlite_failed(c, rc);
}

int
er_sqlite_number(struct er_sqlite *c, const char *sql, int64_t none, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    if (rc == SQLITE_ROW && sqlite3_column_type(st, 0) != SQLITE_NULL) {
        *out = sqlite3_column_int64(st, 0);
    } else if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        *out = none;
    } else {
        rc = er_sqlite_failed(c, rc);
        (void)sqlite3_finalize(st);
        return rc;
    }
    (void)sqlite3_finalize(st);
    return 0;
}

/* What a check of the file has found. A page that could not be read for want of memory,
 * or because of the disk, is reported among the damages, with SQLite's code. */
static int
judge_finding(struct er_sqlite *c, const char *found)
{
    static const char mark[] = "error code=";
    const char *at = strstr(found, mark);
    int sqlite_rc = at ? (int)strtol(at + sizeof mark - 1, NULL, 10) : SQLITE_CORRUPT;
    int primary = sqlite_rc & 0xff;
    return primary == SQLITE_NOMEM || primary == SQLITE_IOERR ? map_code(c, sqlite_rc)
                                                              : ER_ECORRUPT;
}

int
er_sqlite_check_file(struct er_sqlite *c, const char *pragma, struct er_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, pragma, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
    }
    const char *found =
        rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    int code = 0;
    if (!found) {
        code = er_sqlite_failed(c, rc == SQLITE_ROW ? SQLITE_NOMEM : rc);
        code = er_fail(err, code, "cannot check the store: %s", c->err.text);
    } else if (strcmp(found, "ok") != 0) {
        code = judge_finding(c, found);
        code = code == ER_ECORRUPT
                   ? er_fail(err, code, "the store is damaged: %s", found)
                   : er_fail(err, code, "cannot check the store: %s", found);
    }
    (void)sqlite3_finalize(st);
    return code;
}

void
er_sqlite_close(struct er_sqlite *c)
{
    for (int i = 0; i < ER_SQL_COUNT; i++) {
        (void)sqlite3_finalize(c->statements[i]);
        c->statements[i] = NULL;
    }
    int rc = sqlite3_close(c->db);
    ER_ASSERT(rc == SQLITE_OK); /* otherwise a statement was left open */
    c->db = NULL;
}

void
er_stmt_begin(struct er_stmt *q, struct er_sqlite *c, enum er_sql which)
{
    *q = (struct er_stmt){.c = c, .st = c->statements[which]};
    if (!q->st) {
        q->rc = sqlite3_prepare_v3(c->db, statement_texts[which], -1,
                                   SQLITE_PREPARE_PERSISTENT, &q->st, NULL);
        c->statements[which] = q->st;
    }
}

static void
bound(struct er_stmt *q, int rc)
{
    if (rc != SQLITE_OK && q->rc == SQLITE_OK) {
        q->rc = rc;
    }
}

void
er_stmt_i64(struct er_stmt *q, int64_t v)
{
    if (q->st) {
        bound(q, sqlite3_bind_int64(q->st, ++q->n, v));
    }
}

void
er_stmt_null(struct er_stmt *q)
{
    if (q->st) {
        bound(q, sqlite3_bind_null(q->st, ++q->n));
    }
}

void
er_stmt_i64_or_null(struct er_stmt *q, int64_t v, int64_t null)
{
    if (v == null) {
        er_stmt_null(q);
    } else {
        er_stmt_i64(q, v);
    }
}

void
er_stmt_text(struct er_stmt *q, const char *s)
{
    if (q->st) {
        bound(q, sqlite3_bind_text(q->st, ++q->n, s, -1, SQLITE_STATIC));
    }
}

void
er_stmt_blob(struct er_stmt *q, const void *p, size_t n)
{
    if (q->st) {
        /* A pointer that is not NULL with no bytes is an empty blob. */
        bound(q, sqlite3_bind_blob64(q->st, ++q->n, p, n, SQLITE_STATIC));
    }
}

int
er_stmt_step(struct er_stmt *q)
{
    int rc = q->rc != SQLITE_OK ? q->rc : sqlite3_step(q->st);
    if (rc == SQLITE_ROW) {
        return 1;
    }
    return rc == SQLITE_DONE ? 0 : er_sqlite_failed(q->c, rc);
}

void
er_stmt_end(struct er_stmt *q)
{
    (void)sqlite3_reset(q->st);
    q->st = NULL;
}

int
er_stmt_run(struct er_stmt *q)
{
    int rc = er_stmt_step(q);
    er_stmt_end(q);
    return rc < 0 ? rc : 0;
}

int
er_stmt_run_one(struct er_stmt *q)
{
    int rc = er_stmt_run(q);
    if (rc == 0 && sqlite3_changes(q->c->db) != 1) {
        rc = er_sqlite_fail(q->c, ER_ECORRUPT, "a row changed under its own transaction");
    }
    return rc;
}

int64_t
er_col_i64(struct er_stmt *q, int col)
{
    return sqlite3_column_int64(q->st, col);
}

int64_t
er_col_i64_or(struct er_stmt *q, int col, int64_t null)
{
    return sqlite3_column_type(q->st, col) == SQLITE_NULL
               ? null
               : sqlite3_column_int64(q->st, col);
}

int
er_col_int(struct er_stmt *q, int col)
{
    return sqlite3_column_int(q->st, col);
}

const char *
er_col_text(struct er_stmt *q, int col, struct er_arena *arena, bool *failed)
{
    if (sqlite3_column_type(q->st, col) == SQLITE_NULL) {
        return NULL;
    }
    const void *text = sqlite3_column_text(q->st, col);
    const char *copy =
        text ? er_arena_memdup(arena, text, (size_t)sqlite3_column_bytes(q->st, col))
             : NULL;
    if (!copy) {
        *failed = true;
    }
    return copy;
}
