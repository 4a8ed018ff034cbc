/* SPDX-License-Identifier: MIT */
/* Opening: what is accepted, upgraded, refused; what a store still knows afterwards. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "store/sqlite_priv.h"
#include "store_fixture.h"

/* Runs SQL on the closed store's file, as another program would. */
static void
meddle(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    char *why = NULL;
    f_close(f);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
        fail_msg("%s", why);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void
write_file(const char *path, const void *p, size_t n, long at, const char *mode)
{
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(p, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* Opening must fail with that code; the words must have `part` in them. */
static void
must_refuse(struct fixture *f, int code, const char *part)
{
    struct er_store *s = NULL;
    struct er_err err = {""};
    assert_int_equal(er_store_open(f->path, &s, &err), code);
    assert_null(s);
    if (!strstr(err.text, part) || !strstr(err.text, f->path)) {
        fail_msg("'%s' does not say '%s' and the path", err.text, part);
    }
}

/* So that the teardown has a store to close. */
static void
start_anew(struct fixture *f)
{
    (void)unlink(f->path);
    f_open(f);
}

static void
a_newer_store_is_refused_untouched(void **state)
{
    struct fixture *f = *state;
    struct er_buf before, after;
    (void)f_add(f, f_new());
    meddle(f, "PRAGMA user_version = 99");
    er_buf_init(&before, 0);
    er_buf_init(&after, 0);
    assert_int_equal(er_read_file(f->path, &before, NULL), 0);
    must_refuse(f, ER_ESCHEMA, "schema 99");
    must_refuse(f, ER_ESCHEMA, "up to 2");
    assert_int_equal(er_read_file(f->path, &after, NULL), 0);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, after.len);
    er_buf_fini(&before);
    er_buf_fini(&after);
    start_anew(f);
}

static void
what_is_not_a_database_is_refused(void **state)
{
    struct fixture *f = *state;
    char garbage[8192];
    f_close(f);
    memset(garbage, 'x', sizeof garbage);
    write_file(f->path, garbage, sizeof garbage, 0, "w");
    must_refuse(f, ER_ECORRUPT, "not a store");
    write_file(f->path, "short", 5, 0, "w");
    must_refuse(f, ER_ECORRUPT, "not a store");
    start_anew(f);
}

static void
the_database_of_another_program_is_refused(void **state)
{
    struct fixture *f = *state;
    f_close(f);
    (void)unlink(f->path);
    f_open(f);
    meddle(f, "PRAGMA application_id = 5");
    must_refuse(f, ER_ECORRUPT, "not a store of errand");
    (void)unlink(f->path);
    f_open(f);
    f_close(f);
    (void)unlink(f->path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (a)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    must_refuse(f, ER_ECORRUPT, "not a store of errand");
    start_anew(f);
}

static void
an_empty_file_becomes_a_store(void **state)
{
    struct fixture *f = *state;
    f_close(f);
    write_file(f->path, "", 0, 0, "w");
    f_open(f);
    f->session = f_open_session(f, "w");
    assert_int_equal(f_add(f, f_new()), 1);
}

static void
a_store_that_was_cut_short_is_refused(void **state)
{
    struct fixture *f = *state;
    (void)f_add(f, f_new());
    f_close(f);
    assert_int_equal(truncate(f->path, 3 * 4096), 0);
    must_refuse(f, ER_ECORRUPT, "damaged");
    start_anew(f);
}

static void
a_store_that_lacks_a_table_is_refused(void **state)
{
    struct fixture *f = *state;
    meddle(f, "DROP TABLE lane");
    must_refuse(f, ER_ECORRUPT, "no such table: lane");
    start_anew(f);
}

static void
a_folder_that_is_not_there_is_named(void **state)
{
    struct fixture *f = *state;
    struct er_store *s;
    struct er_err err = {""};
    char path[160];
    (void)snprintf(path, sizeof path, "%s/none/tasks.db", f->folder);
    assert_int_equal(er_store_open(path, &s, &err), ER_ENOTFOUND);
    assert_non_null(strstr(err.text, "folder does not exist"));
    assert_true(er_store_open(f->folder, &s, &err) != 0); /* it is a folder itself */
    assert_non_null(strstr(err.text, f->folder));
}

static void
check__finds_a_damaged_page(void **state)
{
    struct fixture *f = *state;
    struct er_err err = {""};
    assert_int_equal(er_store_check(f->r, &err), 0);
    if (f->in_memory) {
        return;
    }
    (void)f_add(f, f_new());
    int64_t page; /* one that opening does not look at */
    assert_int_equal(
        er_sqlite_number(
            &f->s->c,
            "SELECT rootpage FROM sqlite_master WHERE name = 'task_correlation'", 0,
            &page),
        0);
    f_close(f);
    char garbage[4096];
    memset(garbage, 0x5a, sizeof garbage);
    write_file(f->path, garbage, sizeof garbage, (long)(page - 1) * 4096, "r+");
    f_open(f);
    assert_int_equal(er_store_check(f->r, &err), ER_ECORRUPT);
    assert_non_null(strstr(err.text, "damaged"));
}

static void
what_was_committed_survives_a_process_that_is_killed(void **state)
{
    struct fixture *f = *state;
    f_close(f);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct er_store *s;
        struct er_effects fx;
        struct er_new_task rows[2] = {f_new(), f_new()};
        int rc = er_store_open(f->path, &s, NULL);
        rc = rc ? rc : er_store_begin(s);
        rc = rc ? rc : er_store_submit(s, T0, &rows[0], 1, false);
        rc = rc ? rc : er_store_commit(s, &fx);
        rc = rc ? rc : er_store_begin(s);
        rc = rc ? rc : er_store_submit(s, T0, &rows[1], 1, false);
        _exit(rc ? 1 : 0); /* the second is not committed, nothing is closed */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    f_open(f);
    assert_int_equal(f_get(f, 1).state, ER_TASK_QUEUED);
    struct er_task t;
    assert_int_equal(er_store_get(f->r, 2, false, &f->arena, &t), ER_ENOTFOUND);
    assert_int_equal(f_add(f, f_new()), 2);
}

static void
everything_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.queue = "q";
    row.key = "k";
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    f_reopen(f);
    assert_int_equal(f_count(f, "q", ER_TASK_RUNNING), 1);
    f_finish(f, f_ends(f, id, ER_TASK_COMPLETED));
    f_reopen(f);
    struct er_task t = f_get(f, id);
    assert_int_equal(t.state, ER_TASK_COMPLETED);
    assert_string_equal(t.queue, "q");
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    f_commit(f);
    assert_true(row.existing);
    (void)f_add(f, f_new());
    assert_int_equal(f->fx.facts[0].seq, 5);
}

static void
ids_are_never_used_again(void **state)
{
    struct fixture *f = *state;
    struct er_retention keep = {.only_state = -1};
    struct er_removed *removed;
    size_t n;
    bool more;
    er_task_id last = 0;
    for (int i = 0; i < 3; i++) {
        er_task_id id = f_add(f, f_new());
        assert_true(id > last);
        last = id;
        f_run(f, id, ER_TASK_COMPLETED);
        struct er_change row = f_change(id);
        f_begin(f);
        assert_int_equal(er_store_remove(f->s, f->now, &row, 1), 0);
        f_commit(f);
        f->now += SEC;
        f_begin(f); /* the tombstone and all facts go as well */
        assert_int_equal(
            er_store_prune(f->s, f->now, &keep, 100, &f->arena, &removed, &n, &more), 0);
        f_commit(f);
        f_reopen(f);
    }
    (void)f_add(f, f_new());
    assert_int_equal(f->fx.facts[0].seq, 1 + 3 * 4 + 1);
}

static void
the_reader_sees_only_what_is_committed_and_cannot_write(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    struct er_task t;
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    assert_int_equal(er_store_get(f->r, row.id, false, &f->arena, &t), ER_ENOTFOUND);
    f_commit(f);
    assert_int_equal(er_store_get(f->r, row.id, false, &f->arena, &t), 0);
    assert_int_equal(er_sqlite_exec(f->r->c, "DELETE FROM task"), ER_EAUTH);
    assert_int_equal(f_get(f, row.id).id, row.id);
}

static void
the_settings_are_those_that_durability_needs(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *pragma;
        int64_t value;
    } writer[] = {{"PRAGMA synchronous", 2},
                  {"PRAGMA mmap_size", 0},
                  {"PRAGMA query_only", 0}},
      reader[] = {{"PRAGMA wal_autocheckpoint", 0},
                  {"PRAGMA mmap_size", 0},
                  {"PRAGMA query_only", 1}};
    int64_t value;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(er_sqlite_number(&f->s->c, writer[i].pragma, -1, &value), 0);
        assert_int_equal(value, writer[i].value);
        assert_int_equal(er_sqlite_number(f->r->c, reader[i].pragma, -1, &value), 0);
        assert_int_equal(value, reader[i].value);
    }
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(f->s->c.db, "PRAGMA journal_mode", -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), "wal");
    (void)sqlite3_finalize(st);
}

