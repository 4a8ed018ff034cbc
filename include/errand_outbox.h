/* SPDX-License-Identifier: MIT */
/* Submitting inside a transaction of your own.
 *
 * A program that writes to its own SQLite database and submits a task afterwards can die
 * in between: the order is stored, and nobody ever ships it. The other way round the task
 * runs for an order that was rolled back. So the task is first written beside the order,
 * in the same transaction (a row in the table errand_outbox), and handed on after the
 * commit:
 *
 *     sqlite3_exec(db, "BEGIN", 0, 0, 0);
 *     ... your own inserts and updates ...
 *     errand_outbox_add(db, "order.ship", "{\"order\":7}", NULL, key);
 *     sqlite3_exec(db, "COMMIT", 0, 0, 0);
 *     errand_outbox_relay(db, e, NULL, NULL, &error);
 *
 * Relay again at the start of the program, and whenever it has returned an error: what
 * was left over then goes. A row leaves the outbox after its task is on disk; a program
 * that is killed in between hands it on a second time under the same key, and the same
 * task answers. (Keys are remembered as long as tasks and their tombstones are, 30 days
 * by default: that is how long a program may stay dead in that very moment.)
 *
 * Only your own connection is used, on the calling thread; link your program with the
 * sqlite3 that you use anyway. Functions return 0, an ERRAND_E code, or with ERRAND_EIO
 * leave the reason in sqlite3_errmsg(db).
 *
 * The outbox table belongs to this header; read it as you like:
 *   id INTEGER PRIMARY KEY, key TEXT, type TEXT, task TEXT (the JSON of POST /v1/tasks),
 *   refused TEXT (why, when it never can be submitted; such rows stay until you delete
 *   them, or UPDATE errand_outbox SET refused = NULL: then the next relay tries them
 *   again) */
#ifndef ERRAND_OUTBOX_H
#define ERRAND_OUTBOX_H

#include <errand.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ERRAND_OUTBOX_KEY   40 /* bytes of a key, its NUL included */
#define ERRAND_OUTBOX_BATCH 100

/* Called at each step of a relay; for the tests of this header. */
#ifndef ERRAND_OUTBOX_STEP
#define ERRAND_OUTBOX_STEP() ((void)0)
#endif

/* Makes the table if it is not there. In a transaction or outside. */
static inline int
errand_outbox_create(sqlite3 *db)
{
    static const char sql[] = "CREATE TABLE IF NOT EXISTS errand_outbox ("
                              " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                              " key TEXT NOT NULL UNIQUE,"
                              " type TEXT NOT NULL,"
                              " task TEXT NOT NULL,"
                              " refused TEXT)";
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERRAND_OK : ERRAND_EIO;
}

/* Puts a task into the outbox, inside the transaction that is open. args: a JSON object
 * (or what errand_args gives), NULL = {}. more: a JSON object with other members of POST
 * /v1/tasks ({"queue":"mail"}), NULL = none. out_key (or NULL) gets its idempotency key,
 * by which the task can be found later. ERRAND_EINVALID: args or more is not a JSON
 * object, errand_args was given a text that is none, or its own "key" is longer than 39
 * bytes. ERRAND_EIO too when that key is in the outbox already. */
static inline int
errand_outbox_add(sqlite3 *db, const char *type, const char *args, const char *more,
                  char out_key[ERRAND_OUTBOX_KEY])
{
    /* The key begins with the time, so that the keys of a day lie side by side in
     * indexes. A key in `more` is the caller's own and wins. */
    static const char sql[] =
        "INSERT INTO errand_outbox (key, type, task)"
        " SELECT k, ?1, json_set(json(?3), '$.type', ?1, '$.key', k, '$.args', json(?2)) "
        "FROM"
        "  (SELECT coalesce(json_extract(?3, '$.key'), printf('%012x%s',"
        "    CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER),"
        "    lower(hex(randomblob(10))))) AS k)"
        " WHERE json_type(?2) = 'object' AND json_type(?3) = 'object' AND length(CAST(k "
        "AS BLOB)) < 40"
        " AND coalesce(json_type(?3, '$.key'), 'text') = 'text'"
        " AND coalesce(json_type(?2, '$.\"$text\"'), 'object') <> 'text'"
        " RETURNING key";
    sqlite3_stmt *q;
    int rc = ERRAND_EIO;
    if (!type || sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK) {
        return type ? ERRAND_EIO : ERRAND_EINVALID;
    }
    sqlite3_bind_text(q, 1, type, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, args ? args : "{}", -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, more ? more : "{}", -1, SQLITE_STATIC);
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        if (out_key) {
            (void)snprintf(out_key, ERRAND_OUTBOX_KEY, "%s",
                           (const char *)sqlite3_column_text(q, 0));
        }
        rc = sqlite3_step(q) == SQLITE_DONE ? ERRAND_OK : ERRAND_EIO;
        break;
    case SQLITE_DONE:
        rc = ERRAND_EINVALID;
        break;
    default: /* "malformed JSON" comes as a plain error */
        rc = sqlite3_errcode(db) == SQLITE_ERROR ? ERRAND_EINVALID : ERRAND_EIO;
        break;
    }
    sqlite3_finalize(q);
    return rc;
}

