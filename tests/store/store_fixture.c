/* SPDX-License-Identifier: MIT */
#include "store_fixture.h"

#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"

static void
must(struct fixture *f, int rc, const char *what)
{
    if (rc) {
        fail_msg("%s: %s (%s)", what, er_error_meaning(rc), er_store_failure(f->s));
    }
}

void
f_open(struct fixture *f)
{
    struct er_err err = {""};
    if (er_store_open(f->path, &f->s, &err) || er_store_reader_open(f->s, &f->r, &err)) {
        fail_msg("%s", err.text);
    }
}

void
f_close(struct fixture *f)
{
    er_store_reader_close(f->r);
    er_store_close(f->s);
    f->r = NULL;
    f->s = NULL;
}

void
f_reopen(struct fixture *f)
{
    f_close(f);
    f_open(f);
}

void
f_make_schema_1(struct fixture *f)
{
    static const char ours[] = "PRAGMA application_id = 0x45525244;"
                               "PRAGMA user_version = 1; PRAGMA journal_mode = WAL";
    struct er_buf sql;
    sqlite3 *db;
    char *why = NULL;
    const char *from = getenv("TEST_SCHEMA_1");
    assert_non_null(from);
    f_close(f);
    (void)unlink(f->path);
    er_buf_init(&sql, 0);
    assert_int_equal(er_read_file(from, &sql, NULL), 0);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql.data, NULL, NULL, &why) != SQLITE_OK ||
        sqlite3_exec(db, ours, NULL, NULL, &why) != SQLITE_OK) {
        fail_msg("%s", why);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    er_buf_fini(&sql);
}

int
f_setup(void **state)
{
    const char *kind = *state;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->in_memory = strcmp(kind, "memory") == 0;
    f->now = T0;
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/errand-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof f->path, "%s/tasks.db", f->folder);
    if (f->in_memory) {
        (void)snprintf(f->path, sizeof f->path, ":memory:");
    }
    f_open(f);
    f->session = f_open_session(f, "w1");
    *state = f;
    return 0;
}

static void
remove_folder(const char *folder)
{
    char path[512];
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        (void)unlink(path);
    }
    if (dir) {
        (void)closedir(dir);
    }
    (void)rmdir(folder);
}

int
f_teardown(void **state)
{
    struct fixture *f = *state;
    f_close(f);
    er_arena_free(&f->fx.arena);
    er_arena_free(&f->arena);
    remove_folder(f->folder);
    free(f);
    return 0;
}

void
f_begin(struct fixture *f)
{
    must(f, er_store_begin(f->s), "begin");
}

void
f_verify(struct fixture *f)
{
    struct er_err err = {""};
    if (er_store_verify(f->s, &err)) {
        fail_msg("after a commit: %s", err.text);
    }
}

void
f_commit(struct fixture *f)
{
    er_arena_free(&f->fx.arena);
    must(f, er_store_commit(f->s, &f->fx), "commit");
    if (!f->large) {
        f_verify(f);
    }
}

int64_t
f_open_session(struct fixture *f, const char *worker)
{
    struct er_session session = {.worker = worker, .token = "00ff", .pid = 77};
    f_begin(f);
    must(f, er_store_session_open(f->s, f->now, &session), "session");
    f_commit(f);
    return session.id;
}

struct er_new_task
f_new(void)
{
    return (struct er_new_task){
        .type = "shell",
        .queue = "default",
        .name = "t",
        .args_json = "{}",
        .correlation = "c",
        .run_at = ER_NEVER,
        .expires_at = ER_NEVER,
    };
}

er_task_id
f_add(struct fixture *f, struct er_new_task row)
{
    f_begin(f);
    must(f, er_store_submit(f->s, f->now, &row, 1, false), "submit");
    must(f, row.status, "submitted row");
    f_commit(f);
    return row.id;
}

er_task_id
f_add_after(struct fixture *f, er_task_id on, enum er_after_when when)
{
    struct er_new_after after = {.id = on, .ref = -1, .when = when};
    struct er_new_task row = f_new();
    row.after = &after;
    row.n_after = 1;
    return f_add(f, row);
}

struct er_task *
f_claim(struct fixture *f, er_task_id id)
{
    struct er_claim row = {.id = id, .session = f->session};
    f_begin(f);
    must(f, er_store_claim(f->s, f->now, &row, 1, &f->arena), "claim");
    must(f, row.status, "claimed row");
    f_commit(f);
    return row.task;
}

struct er_finish
f_ends(struct fixture *f, er_task_id id, enum er_task_state state)
{
    bool good = state == ER_TASK_COMPLETED;
    return (struct er_finish){
        .id = id,
        .attempt = f_get(f, id).attempt,
        .session = f->session,
        .state = state,
        .run_at = ER_NEVER,
        .started_at = f->now,
        .finished_at = f->now + SEC,
        .outcome = good ? ER_OUTCOME_COMPLETED : ER_OUTCOME_FAILED,
        .has_exit_code = true,
        .exit_code = good ? 0 : 3,
        .event = state == ER_TASK_SCHEDULED ? ER_EVENT_TASK_RETRYING
                                            : er_event_of_state(state),
        .event_data_json = "{}",
    };
}

void
f_finish(struct fixture *f, struct er_finish row)
{
    f_begin(f);
    must(f, er_store_finish(f->s, f->now, &row, 1), "finish");
    must(f, row.status, "finished row");
    f_commit(f);
}

void
f_run(struct fixture *f, er_task_id id, enum er_task_state state)
{
    (void)f_claim(f, id);
    f_finish(f, f_ends(f, id, state));
}

struct er_change
f_change(er_task_id id)
{
    return (struct er_change){.id = id, .status = 1};
}

struct er_task
f_get(struct fixture *f, er_task_id id)
{
    struct er_task t;
    must(f, er_store_get(f->r, id, true, &f->arena, &t), "get");
    return t;
}

const char *
f_facts(struct fixture *f)
{
    size_t at = 0;
    f->text[0] = '\0';
    for (size_t i = 0; i < f->fx.n_facts && at < sizeof f->text; i++) {
        const struct er_fact *fact = &f->fx.facts[i];
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%s %lld",
                               i ? ", " : "", er_event_word(fact->event),
                               (long long)fact->task);
        if (fact->attempt && at < sizeof f->text) {
            at +=
                (size_t)snprintf(f->text + at, sizeof f->text - at, "/%d", fact->attempt);
        }
    }
    return f->text;
}

const char *
f_data(struct fixture *f, size_t i)
{
    assert_true(i < f->fx.n_facts);
    return f->fx.facts[i].data_json;
}

const char *
f_ready(struct fixture *f)
{
    size_t at = 0;
    f->text[0] = '\0';
    for (size_t i = 0; i < f->fx.n_ready && at < sizeof f->text; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%lld", i ? " " : "",
                               (long long)f->fx.ready[i].id);
    }
    return f->text;
}

struct er_store_state
f_load(struct fixture *f)
{
    struct er_store_state state;
    must(f, er_store_load(f->s, &f->arena, &state), "load");
    return state;
}

int64_t
f_count(struct fixture *f, const char *queue, enum er_task_state state)
{
    struct er_store_state st = f_load(f);
    for (size_t i = 0; i < st.n_counters; i++) {
        if (strcmp(st.counters[i].queue, queue) == 0) {
            return st.counters[i].n[state];
        }
    }
    return 0;
}
