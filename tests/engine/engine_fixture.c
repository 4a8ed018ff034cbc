/* SPDX-License-Identifier: MIT */
#include "engine_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "../store/fault_vfs.h"
#include "base/count.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proctree.h"

#define WAIT_MS 600000 /* longest wait for anything */

static er_usec
fake_wall(void *ctx)
{
    return ((struct fixture *)ctx)->wall;
}

static er_usec
fake_mono(void *ctx)
{
    return ((struct fixture *)ctx)->mono;
}

/* ---- life ---- */

void
f_open(struct fixture *f)
{
    struct er_err err = {""};
    if (er_loop_new(&f->loop, &err)) {
        fail_msg("%s", err.text);
    }
    (void)uv_timer_init(er_loop_uv(f->loop), f->timer);
    f->timer->data = f;
    f->options.loop = f->loop;
    if (er_engine_open(&f->options, &f->e, &err)) {
        fail_msg("%s", err.text);
    }
}

void
f_close(struct fixture *f)
{
    for (struct worker *w = f->workers; w; w = w->next) {
        w_detach(w);
    }
    er_engine_stop(f->e);
    for (int i = 0; i < 3; i++) {
        (void)uv_run(er_loop_uv(f->loop), UV_RUN_NOWAIT);
    }
    er_engine_free(f->e);
    er_loop_free(f->loop);
    f->e = NULL;
    f->loop = NULL;
}

int
f_setup(void **state)
{
    er_log_set_level(getenv("TEST_LOG") ? ER_LOG_INFO : ER_LOG_ERROR);
    fault_vfs_install();
    fault_vfs_mend();
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/errand-engine-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof f->path, "%s/tasks.db", f->folder);
    (void)snprintf(f->logs, sizeof f->logs, "%s/logs", f->folder);
    assert_int_equal(mkdir(f->logs, 0700), 0);
    f->kept = json_array();
    f->timer = calloc(1, sizeof *f->timer);
    assert_non_null(f->timer);
    assert_int_equal(pipe(f->gate), 0);
    assert_int_equal(pipe(f->reached), 0);
    f->wall = er_clock_wall(er_clock_system());
    f->mono = SEC;
    f->clock = (struct er_clock){fake_wall, fake_mono, fake_mono, f};
    f->options = (struct er_engine_options){
        .clock = &f->clock,
        .store_path = f->path,
        .logs = f->logs,
        .retention = {.keep = 100000,
                      .keep_for = 3600 * SEC,
                      .tombstone_for = 3600 * SEC,
                      .facts = 1000000,
                      .facts_for = 3600 * SEC,
                      .only_state = -1},
        .max_losses = ER_MAX_LOSSES,
        .backoff_cap = 30 * SEC,
        .inline_store = getenv("TEST_INLINE") != NULL,
    };
    f_open(f);
    *state = f;
    return 0;
}

static void
remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    while (d && (entry = readdir(d)) != NULL) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlink(path) != 0) {
            remove_folder(path);
        }
    }
    if (d) {
        (void)closedir(d);
    }
    (void)rmdir(folder);
}

/* The store as it was left is in order. */
static void
verify(struct fixture *f)
{
    struct er_store *s;
    struct er_err err = {""};
    if (er_store_open(f->path, &s, &err)) {
        fail_msg("%s", err.text);
    }
    int rc = er_store_verify(s, &err);
    er_store_close(s);
    if (rc) {
        fail_msg("%s", err.text);
    }
}

int
f_teardown(void **state)
{
    struct fixture *f = *state;
    fault_vfs_mend();
    f_close(f);
    while (f->workers) {
        struct worker *w = f->workers;
        f->workers = w->next;
        er_buf_fini(&w->link.out);
        json_decref(w->lines);
        free(w);
    }
    for (int i = 0; i < 2; i++) {
        (void)close(f->gate[i]);
        (void)close(f->reached[i]);
    }
    verify(f);
    remove_folder(f->folder);
    er_arena_free(&f->arena);
    json_decref(f->kept);
    free(f->timer);
    free(f);
    return 0;
}

/* ---- turning ---- */

