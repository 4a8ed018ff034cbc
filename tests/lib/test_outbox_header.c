/* SPDX-License-Identifier: MIT */
/* errand_outbox.h against a library that is played: what leaves the outbox, and what
 * stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errand_outbox.h>
#include <stdlib.h>

/* ---- the library, as far as the header needs it ---- */

static int whole;           /* what the next request ends with as a whole; 0 = well */
static const char *never;   /* tasks that hold this text are refused */
static const char *later;   /* and these another time */
static const char *unknown; /* and these have a type that nobody knows */
static int asked;

int
errand_submit_many(errand *e, const char *const *documents, size_t n, int atomic,
                   int64_t *ids, int *codes, errand_error *error)
{
    assert_non_null(e);
    assert_false(atomic);
    asked++;
    int first = whole;
    for (size_t i = 0; i < n; i++) {
        ids[i] = 0;
        codes[i] = whole                                      ? whole
                   : never && strstr(documents[i], never)     ? ERRAND_EINVALID
                   : later && strstr(documents[i], later)     ? ERRAND_EFULL
                   : unknown && strstr(documents[i], unknown) ? ERRAND_ENOTFOUND
                                                              : ERRAND_OK;
        ids[i] = codes[i] == ERRAND_OK ? (int64_t)i + 1 : 0;
        first = first ? first : codes[i];
    }
    if (error) {
        error->code = first;
        (void)snprintf(error->field, sizeof error->field, "%s",
                       first == ERRAND_ENOTFOUND ? "type" : "");
        (void)snprintf(error->message, sizeof error->message, "%s",
                       first ? "these words" : "");
    }
    return first;
}

/* ---- helpers ---- */

static errand *const handle = (errand *)&whole;

static sqlite3 *
open_db(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(errand_outbox_create(db), 0);
    whole = asked = 0;
    never = later = unknown = NULL;
    return db;
}

static void
add(sqlite3 *db, const char *word)
{
    char args[64];
    /* with its quotes: a random key may spell a word of hex digits by itself */
    (void)snprintf(args, sizeof args, "{\"word\":\"%s\"}", word);
    assert_int_equal(errand_outbox_add(db, "a.b", args, NULL, NULL), 0);
}

static int
count(sqlite3 *db, const char *where)
{
    sqlite3_stmt *q;
    char *sql = sqlite3_mprintf("SELECT count(*) FROM errand_outbox WHERE %s", where);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int n = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    sqlite3_free(sql);
    return n;
}

struct seen {
    int good, bad;
};

static void
on_submitted(void *ctx, const char *key, int64_t id)
{
    struct seen *seen = ctx;
    assert_int_equal(strlen(key), 32);
    seen->good += id > 0;
    seen->bad += id < 0;
}

/* ---- tests ---- */

static void
outbox__leaves_when_the_task_is_stored(void **state)
{
    (void)state;
    sqlite3 *db = open_db();
    struct seen seen = {0};
    errand_error error;
    for (int i = 0; i < 250; i++) {
        add(db, "x");
    }
    assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error), 0);
    assert_int_equal(error.code, 0);
    assert_int_equal(seen.good, 250);
    assert_int_equal(asked, 3);
    assert_int_equal(count(db, "1"), 0);
    sqlite3_close(db);
}

static void
outbox__keeps_all_when_nobody_takes_it(void **state)
{
    (void)state;
    static const int codes[] = {ERRAND_ENODAEMON, ERRAND_EBUSY, ERRAND_EIO,
                                ERRAND_ENOMEM};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        sqlite3 *db = open_db();
        struct seen seen = {0};
        errand_error error;
        add(db, "x");
        add(db, "y");
        whole = codes[i];
        assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error),
                         codes[i]);
        assert_string_equal(error.message, "these words");
        assert_int_equal(seen.good + seen.bad, 0);
        assert_int_equal(count(db, "refused IS NULL"), 2);
        whole = 0;
        assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error), 0);
        assert_int_equal(seen.good, 2);
        sqlite3_close(db);
    }
}

