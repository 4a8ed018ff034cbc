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
#include "base/ring.h"

/* Writes a record of n bytes that says its number all over. False: no room. */
static bool
put(struct er_ring *r, size_t n, int number)
{
    void *p = er_ring_reserve(r, n);
    if (p) {
        memset(p, number & 0xff, n);
        (void)!er_ring_commit(r, p, n);
    }
    return p != NULL;
}

static void
expect(struct er_ring *r, size_t n, int number)
{
    size_t len = 0;
    const unsigned char *p = er_ring_peek(r, &len);
    assert_non_null(p);
    assert_int_equal(len, n);
    assert_int_equal((uintptr_t)p % 8, 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(p[i], number & 0xff);
    }
    er_ring_drop(r);
}

static void
ring__gives_records_of_any_length_in_order(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(0);
    size_t len;
    assert_null(er_ring_peek(r, &len));
    for (int round = 0; round < 2000; round++) { /* over the end many times */
        size_t lens[3] = {(size_t)(round * 7) % 150, 0, (size_t)(round * 13) % 150};
        for (int i = 0; i < 3; i++) {
            assert_true(put(r, lens[i], round + i));
        }
        assert_int_equal(er_ring_waiting(r), 3);
        for (int i = 0; i < 3; i++) {
            expect(r, lens[i], round + i);
        }
        assert_null(er_ring_peek(r, &len));
        assert_int_equal(er_ring_waiting(r), 0);
    }
    er_ring_free(r);
    er_ring_free(NULL);
}

static void
ring__full_says_no_and_goes_on_when_there_is_room(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(ER_RING_MIN);
    for (int round = 0; round < 100; round++) {
        int n = 0;
        size_t len;
        while (put(r, 40, n)) {
            n++;
        }
        assert_true(n >= 20 && n <= 21); /* 48 bytes each, and what the end wastes */
        for (int i = 0; i < n; i++) {
            expect(r, 40, i);
        }
        assert_null(er_ring_peek(r, &len));
    }
    er_ring_free(r);
}

static void
ring__a_record_has_at_most_half_of_it(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(ER_RING_MIN);
    for (int i = 0; i < 50; i++) { /* wherever the next one begins */
        assert_true(put(r, ER_RING_MIN / 2 - 8, i));
        expect(r, ER_RING_MIN / 2 - 8, i);
        assert_true(put(r, 24, i));
        expect(r, 24, i);
        size_t len;
        assert_null(er_ring_peek(r, &len));
    }
    assert_null(er_ring_reserve(r, ER_RING_MIN / 2 - 7));
    assert_null(er_ring_reserve(r, SIZE_MAX));
    er_ring_free(r);
}

static void
ring__shows_nothing_behind_what_is_not_written_yet(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(0);
    size_t len;
    void *slow = er_ring_reserve(r, 8);
    assert_true(put(r, 8, 2));
    assert_null(er_ring_peek(r, &len));
    assert_int_equal(er_ring_waiting(r), 2);
    memset(slow, 1, 8);
    (void)!er_ring_commit(r, slow, 8);
    expect(r, 8, 1);
    expect(r, 8, 2);
    er_ring_free(r);
}

static void
ring__wakes_a_sleeper_once(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(0);
    bool wake = false;
    void *p = er_ring_reserve(r, 8), *q = er_ring_reserve(r, 8);
    memset(p, 1, 8);
    memset(q, 2, 8);
    assert_true(er_ring_commit(r, p, 8)); /* a new one is asleep */
    assert_false(er_ring_commit(r, q, 8));
    assert_false(er_ring_sleep(r, true, &wake)); /* there is something */
    assert_true(wake);
    expect(r, 8, 1);
    expect(r, 8, 2);
    assert_true(er_ring_sleep(r, true, &wake));
    assert_true(er_ring_wake(r));
    assert_false(er_ring_wake(r));
    er_ring_free(r);
}

/* Writes `n` records of 20 bytes at once, numbered from `number`. False: no room. */
static bool
put_run(struct er_ring *r, size_t n, int number)
{
    void *p = er_ring_reserve_run(r, n * er_ring_size(20), n);
    for (size_t i = 0; p && i < n; i++) {
        memset(p, (number + (int)i) & 0xff, 20);
        void *next = er_ring_put(r, p, 20);
        if (i == n - 1) {
            return true;
        }
        p = next;
    }
    return false;
}

static void
ring__a_run_is_records_as_any(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(ER_RING_MIN);
    size_t len;
    for (int round = 0; round < 500; round++) { /* over the end many times */
        size_t n = (size_t)round % 16 + 1;
        assert_true(put_run(r, n, round));
        assert_true(put(r, 20, round + (int)n));
        assert_int_equal(er_ring_waiting(r), n + 1);
        for (size_t i = 0; i <= n; i++) {
            expect(r, 20, round + (int)i);
        }
        assert_null(er_ring_peek(r, &len));
    }
    assert_false(put_run(r, 17, 0)); /* more than half of it */
    er_ring_free(r);
    r = er_ring_new(ER_RING_MIN);
    assert_true(put_run(r, 16, 0));
    assert_true(er_ring_wake(r)); /* a new one is asleep */
    while (put_run(r, 3, 0)) {
    }
    assert_true(put_run(r, 1, 0)); /* for fewer there is room yet */
    uint64_t was = 0;
    bool wake;
    assert_true(er_ring_shut(r, &was, 1, &wake));
    assert_false(put_run(r, 1, 0));
    er_ring_free(r);
}