static void
check_permits(struct fixture *f, const struct er_limit_live *l)
{
    int n = 0;
    struct er_live_attempt *run, *next;
    HASH_ITER (hh, f->e->runs, run, next) {
        bool passed =
            l == &run->lane->queue->limit || l == run->lane->type || l == run->lane->key;
        n += passed && run->phase != ER_LIVE_ENDING;
    }
    if (n != l->running) {
        fail_msg("limit '%s' counts %d permits for %d runs", l->name, l->running, n);
    }
}

/* Permits and loads agree with the runs. */
static void
check_accounts(struct fixture *f)
{
    struct er_queue_live *q, *q_next;
    HASH_ITER (hh, f->e->queues, q, q_next) {
        check_permits(f, &q->limit);
    }
    struct er_limit_live *l, *l_next;
    HASH_ITER (hh, f->e->types, l, l_next) {
        check_permits(f, l);
    }
    size_t checked = 0; /* there may be thousands of keys */
    HASH_ITER (hh, f->e->keys, l, l_next) {
        if (checked++ == 20) {
            break;
        }
        check_permits(f, l);
    }
    struct er_session_live *s, *s_next;
    HASH_ITER (hh, f->e->sessions, s, s_next) {
        int n = 0;
        struct er_live_attempt *run;
        TAILQ_FOREACH (run, &s->runs, in_session) {
            n += run->phase != ER_LIVE_ENDING;
        }
        if (n != s->load) {
            fail_msg("session %lld counts a load of %d for %d runs", (long long)s->id,
                     s->load, n);
        }
    }
}

static void
on_late(uv_timer_t *timer)
{
    ((struct fixture *)timer->data)->late = true;
}

void
f_begin_wait(struct fixture *f)
{
    f->late = false;
    (void)uv_timer_start(f->timer, on_late, WAIT_MS, 0);
}

void
f_turn(struct fixture *f, const char *what)
{
    /* without threads all happens before the loop would sleep, and nothing wakes it */
    (void)uv_run(er_loop_uv(f->loop),
                 f->options.inline_store ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    check_accounts(f);
    if (f->late) {
        fail_msg("it never came: %s", what);
    }
}

struct marker {
    struct er_op op;
    bool *done;
};

static int
run_marker(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)op;
    (void)s;
    (void)now;
    return 0;
}

static void
done_marker(struct er_op *op, int rc)
{
    (void)rc;
    struct marker *m = (struct marker *)(void *)op;
    *m->done = true;
    free(m);
}

static void
one_crossing(struct fixture *f)
{
    static bool done; /* a test that gave up must not be written to on its stack */
    struct marker *m = calloc(1, sizeof *m);
    assert_non_null(m);
    done = false;
    m->op.run = run_marker;
    m->op.done = done_marker;
    m->done = &done;
    er_engine_post(f->e, &m->op);
    f_until(f, done);
}

struct errand_job {
    struct er_job job;
    bool *done;
};

static void
run_errand_job(struct er_job *job, void *thread_ctx)
{
    (void)job;
    (void)thread_ctx;
}

static void
done_errand_job(struct er_job *job)
{
    struct errand_job *j = (struct errand_job *)(void *)job;
    *j->done = true;
    free(j);
}

static void
files_idle(struct fixture *f)
{
    static bool done;
    struct errand_job *j = calloc(1, sizeof *j);
    assert_non_null(j);
    done = false;
    j->job.run = run_errand_job;
    j->job.done = done_errand_job;
    j->done = &done;
    er_engine_files(f->e, &j->job);
    f_until(f, done);
}

/* What comes back may cause another crossing, three deep at most (a report, the claim
 * that follows, a look behind a window). */
void
f_settle(struct fixture *f)
{
    for (int i = 0; i < 4; i++) {
        one_crossing(f);
        files_idle(f);
    }
}

void
f_pass(struct fixture *f, er_usec span)
{
    f->wall += span;
    f->mono += span;
    er_loop_set_alarm(f->loop, ++f->kicks); /* long ago: now, that is */
    f_settle(f);
}

struct gate_op {
    struct er_op op;
    struct fixture *f;
};

static int
run_gate(struct er_op *op, struct er_store *s, er_usec now)
{
    char byte = 0;
    (void)s;
    (void)now;
    struct fixture *f = ((struct gate_op *)(void *)op)->f;
    bool ok = write(f->reached[1], &byte, 1) == 1 && read(f->gate[0], &byte, 1) == 1;
    return ok ? 0 : ER_EINVALID;
}

