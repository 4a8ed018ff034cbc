/* SPDX-License-Identifier: MIT */
/* What the store's tests share: a store in a folder of its own or in memory, and verbs in
 * short form. f_commit checks the store's invariants after every commit. */
#ifndef ER_TESTS_STORE_FIXTURE_H
#define ER_TESTS_STORE_FIXTURE_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "store/store.h"

#define SEC ER_USEC_PER_SEC
#define T0  ((er_usec)1700000000 * SEC) /* 2023-11-14T22:13:20Z */

struct fixture {
    bool in_memory;
    char folder[64];
    char path[128];
    struct er_store *s;
    struct er_store_reader *r;
    er_usec now;
    struct er_effects fx;  /* of the last f_commit */
    struct er_arena arena; /* what is read; freed at the end of the test */
    int64_t session;
    bool large;      /* f_commit does not verify: it would take seconds each time */
    char text[4096]; /* what f_facts gave */
};

/* For cmocka: the initial state is "file" or "memory"; the test gets a struct fixture. */
int f_setup(void **state);
int f_teardown(void **state);
#define ON_FILE(name)                                                                    \
    {                                                                                    \
#name " on a file", name, f_setup, f_teardown, (void *)(uintptr_t) "file"        \
    }
#define IN_MEMORY(name)                                                                  \
    {                                                                                    \
#name " in memory", name, f_setup, f_teardown, (void *)(uintptr_t) "memory"      \
    }
#define BOTH(name) ON_FILE(name), IN_MEMORY(name)

void f_open(struct fixture *f); /* store and reader */
void f_close(struct fixture *f);
void f_reopen(struct fixture *f);
/* Closes it, and puts a store there that the version with schema 1 has made
 * (schema_1.sql). */
void f_make_schema_1(struct fixture *f);
void f_begin(struct fixture *f);
void f_commit(struct fixture *f); /* succeeds; takes the effects; verifies */
void f_verify(struct fixture *f);
int64_t f_open_session(struct fixture *f, const char *worker);

/* A row with defaults: type shell, queue default, name t, no dependency. */
struct er_new_task f_new(void);
/* Submits one row, which must succeed, in a transaction of its own: its id. */
er_task_id f_add(struct fixture *f, struct er_new_task row);
er_task_id f_add_after(struct fixture *f, er_task_id on, enum er_after_when when);
/* Claims a task that must be claimable, in a transaction of its own. */
struct er_task *f_claim(struct fixture *f, er_task_id id);
/* A report of the current attempt of a task, as the worker would make it. */
struct er_finish f_ends(struct fixture *f, er_task_id id, enum er_task_state state);
void f_finish(struct fixture *f, struct er_finish row); /* must succeed */
/* Claims and finishes. */
void f_run(struct fixture *f, er_task_id id, enum er_task_state state);
struct er_change f_change(er_task_id id);
/* Reads a task that must be there. */
struct er_task f_get(struct fixture *f, er_task_id id);
/* The facts of the last commit: "task-queued 1, task-started 1/1" (task, attempt if any).
 */
const char *f_facts(struct fixture *f);
/* The data of the i-th fact of the last commit. */
const char *f_data(struct fixture *f, size_t i);
/* The ids that became ready in the last commit: "1 2 3". */
const char *f_ready(struct fixture *f);
/* How many tasks of a queue are in a state, as er_store_load tells. */
int64_t f_count(struct fixture *f, const char *queue, enum er_task_state state);
struct er_store_state f_load(struct fixture *f);

#endif