/* Called for each task that was handed on (or, with a negative id, refused for good with
 * that code), after it has left the outbox. */
typedef void errand_outbox_fn(void *ctx, const char *key, int64_t id);

static inline int
errand_outbox_wrong(errand_error *error, int code, const char *words)
{
    if (error) {
        error->code = code;
        (void)snprintf(error->message, sizeof error->message, "%s", words);
    }
    return code;
}

/* One row of a batch that is on its way. */
struct errand_outbox_row {
    sqlite3_int64 row;
    char key[ERRAND_OUTBOX_KEY];
    char *task;
};

/* Whether a code means: never, however often it is tried. A type that nobody knows may be
 * registered later; field: what was wrong, NULL = not known yet. */
static inline int
errand_outbox_is_refusal(int code, const char *field)
{
    return code == ERRAND_EINVALID || code == ERRAND_EEXISTS || code == ERRAND_ETOOBIG ||
           (code == ERRAND_ENOTFOUND && !(field && strcmp(field, "type") == 0));
}

/* Those behind the row `after`. */
static inline int
errand_outbox_read(sqlite3 *db, sqlite3_int64 after, struct errand_outbox_row *rows,
                   int *out_n)
{
    sqlite3_stmt *q;
    int step, n = 0;
    if (sqlite3_prepare_v2(db,
                           "SELECT id, key, task FROM errand_outbox WHERE refused IS NULL"
                           " AND id > ?2 ORDER BY id LIMIT ?1",
                           -1, &q, NULL) != SQLITE_OK) {
        return ERRAND_EIO;
    }
    sqlite3_bind_int(q, 1, ERRAND_OUTBOX_BATCH);
    sqlite3_bind_int64(q, 2, after);
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        rows[n].row = sqlite3_column_int64(q, 0);
        (void)snprintf(rows[n].key, sizeof rows[n].key, "%s",
                       (const char *)sqlite3_column_text(q, 1));
        rows[n].task = sqlite3_mprintf("%s", (const char *)sqlite3_column_text(q, 2));
        n++;
        if (!rows[n - 1].task) {
            step = SQLITE_NOMEM;
            break;
        }
    }
    sqlite3_finalize(q);
    *out_n = n;
    return step == SQLITE_DONE ? ERRAND_OK : ERRAND_EIO;
}

/* The row leaves the outbox, or stays with the reason why it cannot. */
static inline int
errand_outbox_settle(sqlite3 *db, sqlite3_int64 row, const char *refused)
{
    sqlite3_stmt *q;
    const char *sql = refused ? "UPDATE errand_outbox SET refused = ?2 WHERE id = ?1"
                              : "DELETE FROM errand_outbox WHERE id = ?1";
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK) {
        return ERRAND_EIO;
    }
    sqlite3_bind_int64(q, 1, row);
    if (refused) {
        sqlite3_bind_text(q, 2, refused, -1, SQLITE_STATIC);
    }
    int rc = sqlite3_step(q) == SQLITE_DONE ? ERRAND_OK : ERRAND_EIO;
    sqlite3_finalize(q);
    return rc;
}

/* Why a task was refused, in words: it is asked for once more, alone. Returns the code
 * that came of it (it may even have been taken by now). */