static void
done_gate(struct er_op *op, int rc)
{
    /* what came while it was closed crosses with it, and may fail the crossing */
    assert_int_not_equal(rc, ER_EINVALID);
    ((struct gate_op *)(void *)op)->f->gate_rc = rc;
    free(op);
}

void
f_flush(struct fixture *f)
{
    (void)uv_run(er_loop_uv(f->loop), UV_RUN_NOWAIT);
    check_accounts(f);
}

void
f_block(struct fixture *f)
{
    assert_false(f->options.inline_store); /* there is no thread that could be held */
    struct gate_op *g = calloc(1, sizeof *g);
    assert_non_null(g);
    f_settle(f);
    g->op.run = run_gate;
    g->op.done = done_gate;
    g->f = f;
    er_engine_post(f->e, &g->op);
    f_flush(f);
    /* what is posted from here on comes too late for it, and goes with it all the same */
    char byte;
    assert_int_equal(read(f->reached[0], &byte, 1), 1);
}

void
f_unblock(struct fixture *f)
{
    assert_int_equal(write(f->gate[1], "", 1), 1);
    f_settle(f);
}

/* ---- lists of tests ---- */

int f_held;

int
f_run(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
      CMFixtureFunction teardown)
{
    static struct CMUnitTest chosen[100];
    size_t n_chosen = 0;
    bool threads = getenv("TEST_INLINE") == NULL;
    for (size_t i = 0; i < n && n_chosen < 100; i++) {
        if (threads || tests[i].initial_state != &f_held) {
            chosen[n_chosen] = tests[i];
            chosen[n_chosen++].initial_state = NULL;
        }
    }
    return _cmocka_run_group_tests("tests", chosen, n_chosen, setup, teardown);
}

/* ---- tasks ---- */

struct er_new_task
f_new(void)
{
    return (struct er_new_task){.type = "shell",
                                .queue = "default",
                                .name = "t",
                                .args_json = "{\"argv\":[\"true\"]}",
                                .correlation = "c",
                                .backoff_for = SEC,
                                .grace_for = 5 * SEC,
                                .run_at = ER_NEVER,
                                .expires_at = ER_NEVER};
}

struct submit {
    struct er_submit s;
    int *out_rc;
    er_task_id *out_ids;
};

static void
done_submit(struct er_submit *s, int rc)
{
    struct submit *sub = (struct submit *)(void *)s;
    for (size_t i = 0; i < s->n; i++) {
        rc = rc ? rc : s->rows[i].status;
        if (sub->out_ids) {
            sub->out_ids[i] = s->rows[i].id;
        }
    }
    *sub->out_rc = rc;
    er_arena_free(&s->arena);
    free(sub);
}

void
f_post_submit(struct fixture *f, const struct er_new_task *rows, size_t n, int *out_rc,
              er_task_id *out_ids)
{
    struct submit *sub = calloc(1, sizeof *sub);
    assert_non_null(sub);
    sub->s.rows = er_arena_memdup(&sub->s.arena, rows, n * sizeof *rows);
    assert_non_null(sub->s.rows);
    sub->s.n = n;
    sub->s.done = done_submit;
    sub->out_rc = out_rc;
    sub->out_ids = out_ids;
    *out_rc = 1;
    er_engine_submit(f->e, &sub->s);
}

er_task_id
f_add(struct fixture *f, struct er_new_task row)
{
    return f_add_many(f, row, 1);
}

er_task_id
f_add_many(struct fixture *f, struct er_new_task row, size_t n)
{
    int rc;
    struct er_new_task *rows = calloc(n, sizeof *rows);
    er_task_id *ids = calloc(n, sizeof *ids);
    assert_true(rows && ids);
    for (size_t i = 0; i < n; i++) {
        rows[i] = row;
    }
    f_post_submit(f, rows, n, &rc, ids);
    f_until(f, rc <= 0);
    er_task_id first = ids[0];
    free(rows);
    free(ids);
    assert_int_equal(rc, 0);
    return first;
}

struct change {
    struct er_change_request c;
    struct er_change row;
    int *out;
};

