/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/mem.h"
#include "base/rand.h"

struct job {
    struct er_heap_node node;
    int key;
};

static bool
less(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return ER_CONTAINER(a, const struct job, node)->key <
           ER_CONTAINER(b, const struct job, node)->key;
}

static int
pop(struct er_heap *h)
{
    struct er_heap_node *least = er_heap_get(h);
    assert_non_null(least);
    er_heap_remove(h, least);
    assert_int_equal(least->pos, 0);
    return ER_CONTAINER(least, struct job, node)->key;
}

/* Every node knows its place and is not less than its parent. */
static void
check(const struct er_heap *h)
{
    for (size_t i = 0; i < h->n; i++) {
        assert_int_equal(h->nodes[i]->pos, i + 1);
        if (i > 0) {
            assert_false(less(h->nodes[i], h->nodes[(i - 1) / 2]));
        }
    }
}

static void
heap__gives_the_least_first(void **state)
{
    (void)state;
    static struct job jobs[500];
    struct er_heap h;
    uint64_t seed = 3;
    er_heap_init(&h, less);
    assert_null(er_heap_get(&h));
    for (int i = 0; i < 500; i++) {
        jobs[i] = (struct job){.key = (int)(er_rand_next(&seed) % 100)};
        assert_int_equal(er_heap_push(&h, &jobs[i].node), 0);
    }
    check(&h);
    int before = -1;
    for (int i = 0; i < 500; i++) {
        int key = pop(&h);
        assert_true(key >= before);
        before = key;
    }
    assert_null(er_heap_get(&h));
    er_heap_fini(&h);
}

static void
heap__follows_keys_that_change_and_nodes_that_leave(void **state)
{
    (void)state;
    static struct job jobs[200];
    bool in[200] = {false};
    struct er_heap h;
    uint64_t seed = 11;
    er_heap_init(&h, less);
    memset(jobs, 0, sizeof jobs);
    for (int step = 0; step < 20000; step++) {
        size_t i = er_rand_next(&seed) % 200;
        jobs[i].key = (int)(er_rand_next(&seed) % 1000);
        if (!in[i]) {
            assert_int_equal(er_heap_push(&h, &jobs[i].node), 0);
            in[i] = true;
        } else if (er_rand_next(&seed) % 2) {
            er_heap_move(&h, &jobs[i].node);
        } else {
            er_heap_move(&h, &jobs[i].node);
            er_heap_remove(&h, &jobs[i].node);
            in[i] = false;
        }
        if (step % 100 == 0) {
            check(&h);
        }
    }
    check(&h);
    int least = 1000;
    for (size_t i = 0; i < 200; i++) {
        least = in[i] && jobs[i].key < least ? jobs[i].key : least;
    }
    assert_int_equal(pop(&h), least);
    er_heap_fini(&h);
}

static void
heap__ignores_nodes_that_are_not_in_it(void **state)
{
    (void)state;
    struct er_heap h;
    struct job in = {.key = 1}, out = {.key = 0};
    er_heap_init(&h, less);
    assert_int_equal(er_heap_push(&h, &in.node), 0);
    er_heap_remove(&h, &out.node);
    er_heap_move(&h, &out.node);
    assert_int_equal(h.n, 1);
    assert_ptr_equal(er_heap_get(&h), &in.node);
    er_heap_fini(&h);
}

static void
heap__without_memory_refuses_the_node(void **state)
{
    (void)state;
    struct er_heap h;
    static struct job jobs[17];
    er_heap_init(&h, less);
    for (int i = 0; i < 16; i++) {
        jobs[i].key = i;
        assert_int_equal(er_heap_push(&h, &jobs[i].node), 0);
    }
    er_mem_fault_set(1, 0);
    assert_int_equal(er_heap_push(&h, &jobs[16].node), ER_ENOMEM);
    assert_int_equal(jobs[16].node.pos, 0);
    assert_int_equal(h.n, 16);
    check(&h);
    assert_int_equal(er_heap_push(&h, &jobs[16].node), 0);
    er_heap_fini(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap__gives_the_least_first),
        cmocka_unit_test(heap__follows_keys_that_change_and_nodes_that_leave),
        cmocka_unit_test(heap__ignores_nodes_that_are_not_in_it),
        cmocka_unit_test(heap__without_memory_refuses_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