static void
ring__shut_it_lets_nothing_in_until_it_is_opened(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(0);
    uint64_t was = 0, why;
    bool wake = false;
    assert_true(put(r, 8, 1));
    assert_false(er_ring_wake(r));
    assert_true(er_ring_shut(r, &was, 5, &wake));
    assert_false(wake);
    assert_false(put(r, 8, 2));
    assert_false(er_ring_shut(r, &was, 7, &wake)); /* it is not 0 any more */
    assert_int_equal(was, 5);
    assert_true(er_ring_shut(r, &was, 7, &wake));
    assert_int_equal(er_ring_why(r), 7);
    expect(r, 8, 1);
    assert_true(er_ring_is_ready(r, true));
    assert_false(er_ring_is_ready(r, false));
    assert_false(
        er_ring_sleep(r, true, &wake)); /* there is something to take elsewhere */
    uint64_t mark = er_ring_open(r, &why);
    assert_int_equal(why, 7);
    assert_int_equal(er_ring_why(r), 0);
    assert_false(er_ring_is_before(r, mark));
    assert_true(put(r, 8, 3));
    assert_false(er_ring_is_before(r, mark));
    expect(r, 8, 3);
    er_ring_free(r);
}

static void
ring__the_mark_lies_behind_what_was_there(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(0);
    for (int round = 0; round < 200; round++) {
        uint64_t was = 0, why;
        bool wake;
        assert_true(put(r, 100, 1));
        assert_true(put(r, 100, 2));
        assert_true(er_ring_shut(r, &was, 1, &wake));
        uint64_t mark = er_ring_open(r, &why);
        assert_true(put(r, 100, 3));
        assert_true(er_ring_is_before(r, mark));
        expect(r, 100, 1);
        assert_true(er_ring_is_before(r, mark));
        expect(r, 100, 2);
        assert_false(er_ring_is_before(r, mark));
        expect(r, 100, 3);
        assert_false(er_ring_is_before(r, mark));
    }
    er_ring_free(r);
}

static void
ring__without_memory_is_none(void **state)
{
    (void)state;
    for (long n = 1; n <= 2; n++) {
        er_mem_fault_set(n, 0);
        assert_null(er_ring_new(0));
        assert_int_equal(er_mem_fault_hit(), 1);
    }
    er_mem_fault_set(0, 0);
}

#define WRITERS 4
#define RECORDS 20000

struct writer {
    struct er_ring *ring;
    int id;
};

/* Records of changing length: their writer, their number, and filled with the latter. */
static void *
write_all(void *ctx)
{
    const struct writer *w = ctx;
    for (int i = 0; i < RECORDS;) {
        size_t n = 8 + (size_t)(i * 11) % 90;
        int *p = er_ring_reserve(w->ring, n);
        if (!p) {
            sched_yield();
            continue;
        }
        memset(p, i & 0xff, n);
        p[0] = w->id;
        p[1] = i++;
        (void)!er_ring_commit(w->ring, p, n);
    }
    return NULL;
}

static void
ring__many_writers_lose_nothing_and_keep_their_order(void **state)
{
    (void)state;
    struct er_ring *r = er_ring_new(4096);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    int next[WRITERS] = {0};
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){r, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    for (int got = 0; got < WRITERS * RECORDS;) {
        size_t n;
        const int *p = er_ring_peek(r, &n);
        if (!p) {
            sched_yield();
            continue;
        }
        int i = p[1];
        assert_int_equal(n, 8 + (size_t)(i * 11) % 90);
        assert_int_equal(i, next[p[0]]++);
        for (size_t k = 8; k < n; k++) {
            assert_int_equal(((const unsigned char *)p)[k], i & 0xff);
        }
        er_ring_drop(r);
        got++;
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(er_ring_waiting(r), 0);
    er_ring_free(r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring__gives_records_of_any_length_in_order),
        cmocka_unit_test(ring__full_says_no_and_goes_on_when_there_is_room),
        cmocka_unit_test(ring__a_record_has_at_most_half_of_it),
        cmocka_unit_test(ring__shows_nothing_behind_what_is_not_written_yet),
        cmocka_unit_test(ring__wakes_a_sleeper_once),
        cmocka_unit_test(ring__a_run_is_records_as_any),
        cmocka_unit_test(ring__shut_it_lets_nothing_in_until_it_is_opened),
        cmocka_unit_test(ring__the_mark_lies_behind_what_was_there),
        cmocka_unit_test(ring__without_memory_is_none),
        cmocka_unit_test(ring__many_writers_lose_nothing_and_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