static void
done_change(struct er_change_request *c, int rc)
{
    struct change *ch = (struct change *)(void *)c;
    *ch->out = rc ? rc : ch->row.status;
    er_arena_free(&c->arena);
    free(ch);
}

static struct change *
new_change(enum er_change_kind kind, er_task_id id, int *out)
{
    struct change *ch = calloc(1, sizeof *ch);
    assert_non_null(ch);
    ch->row.id = id;
    ch->c.kind = kind;
    ch->c.rows = &ch->row;
    ch->c.n = 1;
    ch->c.reason = "a test asked";
    ch->c.by = "tester";
    ch->c.done = done_change;
    ch->out = out;
    *out = 1;
    return ch;
}

void
f_post_change(struct fixture *f, enum er_change_kind kind, er_task_id id, bool hold,
              int *out)
{
    struct change *ch = new_change(kind, id, out);
    ch->c.hold = hold;
    er_engine_change(f->e, &ch->c);
}

int
f_change(struct fixture *f, enum er_change_kind kind, er_task_id id)
{
    int rc;
    f_post_change(f, kind, id, false, &rc);
    f_until(f, rc <= 0);
    return rc;
}

void
f_edit(struct fixture *f, er_task_id id, struct er_edit edit)
{
    int rc;
    struct change *ch = new_change(ER_CHANGE_EDIT, id, &rc);
    ch->c.edit = edit;
    er_engine_change(f->e, &ch->c);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
}

struct get {
    struct er_query q;
    struct fixture *f;
    er_task_id id;
    struct er_task task;
    bool done;
};

static void
run_get(struct er_query *q, struct er_store_reader *r)
{
    struct get *g = (struct get *)(void *)q;
    q->rc = er_store_get(r, g->id, true, &g->f->arena, &g->task);
}

static void
done_get(struct er_query *q)
{
    ((struct get *)(void *)q)->done = true;
}

struct er_task
f_get(struct fixture *f, er_task_id id)
{
    struct get *g = er_arena_alloc(&f->arena, sizeof *g);
    assert_non_null(g);
    g->f = f;
    g->id = id;
    g->q.run = run_get;
    g->q.done = done_get;
    er_engine_query(f->e, &g->q);
    f_until(f, g->done);
    assert_int_equal(g->q.rc, 0);
    return g->task;
}

struct queue_put {
    struct er_op op;
    struct er_queue queue;
    int *out;
};

static int
run_queue_put(struct er_op *op, struct er_store *s, er_usec now)
{
    return er_store_queue_put(s, now, &((struct queue_put *)(void *)op)->queue);
}

static void
done_queue_put(struct er_op *op, int rc)
{
    *((struct queue_put *)(void *)op)->out = rc;
}

void
f_queue(struct fixture *f, const char *name, int concurrency, bool paused)
{
    int rc = 1;
    struct queue_put p = {
        .op = {.run = run_queue_put, .done = done_queue_put},
        .queue = {.name = name, .concurrency = concurrency, .paused = paused},
        .out = &rc};
    er_engine_post(f->e, &p.op);
    f_until(f, rc <= 0);
    assert_int_equal(rc, 0);
    er_engine_queue_changed(f->e, &p.queue);
}

void
f_type(struct fixture *f, const char *name, int concurrency)
{
    const char *command[] = {"true"};
    struct er_type t;
    er_type_init(&t, name);
    t.command = command;
    t.n_command = 1;
    t.concurrency = concurrency;
    er_engine_type_changed(f->e, &t);
}

void
f_handled(struct fixture *f, const char *name)
{
    struct er_type t;
    er_type_init(&t, name);
    t.handler = true;
    er_engine_type_changed(f->e, &t);
}

/* ---- facts ---- */

static void
on_sub_wake(void *ctx)
{
    ((struct sub *)ctx)->woken = true;
}

void
s_open(struct fixture *f, struct sub *s, const struct er_sub_filter *filter,
       int64_t since)
{
    static const struct er_sub_filter all;
    *s = (struct sub){.f = f, .woken = true};
    er_buf_init(&s->got, 0);
    s->sub = er_engine_subscribe(f->e, filter ? filter : &all, since, on_sub_wake, s);
}

void
s_close(struct sub *s)
{
    er_engine_unsubscribe(s->sub);
    er_buf_fini(&s->got);
}