static const char *const upgrades[] = {
    "CREATE TABLE a (x); INSERT INTO a VALUES (1);",
    "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1;",
    "CREATE TABLE b (z);",
};
static const char *const bad_upgrades[] = {
    "CREATE TABLE a (x)",
    "ALTER TABLE a ADD COLUMN y; INSERT INTO a VALUES (5, 6);",
    "INSERT INTO b VALUES (7);",
};

static void
an_older_schema_is_brought_up_in_one_transaction(void **state)
{
    (void)state;
    struct er_sqlite c = {.db = NULL};
    struct er_err err = {""};
    int64_t value;
    assert_int_equal(sqlite3_open(":memory:", &c.db), SQLITE_OK);
    assert_int_equal(er_sqlite_migrate(&c, upgrades, 1, &err), 0);
    assert_int_equal(er_sqlite_migrate(&c, bad_upgrades, 3, &err), ER_ECORRUPT);
    assert_non_null(strstr(err.text, "upgrade to schema 3: no such table: b"));
    /* Nothing of the step that worked is left. */
    assert_int_equal(er_sqlite_number(&c, "PRAGMA user_version", -1, &value), 0);
    assert_int_equal(value, 1);
    assert_int_equal(er_sqlite_number(&c, "SELECT count(*) FROM a", -1, &value), 0);
    assert_int_equal(value, 1);
    assert_true(er_sqlite_exec(&c, "SELECT y FROM a") != 0);
    assert_int_equal(er_sqlite_migrate(&c, upgrades, 3, &err), 0);
    assert_int_equal(er_sqlite_number(&c, "PRAGMA user_version", -1, &value), 0);
    assert_int_equal(value, 3);
    assert_int_equal(er_sqlite_number(&c, "SELECT y FROM a", -1, &value), 0);
    assert_int_equal(value, 2);
    assert_int_equal(er_sqlite_migrate(&c, upgrades, 3, &err), 0);
    assert_int_equal(er_sqlite_migrate(&c, upgrades, 2, &err), ER_ESCHEMA);
    er_sqlite_close(&c);
}