static void
outbox__what_never_can_be_stored_holds_up_nobody(void **state)
{
    (void)state;
    sqlite3 *db = open_db();
    struct seen seen = {0};
    errand_error error;
    add(db, "good");
    add(db, "bad");
    add(db, "full");
    add(db, "good");
    never = "\"bad\"";
    later = "\"full\"";
    assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error),
                     ERRAND_EFULL);
    assert_int_equal(seen.good, 2);
    assert_int_equal(seen.bad, 1);
    assert_int_equal(count(db, "refused = 'these words'"), 1);
    assert_int_equal(count(db, "refused IS NULL"), 1);
    later = NULL;
    assert_int_equal(errand_outbox_relay(db, handle, NULL, NULL, &error), 0);
    assert_int_equal(error.code, 0);
    assert_int_equal(count(db, "refused IS NULL"), 0);
    sqlite3_close(db);
}

static void
outbox__what_nobody_knows_yet_stays_and_holds_up_nobody(void **state)
{
    (void)state;
    sqlite3 *db = open_db();
    struct seen seen = {0};
    errand_error error;
    for (int i = 0; i < 2 * ERRAND_OUTBOX_BATCH; i++) {
        add(db, "strange");
    }
    add(db, "good");
    unknown = "\"strange\"";
    assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error),
                     ERRAND_ENOTFOUND);
    assert_int_equal(error.code, ERRAND_ENOTFOUND);
    assert_string_equal(error.field, "type");
    assert_int_equal(seen.good, 1);
    assert_int_equal(seen.bad, 0);
    assert_int_equal(count(db, "refused IS NULL"), 2 * ERRAND_OUTBOX_BATCH);
    unknown = NULL; /* it was registered */
    assert_int_equal(errand_outbox_relay(db, handle, on_submitted, &seen, &error), 0);
    assert_int_equal(count(db, "1"), 0);
    sqlite3_close(db);
}

static void
outbox__refuses_wrong_use(void **state)
{
    (void)state;
    sqlite3 *db = open_db();
    errand_error error;
    char key[ERRAND_OUTBOX_KEY];
    assert_int_equal(errand_outbox_add(db, NULL, NULL, NULL, key), ERRAND_EINVALID);
    assert_int_equal(errand_outbox_add(db, "a.b", "[]", NULL, key), ERRAND_EINVALID);
    assert_int_equal(errand_outbox_add(db, "a.b", "{", NULL, key), ERRAND_EINVALID);
    assert_int_equal(
        errand_outbox_add(db, "a.b", "{\"$text\":\"'a' is NULL\"}", NULL, key),
        ERRAND_EINVALID);
    assert_int_equal(errand_outbox_add(db, "a.b", NULL, "{\"key\":7}", key),
                     ERRAND_EINVALID);
    assert_int_equal(
        errand_outbox_add(db, "a.b", NULL,
                          "{\"key\":\"0123456789012345678901234567890123456789\"}", key),
        ERRAND_EINVALID);
    assert_int_equal(
        errand_outbox_add(db, "a.b", NULL, "{\"key\":\"mine\",\"queue\":\"q\"}", key), 0);
    assert_string_equal(key, "mine");
    assert_int_equal(count(db, "json_extract(task, '$.queue') = 'q' AND key = 'mine'"),
                     1);
    assert_int_equal(errand_outbox_relay(db, NULL, NULL, NULL, &error), ERRAND_EINVALID);
    assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(errand_outbox_relay(db, handle, NULL, NULL, &error), ERRAND_ESTATE);
    assert_non_null(strstr(error.message, "commit"));
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outbox__leaves_when_the_task_is_stored),
        cmocka_unit_test(outbox__keeps_all_when_nobody_takes_it),
        cmocka_unit_test(outbox__what_never_can_be_stored_holds_up_nobody),
        cmocka_unit_test(outbox__what_nobody_knows_yet_stays_and_holds_up_nobody),
        cmocka_unit_test(outbox__refuses_wrong_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