void
s_pull(struct sub *s)
{
    while (s->woken) {
        size_t before = s->got.len;
        s->woken = false;
        er_sub_pull(s->sub, &s->got, before + 65536);
        if (s->got.len > before) {
            s->woken = true; /* there may be more than what had room */
        }
    }
}

json_t *
s_take(struct sub *s, int64_t *out_id)
{
    s_pull(s);
    char *end = s->got.len ? strstr(s->got.data, "\n\n") : NULL;
    if (!end) {
        return NULL;
    }
    const char *data = strstr(s->got.data, "data: ");
    assert_true(data && data < end);
    *out_id =
        strncmp(s->got.data, "id: ", 4) == 0 ? strtoll(s->got.data + 4, NULL, 10) : 0;
    json_error_t je;
    json_t *o =
        json_loadb(data + 6, (size_t)(end - data) - 6, JSON_REJECT_DUPLICATES, &je);
    if (!o) {
        fail_msg("a frame is not JSON: %s: %.*s", je.text, (int)(end - data), data);
    }
    er_buf_drop(&s->got, (size_t)(end - s->got.data) + 2);
    return o;
}

static void
add_fact(struct fixture *f, size_t *len, const json_t *o)
{
    int attempt = (int)json_integer_value(json_object_get(o, "attempt"));
    char number[16] = "";
    if (attempt) {
        (void)snprintf(number, sizeof number, "/%d", attempt);
    }
    *len += (size_t)snprintf(f->text + *len, sizeof f->text - *len, "%s%s%s",
                             *len ? ", " : "",
                             json_string_value(json_object_get(o, "event")), number);
    assert_true(*len < sizeof f->text);
}

/* Calls fn with every fact so far. */
static void
each_fact(struct fixture *f, void (*fn)(void *ctx, const json_t *fact), void *ctx)
{
    struct sub s;
    int64_t seq = 0, to = er_engine_last_seq(f->e);
    s_open(f, &s, NULL, 0);
    f_begin_wait(f);
    while (seq < to) {
        int64_t id;
        json_t *o = s_take(&s, &id);
        if (o) {
            assert_int_equal(id, seq + 1);
            seq = id;
            fn(ctx, o);
            json_decref(o);
        } else {
            f_turn(f, "the facts");
        }
    }
    s_close(&s);
}

struct fact_list {
    struct fixture *f;
    er_task_id id;
    size_t len;
    enum er_event event;
    json_t *data;
};

static bool
is_about(const struct fact_list *l, const json_t *fact)
{
    return l->id == 0 || json_integer_value(json_object_get(fact, "task")) == l->id;
}

static void
list_fact(void *ctx, const json_t *fact)
{
    struct fact_list *l = ctx;
    if (is_about(l, fact)) {
        add_fact(l->f, &l->len, fact);
    }
}

const char *
f_facts(struct fixture *f, er_task_id id)
{
    struct fact_list l = {.f = f, .id = id};
    f->text[0] = '\0';
    each_fact(f, list_fact, &l);
    return f->text;
}

static void
keep_data(void *ctx, const json_t *fact)
{
    struct fact_list *l = ctx;
    const char *word = json_string_value(json_object_get(fact, "event"));
    if (is_about(l, fact) && strcmp(word, er_event_word(l->event)) == 0) {
        l->data = json_object_get(fact, "data");
        (void)json_array_append(l->f->kept, l->data);
    }
}

json_t *
f_data(struct fixture *f, er_task_id id, enum er_event event)
{
    struct fact_list l = {.f = f, .id = id, .event = event};
    each_fact(f, keep_data, &l);
    if (!l.data) {
        fail_msg("no %s about task %lld", er_event_word(event), (long long)id);
    }
    return l.data;
}

/* ---- trees ---- */

static struct er_count kills_left, kills_answer;

void
f_kills(int n, int answer)
{
    er_count_set(&kills_answer, answer);
    er_count_set(&kills_left, n);
}

int
f_kills_left(void)
{
    return (int)er_count_get(&kills_left);
}

int __real_er_proctree_kill(const char *prefix, pid_t root, int tries,
                            struct er_proctree *left);
int __wrap_er_proctree_kill(const char *prefix, pid_t root, int tries,
                            struct er_proctree *left);