/* A number of the store's file, which nobody has open. */
static int64_t
look_into(struct fixture *f, const char *sql)
{
    struct er_sqlite c = {.db = NULL};
    int64_t value;
    assert_int_equal(sqlite3_open(f->path, &c.db), SQLITE_OK);
    assert_int_equal(er_sqlite_number(&c, sql, -1, &value), 0);
    er_sqlite_close(&c);
    return value;
}

static void
a_store_of_schema_1_goes_on_as_it_was(void **state)
{
    struct fixture *f = *state;
    static const enum er_task_state states[] = {
        ER_TASK_COMPLETED, ER_TASK_FAILED,  ER_TASK_FAILED,    ER_TASK_QUEUED,
        ER_TASK_RUNNING,   ER_TASK_BLOCKED, ER_TASK_SCHEDULED, ER_TASK_QUEUED,
    };
    f_make_schema_1(f);
    f_open(f);
    f_verify(f);
    for (er_task_id id = 1; id <= 8; id++) {
        if (id != 4) {
            assert_int_equal(f_get(f, id).state, states[id - 1]);
        }
    }
    struct er_store_state st = f_load(f);
    assert_true(st.n_running == 1 && st.n_sessions == 1 && st.n_types == 1);
    struct er_fact_filter all = {.limit = 100};
    struct er_fact *facts;
    size_t n;
    int64_t last, old = st.last_seq;
    assert_int_equal(er_store_facts(f->r, &all, &f->arena, &facts, &n, &last), 0);
    assert_true((int64_t)n == old && facts[0].topic == NULL);
    er_usec takes;
    assert_int_equal(er_store_type_takes(f->r, "shell", &takes), 0);
    assert_int_equal(takes, 0); /* nobody had asked before */
    f->session = st.sessions[0].id;
    f->now = f_get(f, 5).started_at + SEC;
    f_finish(f, f_ends(f, 5, ER_TASK_COMPLETED));
    assert_string_equal(f_facts(f), "task-completed 5/1, task-queued 6");
    struct er_topic topic = {.name = "a.b", .task = 6};
    f_begin(f);
    assert_int_equal(er_store_topic_put(f->s, f->now, &topic, 1), 0);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "c", old), 0);
    f_commit(f);
    assert_int_equal(topic.seq, old + 3);
    f_close(f);
    assert_int_equal(look_into(f, "PRAGMA user_version"), er_sqlite_schema_count);
    f_open(f);
}

