/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/mem.h"
#include "base/roster.h"

static int
setup(void **state)
{
    struct er_roster *r = calloc(1, sizeof *r);
    *state = r;
    return er_roster_init(r);
}

static int
teardown(void **state)
{
    er_roster_fini(*state);
    free(*state);
    return 0;
}

/* The entries of the newest list, as a string of their letters. */
static const char *
names(struct er_roster *r, struct er_entry *entries, char *out)
{
    struct er_pass p;
    size_t n = 0;
    assert_true(er_pass_enter(r, &p));
    for (size_t i = 0; i < p.list->n; i++) {
        if (i == p.list->n_first) {
            out[n++] = '|';
        }
        out[n++] = (char)('a' + (p.list->entries[i] - entries));
    }
    out[n] = '\0';
    er_pass_leave(&p);
    return out;
}

static int
count(const struct er_entry *chain)
{
    int n = 0;
    for (; chain; chain = chain->next_gone) {
        n++;
    }
    return n;
}

static void
roster__lists_in_order_the_first_ones_first(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e[4] = {0};
    char text[8];
    assert_int_equal(er_roster_add(r, &e[0], false), 0);
    assert_int_equal(er_roster_add(r, &e[1], true), 0);
    assert_int_equal(er_roster_add(r, &e[2], true), 0);
    assert_int_equal(er_roster_add(r, &e[3], false), 0);
    assert_string_equal(names(r, e, text), "bc|ad");
    er_roster_remove(r, &e[1]);
    er_roster_remove(r, &e[3]);
    assert_string_equal(names(r, e, text), "c|a");
    assert_int_equal(count(er_roster_collect(r)), 2);
    er_roster_remove(r, &e[0]);
    er_roster_remove(r, &e[2]);
    assert_int_equal(count(er_roster_collect(r)), 2);
    assert_null(er_roster_collect(r));
}

static void
roster__an_entry_stays_while_it_is_walked_or_held(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e[2] = {0};
    struct er_pass p;
    assert_int_equal(er_roster_add(r, &e[0], true), 0);
    assert_int_equal(er_roster_add(r, &e[1], true), 0);
    er_entry_hold(&e[1]);
    assert_true(er_pass_enter(r, &p));
    er_roster_remove(r, &e[0]);
    er_roster_remove(r, &e[1]);
    assert_null(er_roster_collect(r));
    assert_int_equal(p.list->n, 2); /* still what it was */
    assert_false(er_pass_at(&p, p.list->entries[0]));
    (void)er_pass_at(&p, NULL);
    er_pass_leave(&p);
    assert_ptr_equal(er_roster_collect(r), &e[0]);
    assert_null(er_roster_collect(r));
    er_entry_release(r, &e[1]);
    assert_ptr_equal(er_roster_collect(r), &e[1]);
}

static void
roster__says_who_calls_an_entry(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e[2] = {0};
    struct er_pass p;
    uintptr_t self = er_roster_self();
    assert_int_equal(er_roster_add(r, &e[0], true), 0);
    assert_int_equal(er_roster_add(r, &e[1], true), 0);
    assert_true(er_pass_enter(r, &p));
    assert_true(er_pass_at(&p, &e[0]));
    assert_true(er_roster_runs(r, &e[0], 0));
    assert_true(er_roster_runs(r, &e[0], self));
    assert_false(er_roster_runs(r, &e[0], self + 1));
    assert_false(er_roster_runs(r, &e[1], 0));
    er_roster_remove(r, &e[0]);
    assert_false(p.ended);
    assert_true(er_pass_at(&p, &e[1]));
    assert_true(p.ended); /* somebody may wait for the first one */
    assert_false(er_roster_runs(r, &e[0], 0));
    (void)er_pass_at(&p, NULL);
    assert_false(er_roster_runs(r, &e[1], 0));
    er_pass_leave(&p);
    er_roster_remove(r, &e[1]);
    assert_int_equal(count(er_roster_collect(r)), 2);
}

static void
roster__one_at_a_time_enters_an_entry(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e = {0};
    assert_int_equal(er_roster_add(r, &e, false), 0);
    assert_int_equal(er_entry_enter(&e), 0);
    assert_int_equal(er_entry_enter(&e), ER_EBUSY);
    assert_true(er_roster_runs(r, &e, er_roster_self()));
    assert_false(er_entry_leave(&e));
    assert_int_equal(er_entry_enter(&e), 0);
    er_roster_remove(r, &e);
    assert_true(er_entry_leave(&e));
    assert_int_equal(er_entry_enter(&e), ER_ECLOSED);
    assert_false(er_roster_runs(r, &e, 0));
    assert_ptr_equal(er_roster_collect(r), &e);
}

static void
roster__counts_walks_of_each_entry(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e[2] = {0};
    struct er_pass p;
    assert_int_equal(er_roster_add(r, &e[0], true), 0);
    for (int i = 0; i < 5; i++) {
        if (i == 2) {
            assert_int_equal(er_roster_add(r, &e[1], true), 0);
            assert_null(er_roster_collect(r));
        }
        assert_true(er_pass_enter(r, &p));
        er_pass_count(&p, 1);
        er_pass_leave(&p);
    }
    assert_int_equal(er_roster_walks(r), 5);
    assert_int_equal(er_entry_walks(r, &e[0]), 5);
    assert_int_equal(er_entry_walks(r, &e[1]), 3);
    er_roster_remove(r, &e[0]);
    er_roster_remove(r, &e[1]);
    assert_int_equal(count(er_roster_collect(r)), 2);
    assert_int_equal(er_entry_walks(r, &e[0]), 5);
    assert_int_equal(er_entry_walks(r, &e[1]), 3);
}