int
__wrap_er_proctree_kill(const char *prefix, pid_t root, int tries,
                        struct er_proctree *left)
{
    if (er_count_get(&kills_left) > 0) {
        er_count_own(&kills_left, -1);
        return (int)er_count_get(&kills_answer);
    }
    return __real_er_proctree_kill(prefix, root, tries, left);
}

static struct er_count facts_left;

void
f_facts_fail(int n)
{
    er_count_set(&facts_left, n);
}

int __real_er_store_facts(struct er_store_reader *r, const struct er_fact_filter *f,
                          struct er_arena *arena, struct er_fact **out, size_t *out_n,
                          int64_t *out_last);
int __wrap_er_store_facts(struct er_store_reader *r, const struct er_fact_filter *f,
                          struct er_arena *arena, struct er_fact **out, size_t *out_n,
                          int64_t *out_last);
int
__wrap_er_store_facts(struct er_store_reader *r, const struct er_fact_filter *f,
                      struct er_arena *arena, struct er_fact **out, size_t *out_n,
                      int64_t *out_last)
{
    if (er_count_get(&facts_left) > 0) {
        er_count_own(&facts_left, -1);
        return ER_EIO;
    }
    return __real_er_store_facts(r, f, arena, out, out_n, out_last);
}

/* ---- workers ---- */

static void
on_link_wake(struct er_link *link)
{
    ((struct worker *)(void *)link)->woken = true;
}

static void
on_opened(void *ctx, int64_t session, int rc)
{
    struct worker *w = ctx;
    w->session = session;
    w->rc = rc;
}

static void
find_token(void *ctx, const struct er_session_view *view)
{
    struct worker *w = ctx;
    if (view->id == w->session) {
        (void)snprintf(w->token, sizeof w->token, "%s", view->token);
    }
}

struct worker *
w_new(struct fixture *f, int slots)
{
    return w_handlers(f, slots, NULL);
}

struct worker *
w_handlers(struct fixture *f, int slots, const char *const *types)
{
    struct worker *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->f = f;
    w->slots = slots;
    w->types = types;
    w->link.wake = on_link_wake;
    w->lines = json_array();
    er_buf_init(&w->link.out, 0);
    w->next = f->workers;
    f->workers = w;
    w->rc = 1;
    if (types) {
        er_engine_session_open_handlers(f->e, 1, on_opened, w);
    } else {
        er_engine_session_open(f->e, 1, on_opened, w);
    }
    f_until(f, w->rc <= 0);
    assert_int_equal(w->rc, 0);
    er_engine_sessions(f->e, find_token, w);
    assert_int_equal(w_attach(w, NULL, 0, NULL, 0), 0);
    return w;
}

int
w_attach(struct worker *w, const struct er_held *held, size_t n_held,
         const struct er_held *owed, size_t n_owed)
{
    struct er_hello hello = {.session = w->session,
                             .token = w->token,
                             .pid = 1,
                             .slots = w->slots,
                             .held = held,
                             .n_held = n_held,
                             .owed = owed,
                             .n_owed = n_owed,
                             .types = w->types,
                             .pings = w->pings};
    while (w->types && w->types[hello.n_types]) {
        hello.n_types++;
    }
    er_buf_clear(&w->link.out);
    (void)json_array_clear(w->lines);
    w->rc = er_engine_session_attach(w->f->e, &hello, &w->link, "{\"welcome\":{}}\n");
    w->attached = w->rc == 0;
    return w->rc;
}

void
w_detach(struct worker *w)
{
    if (w->attached) {
        er_engine_session_detach(w->f->e, &w->link);
        w->attached = false;
    }
}

void
w_die(struct worker *w)
{
    w->attached = false;
    er_engine_session_dead(w->f->e, w->session, true);
}

/* Moves what came over the link to the list of lines. */
static void
read_link(struct worker *w)
{
    struct er_buf *out = &w->link.out;
    char *end;
    while (out->len > 0 && (end = memchr(out->data, '\n', out->len)) != NULL) {
        json_error_t je;
        json_t *o = json_loadb(out->data, (size_t)(end - out->data), 0, &je);
        if (!o || json_object_size(o) != 1) {
            fail_msg("not a line: %.*s", (int)(end - out->data), out->data);
        }
        (void)json_array_append_new(w->lines, o);
        er_buf_drop(out, (size_t)(end - out->data) + 1);
    }
    w->woken = false;
}

