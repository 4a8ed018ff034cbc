/* SPDX-License-Identifier: MIT */
/* A bell is heard as often as it was rung, whoever came first, and what was done before
 * the ring is seen after it: there is no other lock here, which TSan would tell of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/lock.h"

#define ROUNDS 10000

struct ping_pong {
    struct er_bell ping, pong;
    int ball;
};

static void *
return_all(void *ctx)
{
    struct ping_pong *p = ctx;
    for (int i = 0; i < ROUNDS; i++) {
        er_bell_wait(&p->ping);
        p->ball++;
        er_bell_ring(&p->pong);
    }
    return NULL;
}

static void
bell__hands_over_what_was_done_before(void **state)
{
    (void)state;
    struct ping_pong p = {.ball = 0};
    pthread_t thread;
    er_bell_init(&p.ping);
    er_bell_init(&p.pong);
    assert_int_equal(pthread_create(&thread, NULL, return_all, &p), 0);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(p.ball, 2 * i);
        p.ball++;
        er_bell_ring(&p.ping);
        er_bell_wait(&p.pong);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    er_bell_fini(&p.ping);
    er_bell_fini(&p.pong);
}

static void
bell__is_heard_as_often_as_it_was_rung(void **state)
{
    (void)state;
    struct er_bell bell;
    er_bell_init(&bell);
    er_bell_ring(&bell);
    er_bell_ring(&bell);
    er_bell_wait(&bell);
    er_bell_wait(&bell);
    int left = -1;
    assert_int_equal(sem_getvalue(&bell.rung, &left), 0);
    assert_int_equal(left, 0);
    er_bell_fini(&bell);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bell__hands_over_what_was_done_before),
        cmocka_unit_test(bell__is_heard_as_often_as_it_was_rung),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