static void
roster__removing_needs_no_memory(void **state)
{
    struct er_roster *r = *state;
    struct er_entry e[2] = {0};
    struct er_pass p;
    char text[8];
    er_mem_fault_set(1, 0);
    assert_int_equal(er_roster_add(r, &e[0], true), ER_ENOMEM);
    assert_int_equal(er_roster_add(r, &e[0], true), 0);
    er_mem_fault_set(1, 0);
    er_roster_remove(r, &e[0]);
    assert_int_equal(er_mem_fault_hit(), 1);
    assert_true(er_pass_enter(r, &p));
    assert_int_equal(p.list->n, 1);
    assert_false(er_pass_at(&p, p.list->entries[0])); /* listed, but not called */
    er_pass_leave(&p);
    assert_int_equal(er_roster_add(r, &e[1], true), 0);
    assert_string_equal(names(r, e, text), "b");
    assert_ptr_equal(er_roster_collect(r), &e[0]);
    er_roster_remove(r, &e[1]);
    assert_ptr_equal(er_roster_collect(r), &e[1]);
    er_mem_fault_set(1, 0);
    struct er_roster other;
    assert_int_equal(er_roster_init(&other), ER_ENOMEM);
    er_mem_fault_set(0, 0);
}

#define NESTED 100

static void
roster__more_walks_than_slots_take_memory_or_are_refused(void **state)
{
    struct er_roster *r = *state;
    struct er_pass p[NESTED];
    for (int i = 0; i < ER_SLOTS; i++) {
        assert_true(er_pass_enter(r, &p[i]));
    }
    er_mem_fault_set(1, 0);
    assert_false(er_pass_enter(r, &p[ER_SLOTS]));
    er_mem_fault_set(0, 0);
    for (int i = ER_SLOTS; i < NESTED; i++) {
        assert_true(er_pass_enter(r, &p[i]));
        er_pass_count(&p[i], 1);
    }
    for (int i = 0; i < NESTED; i++) {
        er_pass_leave(&p[i]);
    }
    assert_int_equal(er_roster_walks(r), NESTED - ER_SLOTS);
}

/* Threads walk and call while one adds and removes: what is called is alive. */
struct thing {
    struct er_entry entry;
    _Atomic int alive;
};

struct walker {
    struct er_roster *r;
    _Atomic int *stop;
    int64_t calls;
    int dead;
};

static void *
walk(void *ctx)
{
    struct walker *w = ctx;
    while (!atomic_load(w->stop)) {
        struct er_pass p;
        if (!er_pass_enter(w->r, &p)) {
            (void)sched_yield();
            continue;
        }
        for (size_t i = 0; i < p.list->n; i++) {
            if (er_pass_at(&p, p.list->entries[i])) {
                struct thing *t = (struct thing *)(void *)p.list->entries[i];
                w->dead += !atomic_load(&t->alive);
                w->calls++;
            }
        }
        (void)er_pass_at(&p, NULL);
        er_pass_leave(&p);
    }
    return NULL;
}

static void
free_chain(struct er_entry *chain)
{
    while (chain) {
        struct er_entry *next = chain->next_gone;
        free(chain);
        chain = next;
    }
}

static void
walk_and_change(struct er_roster *r)
{
    _Atomic int stop = 0;
    struct walker w[3];
    pthread_t threads[3];
    struct thing *things[8] = {NULL};
    for (int i = 0; i < 3; i++) {
        w[i] = (struct walker){.r = r, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, walk, &w[i]), 0);
    }
    for (int i = 0; i < 4000; i++) {
        struct thing **t = &things[i % 8];
        if (*t) {
            er_roster_remove(r, &(*t)->entry);
            while (er_roster_runs(r, &(*t)->entry, 0)) {
                (void)sched_yield(); /* there may be fewer cores than threads */
            }
            atomic_store(&(*t)->alive, 0); /* nobody calls it, and nobody will */
        }
        *t = calloc(1, sizeof **t);
        (*t)->alive = 1;
        assert_int_equal(er_roster_add(r, &(*t)->entry, i % 2 == 0), 0);
        free_chain(er_roster_collect(r));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].dead, 0);
    }
    for (int i = 0; i < 8; i++) {
        er_roster_remove(r, &things[i]->entry);
    }
    free_chain(er_roster_collect(r));
}

static void
roster__what_was_removed_and_left_is_never_called(void **state)
{
    walk_and_change(*state);
}

static void
roster__nor_is_it_where_the_kernel_does_not_help(void **state)
{
    struct er_roster *r = *state;
    r->heavy = false;
    walk_and_change(r);
}

int
main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(roster__lists_in_order_the_first_ones_first),
        CASE(roster__an_entry_stays_while_it_is_walked_or_held),
        CASE(roster__says_who_calls_an_entry),
        CASE(roster__one_at_a_time_enters_an_entry),
        CASE(roster__counts_walks_of_each_entry),
        CASE(roster__removing_needs_no_memory),
        CASE(roster__more_walks_than_slots_take_memory_or_are_refused),
        CASE(roster__what_was_removed_and_left_is_never_called),
        CASE(roster__nor_is_it_where_the_kernel_does_not_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