size_t
w_count(struct worker *w, const char *kind)
{
    size_t n = 0;
    read_link(w);
    for (size_t i = 0; i < json_array_size(w->lines); i++) {
        n += json_object_get(json_array_get(w->lines, i), kind) != NULL;
    }
    return n;
}

json_t *
w_peek(struct worker *w, const char *kind)
{
    read_link(w);
    for (size_t i = 0; i < json_array_size(w->lines); i++) {
        json_t *line = json_array_get(w->lines, i), *o = json_object_get(line, kind);
        if (o) {
            (void)json_array_append(w->f->kept, o);
            (void)json_array_remove(w->lines, i);
            return o;
        }
    }
    return NULL;
}

json_t *
w_take(struct worker *w, const char *kind)
{
    json_t *o;
    f_begin_wait(w->f);
    while (!(o = w_peek(w, kind))) {
        f_turn(w->f, kind);
    }
    return o;
}

static struct er_held
held_of(const json_t *o)
{
    return (struct er_held){
        .task = json_integer_value(json_object_get(o, "task")),
        .attempt = (int)json_integer_value(json_object_get(o, "attempt")),
        .pid = 4242,
        .started_at = ER_NEVER,
    };
}

bool
w_has_run(struct worker *w, struct er_held *out)
{
    const json_t *o = w_peek(w, "run");
    if (o) {
        *out = held_of(o);
    }
    return o != NULL;
}

struct er_held
w_run(struct worker *w)
{
    return held_of(w_take(w, "run"));
}

struct report {
    struct worker *w;
    int *out_rc;
};

static void
on_reported(void *ctx, int rc, const struct er_held *lost, size_t n_lost)
{
    struct report *r = ctx;
    *r->out_rc = rc;
    r->w->n_lost = n_lost;
    for (size_t i = 0; i < n_lost && i < 64; i++) {
        r->w->lost[i] = lost[i];
    }
    free(r);
}

void
w_post(struct worker *w, int *out_rc, const char *text)
{
    struct er_err err = {""};
    struct report *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->w = w;
    r->out_rc = out_rc;
    *out_rc = 1;
    struct er_report_batch *b = er_engine_report_new(w->f->e, w->session, w->token);
    if (!b) {
        *out_rc = ER_ELOST;
        free(r);
        return;
    }
    while (*text) {
        size_t n = strcspn(text, "\n");
        int rc = er_engine_report_line(b, text, n, &err);
        if (rc) {
            er_engine_report_drop(b);
            *out_rc = rc;
            free(r);
            return;
        }
        text += n + (text[n] == '\n');
    }
    er_engine_report_send(b, on_reported, r);
}

int
w_report(struct worker *w, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    assert_true(vasprintf(&text, format, args) >= 0);
    va_end(args);
    w->rc = 1;
    w_post(w, &w->rc, text);
    free(text);
    f_until(w->f, w->rc <= 0);
    return w->rc;
}

int
w_start(struct worker *w, struct er_held h)
{
    char at[ER_RFC3339_SIZE];
    er_time_format(w->f->wall, at);
    return w_report(w,
                    "{\"started\":{\"task\":%lld,\"attempt\":%d,\"pid\":4242,"
                    "\"started_at\":\"%s\"}}",
                    (long long)h.task, h.attempt, at);
}

char *
w_finished(struct fixture *f, struct er_held h, int exit_code, const char *more)
{
    char at[ER_RFC3339_SIZE];
    er_usec wall = f->wall;
    er_time_format(wall, at);
    char *text =
        er_xasprintf("{\"finished\":{\"task\":%lld,\"attempt\":%d,\"exit_code\":%d,"
                     "\"signal\":0,\"started_at\":\"%s\",\"finished_at\":\"%s\"%s}}\n",
                     (long long)h.task, h.attempt, exit_code, at, at, more);
    char *copy = er_arena_strdup(&f->arena, text);
    er_free(text);
    assert_non_null(copy);
    return copy;
}

int
w_end(struct worker *w, struct er_held h, int exit_code)
{
    return w_report(w, "%s", w_finished(w->f, h, exit_code, ""));
}
