/* SPDX-License-Identifier: MIT */
/* What the engine's tests share: a real engine on a real store in a folder of its own and
 * a real loop, with a clock that stands still until it is moved and a disk that fails
 * when told to. Workers are played: they take the lines of a link and hand in reports.
 *
 * Nothing here sleeps: f_until turns the loop until something holds, and fails the test
 * after a minute. After each turn the engine's accounts (permits of queues, loads of
 * sessions) are compared with its runs. */
#ifndef ER_TESTS_ENGINE_FIXTURE_H
#define ER_TESTS_ENGINE_FIXTURE_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <jansson.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/engine_priv.h"

#define SEC ER_USEC_PER_SEC

struct worker;
struct uv_timer_s;
struct fixture {
    char folder[64], path[96], logs[96];
    struct er_loop *loop;
    struct er_engine *e;
    struct er_engine_options options;
    struct er_clock clock;
    _Atomic er_usec wall, mono; /* what the clock says */
    er_usec kicks;
    struct uv_timer_s *timer; /* the deadline of f_until */
    bool late;                /* it is over */
    int gate[2], reached[2];  /* pipes that hold the store's thread; see f_block */
    int gate_rc;              /* of the gate's crossing */
    struct worker *workers;
    struct er_arena arena; /* what is read; freed at the end of the test */
    json_t *kept;          /* likewise */
    char text[1 << 16];    /* what f_facts gave */
};

/* For cmocka. Teardown also checks the store against itself. */
int f_setup(void **state);
int f_teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)
/* One that holds the store's thread (f_block): left out where there is none. */
#define TEST_HELD(name)                                                                  \
    {                                                                                    \
#name, name, f_setup, f_teardown, &f_held                                        \
    }
extern int f_held;
/* What main returns. */
#define RUN(tests, setup, teardown)                                                      \
    f_run((tests), sizeof(tests) / sizeof *(tests), (setup), (teardown))
int f_run(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
          CMFixtureFunction teardown);

void f_open(struct fixture *f);
/* Stops and frees the engine; workers lose their links and sessions' names. */
void f_close(struct fixture *f);
void f_turn(struct fixture *f, const char *what); /* one turn of the loop */
#define f_until(f, condition)                                                            \
    do {                                                                                 \
        f_begin_wait(f);                                                                 \
        while (!(condition)) {                                                           \
            f_turn(f, #condition);                                                       \
        }                                                                                \
    } while (0)
void f_begin_wait(struct fixture *f);
/* Lets all that is on its way to the store come back. */
void f_settle(struct fixture *f);
/* From f_block to f_unblock the store's thread waits: what is posted meanwhile makes one
 * crossing, in order. f_flush lets the engine act on what it has and sends that off. */
void f_block(struct fixture *f);
void f_flush(struct fixture *f);
void f_unblock(struct fixture *f);
/* Moves the clock forward, and lets the engine see it. */
void f_pass(struct fixture *f, er_usec span);
/* The next n looks at what a dead worker left answer that (er_proctree_kill). */
void f_kills(int n, int answer);
int f_kills_left(void);
/* The next n pages of facts cannot be read. */
void f_facts_fail(int n);

/* ---- tasks ---- */

/* A row with defaults: type shell, queue default, name t, no retries. */
struct er_new_task f_new(void);
/* Posts a submit; *out_rc becomes its code (1 until then). Rows are copied. */
void f_post_submit(struct fixture *f, const struct er_new_task *rows, size_t n,
                   int *out_rc, er_task_id *out_ids);
er_task_id f_add(struct fixture *f, struct er_new_task row); /* must succeed */
/* n alike; returns the first id; they follow each other. */
er_task_id f_add_many(struct fixture *f, struct er_new_task row, size_t n);
/* A change of one task: *out becomes its status, or the code of all (1 until then). */
void f_post_change(struct fixture *f, enum er_change_kind kind, er_task_id id, bool hold,
                   int *out);
int f_change(struct fixture *f, enum er_change_kind kind, er_task_id id);
void f_edit(struct fixture *f, er_task_id id, struct er_edit edit);
struct er_task f_get(struct fixture *f, er_task_id id); /* must be there */
void f_queue(struct fixture *f, const char *name, int concurrency, bool paused);
/* A type that is executed by processes, with so many at once (0 = no limit). */
void f_type(struct fixture *f, const char *name, int concurrency);
/* One that is executed by handlers. */
void f_handled(struct fixture *f, const char *name);

/* ---- facts ---- */

/* Facts about a task (0 = all) since the start of the store, from a fresh subscription:
 * "task-queued, task-started/1" (/attempt when there is one). */
const char *f_facts(struct fixture *f, er_task_id id);
/* The data of the newest fact of that event about a task; borrowed until the end. */
json_t *f_data(struct fixture *f, er_task_id id, enum er_event event);

/* One subscription. */
struct sub {
    struct fixture *f;
    struct er_sub *sub;
    bool woken;
    struct er_buf got; /* frames that were pulled and not taken */
};
void s_open(struct fixture *f, struct sub *s, const struct er_sub_filter *filter,
            int64_t since);
void s_close(struct sub *s);
/* Pulls when woken. */
void s_pull(struct sub *s);
/* The next frame's data, or NULL when there is none yet; *out_id its `id:` or 0. The
 * caller frees it with json_decref. */
json_t *s_take(struct sub *s, int64_t *out_id);

/* ---- workers ---- */

struct worker {
    struct er_link link;
    struct fixture *f;
    int64_t session;
    char token[33];
    int slots;
    const char *const
        *types; /* of handlers, ended by NULL; NULL = it executes processes */
    bool pings; /* it says that it answers them, with its next attach */
    bool attached, woken;
    json_t *lines; /* what came over the link and was not taken */
    int rc;        /* of its last report or attach */
    struct er_held lost[64];
    size_t n_lost;
    struct worker *next;
};
/* Opens a session and attaches. */
struct worker *w_new(struct fixture *f, int slots);
/* The same with handlers for these types (ended by NULL; they must stay). */
struct worker *w_handlers(struct fixture *f, int slots, const char *const *types);
/* Attaches (again), with what it holds and owes; the code is the result and w->rc. */
int w_attach(struct worker *w, const struct er_held *held, size_t n_held,
             const struct er_held *owed, size_t n_owed);
void w_detach(struct worker *w);
/* The worker is dead. */
void w_die(struct worker *w);
/* Takes the first line of that kind ("run", "cancel", "drop"...) which is there, NULL
 * when there is none. Borrowed until the end of the test. */
json_t *w_peek(struct worker *w, const char *kind);
/* The same, waits for one. */
json_t *w_take(struct worker *w, const char *kind);
struct er_held w_run(struct worker *w); /* waits for the next run line */
bool w_has_run(struct worker *w, struct er_held *out);
size_t w_count(struct worker *w, const char *kind); /* lines that wait */

/* A report of one line or more; the format makes NDJSON. Returns the code. */
int w_report(struct worker *w, const char *format, ...) ER_PRINTF(2, 3);
/* The same, does not wait: *out_rc becomes the code (1 until then). */
void w_post(struct worker *w, int *out_rc, const char *text);
int w_start(struct worker *w, struct er_held h);
int w_end(struct worker *w, struct er_held h, int exit_code);
/* The text of a `finished` line with some more members ("" or ",\"why\":..."). */
char *w_finished(struct fixture *f, struct er_held h, int exit_code, const char *more);

#endif