static void
an_upgrade_that_fails_in_the_middle_leaves_the_store_untouched(void **state)
{
    struct fixture *f = *state;
    struct er_sqlite c = {.db = NULL};
    struct er_err err = {""};
    struct er_buf bad, before, after;
    f_make_schema_1(f);
    er_buf_init(&bad, 0);
    er_buf_init(&before, 0);
    er_buf_init(&after, 0);
    er_buf_addf(&bad, "%s; INSERT INTO nowhere VALUES (1);", er_sqlite_schema[1]);
    const char *migrations[] = {er_sqlite_schema[0], bad.data};
    assert_int_equal(er_read_file(f->path, &before, NULL), 0);
    assert_int_equal(sqlite3_open(f->path, &c.db), SQLITE_OK);
    assert_int_equal(er_sqlite_migrate(&c, migrations, 2, &err), ER_ECORRUPT);
    assert_non_null(strstr(err.text, "upgrade to schema 2: no such table: nowhere"));
    er_sqlite_close(&c);
    assert_int_equal(er_read_file(f->path, &after, NULL), 0);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, after.len);
    assert_int_equal(look_into(f, "PRAGMA user_version"), 1);
    assert_int_equal(look_into(f, "SELECT count(*) FROM pragma_table_info('event')"
                                  " WHERE name = 'topic'"),
                     0);
    f_open(f); /* the right one works then */
    f_verify(f);
    er_buf_fini(&bad);
    er_buf_fini(&before);
    er_buf_fini(&after);
}