static inline int
errand_outbox_ask_why(errand *e, const char *task, int64_t *out_id, errand_error *error)
{
    int code = ERRAND_OK;
    int rc = errand_submit_many(e, &task, 1, 0, out_id, &code, error);
    return code != ERRAND_OK ? code : rc;
}

/* Returns the first code that another time may mend, with its words; ERRAND_ENOTFOUND
 * only when it is none but types that nobody knows. */
static inline int
errand_outbox_relay_batch(sqlite3 *db, errand *e, struct errand_outbox_row *rows, int n,
                          errand_outbox_fn *fn, void *ctx, errand_error *error)
{
    const char *documents[ERRAND_OUTBOX_BATCH];
    int64_t ids[ERRAND_OUTBOX_BATCH] = {0};
    int codes[ERRAND_OUTBOX_BATCH] = {0}, late = ERRAND_OK;
    errand_error first, why;
    for (int i = 0; i < n; i++) {
        documents[i] = rows[i].task;
    }
    int rc = errand_submit_many(e, documents, (size_t)n, 0, ids, codes, &first);
    ERRAND_OUTBOX_STEP();
    for (int i = 0; i < n; i++) {
        int code = codes[i];
        why = first;
        if (errand_outbox_is_refusal(code, NULL)) {
            code = errand_outbox_ask_why(e, rows[i].task, &ids[i], &why);
        }
        if (code == ERRAND_OK && ids[i] <= 0) {
            code = rc != ERRAND_OK ? rc : ERRAND_EIO; /* nothing was stored: it stays */
        }
        if (code != ERRAND_OK && !errand_outbox_is_refusal(code, why.field)) {
            if (late == ERRAND_OK || late == ERRAND_ENOTFOUND) { /* another time */
                if (error && (late == ERRAND_OK || code != late)) {
                    *error = why;
                }
                late = code;
            }
            continue;
        }
        int settled =
            errand_outbox_settle(db, rows[i].row, code != ERRAND_OK ? why.message : NULL);
        ERRAND_OUTBOX_STEP();
        if (settled != ERRAND_OK) {
            return settled;
        }
        if (fn) {
            fn(ctx, rows[i].key, code != ERRAND_OK ? code : ids[i]);
        }
    }
    return late;
}

/* Hands on what is in the outbox, oldest first, and returns when all of it was, or at the
 * first error that another try may mend (ERRAND_ENODAEMON, ERRAND_EFULL, ERRAND_EIO ...):
 * what is left then stays. A type that nobody has registered yet is such an error, too
 * (ERRAND_ENOTFOUND), but holds up no other row: register your types first, then relay.
 * Tasks that never can be submitted (arguments that do not fit, a key that was used
 * otherwise) are marked as refused, and do not hold up the rest. Outside of transactions:
 * each row is settled in one of its own. fn may be NULL. Blocks as errand_submit_many
 * does. */
static inline int
errand_outbox_relay(sqlite3 *db, errand *e, errand_outbox_fn *fn, void *ctx,
                    errand_error *error)
{
    struct errand_outbox_row rows[ERRAND_OUTBOX_BATCH];
    if (error) {
        memset(error, 0, sizeof *error);
    }
    if (!e || !sqlite3_get_autocommit(db)) {
        return errand_outbox_wrong(error, e ? ERRAND_ESTATE : ERRAND_EINVALID,
                                   e ? "a transaction is open: commit it first"
                                     : "e is NULL");
    }
    sqlite3_int64 after = 0; /* rows whose type nobody knows stay before it */
    int late = ERRAND_OK;
    for (;;) {
        errand_error why;
        memset(&why, 0, sizeof why);
        int n = 0, rc = errand_outbox_read(db, after, rows, &n);
        ERRAND_OUTBOX_STEP();
        if (rc == ERRAND_OK && n > 0) {
            rc = errand_outbox_relay_batch(db, e, rows, n, fn, ctx, &why);
            after = rows[n - 1].row;
        }
        for (int i = 0; i < n; i++) {
            sqlite3_free(rows[i].task);
        }
        if (rc != ERRAND_OK) {
            if (error && (late == ERRAND_OK || rc != ERRAND_ENOTFOUND)) {
                *error = why;
            }
            late = rc;
        }
        if ((rc != ERRAND_OK && rc != ERRAND_ENOTFOUND) || n == 0) {
            return late;
        }
    }
}

#ifdef __cplusplus
}
#endif

#endif