static void
verify__finds_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    static const char *const damages[] = {
        "UPDATE tally SET n = n + 1 WHERE kind = 0 AND of = 0",
        "UPDATE tally SET n = 5 WHERE kind = 1",
        "UPDATE session SET ended_at = 1",
        "UPDATE task SET waiting = 2 WHERE state = 2",
        "UPDATE dependency SET settled = 1",
        "UPDATE task SET finished_at = NULL WHERE state = 5",
        "UPDATE task SET held = 1 WHERE state = 5",
        "UPDATE task SET lane = 77",
        "UPDATE task SET env = 77 WHERE id = 1",
        "UPDATE task SET session = NULL",
        "DELETE FROM attempt",
        "DELETE FROM event WHERE seq = 3",
        "DELETE FROM event WHERE event = 8",
        "UPDATE event SET event = 9 WHERE event = 8",
        "UPDATE event SET topic = 'a.b' WHERE event = 8",
        "UPDATE event SET event = 18 WHERE event = 1",
        "INSERT INTO event SELECT 100, event, at, task, run, attempt, lane, correlation, "
        "data, topic"
        " FROM event WHERE event = 8",
        "INSERT INTO tag (tag, task) VALUES ('a', 77)",
        "INSERT INTO item (task, name, failed, attempt, at) VALUES (77, 'a', 0, 1, 0)",
        "INSERT INTO item (task, name, failed, attempt, at) VALUES (1, 'a', 0, 1, 0)",
        "UPDATE task SET items_failed = 1 WHERE id = 1",
        "UPDATE task SET output_bytes = 1 WHERE id = 1",
        "UPDATE tally SET n = 5 WHERE kind = 2",
        "DELETE FROM tally WHERE kind = 2",
        "UPDATE task SET resumes_at = 5 WHERE state = 0",
        "UPDATE task SET resumes_at = 5 WHERE state = 4",
        "UPDATE task SET state = 3 WHERE state = 4",
        "UPDATE task SET session = NULL WHERE state = 4",
        "UPDATE task SET session = 77 WHERE state = 4",
        "UPDATE task SET held = 1 WHERE state = 4",
        "UPDATE task SET cancel_requested = 1 WHERE state = 0",
        "UPDATE task SET cancelled_by = 1 WHERE state = 5",
        "UPDATE dependency SET settled = 0",
        "INSERT INTO tombstone (id, run, state, finished_at, removed_at, body_hash)"
        " VALUES (1, 1, 5, 0, 0, 0)",
    };
    struct er_new_task row = f_new();
    row.env_json = "{}";
    er_task_id done = f_add(f, row);
    (void)f_claim(f, done);
    struct er_finish end = f_ends(f, done, ER_TASK_COMPLETED);
    end.output_bytes = 7;
    f_finish(f, end);
    (void)f_add_after(f, done, ER_AFTER_OK);
    struct er_suspend stop = {.attempt = 1, .session = f->session, .paused = true};
    stop.id = f_claim(f, f_add(f, row))->id;
    f_begin(f);
    assert_int_equal(er_store_suspend(f->s, f->now, &stop, 1), 0);
    f_commit(f);
    er_task_id runs = f_add(f, row);
    (void)f_add_after(f, runs, ER_AFTER_OK);
    (void)f_add(f, row);
    (void)f_claim(f, runs);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct er_err err = {""};
        assert_int_equal(er_sqlite_exec(&f->s->c, "SAVEPOINT whole"), 0);
        assert_int_equal(er_sqlite_exec(&f->s->c, damages[i]), 0);
        if (er_store_verify(f->s, &err) != ER_ECORRUPT || err.text[0] == '\0') {
            fail_msg("not found: %s (%s)", damages[i], err.text);
        }
        assert_int_equal(er_sqlite_exec(&f->s->c, "ROLLBACK TO whole; RELEASE whole"), 0);
        assert_int_equal(er_store_verify(f->s, &err), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FILE(a_newer_store_is_refused_untouched),
        ON_FILE(what_is_not_a_database_is_refused),
        ON_FILE(the_database_of_another_program_is_refused),
        ON_FILE(an_empty_file_becomes_a_store),
        ON_FILE(a_store_that_was_cut_short_is_refused),
        ON_FILE(a_store_that_lacks_a_table_is_refused),
        ON_FILE(a_folder_that_is_not_there_is_named),
        BOTH(check__finds_a_damaged_page),
        ON_FILE(what_was_committed_survives_a_process_that_is_killed),
        ON_FILE(everything_is_there_after_reopening),
        ON_FILE(ids_are_never_used_again),
        ON_FILE(the_reader_sees_only_what_is_committed_and_cannot_write),
        ON_FILE(the_settings_are_those_that_durability_needs),
        cmocka_unit_test(an_older_schema_is_brought_up_in_one_transaction),
        ON_FILE(a_store_of_schema_1_goes_on_as_it_was),
        ON_FILE(an_upgrade_that_fails_in_the_middle_leaves_the_store_untouched),
        BOTH(verify__finds_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
