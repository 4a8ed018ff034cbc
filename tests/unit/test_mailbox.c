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

#include "base/mailbox.h"
#include "base/mem.h"

struct letter {
    struct er_mail mail;
    int from, no;
};

static void
mailbox__gives_mails_in_the_order_posted(void **state)
{
    (void)state;
    struct er_mailbox *box = er_mailbox_new(NULL, NULL);
    struct letter letters[5];
    assert_non_null(box);
    assert_null(er_mailbox_take(box));
    for (int i = 0; i < 5; i++) {
        letters[i].no = i;
        assert_true(er_mailbox_post(box, &letters[i].mail));
    }
    struct er_mail *m = er_mailbox_take(box);
    for (int i = 0; i < 5; i++) {
        assert_ptr_equal(m, &letters[i].mail);
        m = m->next;
    }
    assert_null(m);
    assert_null(er_mailbox_take(box));
    er_mailbox_free(box);
}

static void
count_wake(void *ctx)
{
    ++*(int *)ctx;
}

static void
mailbox__wakes_only_for_the_first_mail(void **state)
{
    (void)state;
    int wakes = 0;
    struct er_mailbox *box = er_mailbox_new(count_wake, &wakes);
    struct letter a, b, c;
    assert_true(er_mailbox_post(box, &a.mail));
    assert_true(er_mailbox_post(box, &b.mail));
    assert_int_equal(wakes, 1);
    assert_non_null(er_mailbox_take(box));
    assert_true(er_mailbox_post(box, &c.mail));
    assert_int_equal(wakes, 2);
    er_mailbox_free(box);
}

static void
mailbox__closed_refuses_but_gives_what_it_has(void **state)
{
    (void)state;
    struct er_mailbox *box = er_mailbox_new(NULL, NULL);
    struct letter a, b;
    assert_true(er_mailbox_post(box, &a.mail));
    er_mailbox_close(box);
    assert_false(er_mailbox_post(box, &b.mail));
    assert_ptr_equal(er_mailbox_wait(box), &a.mail);
    assert_null(er_mailbox_wait(box));
    er_mailbox_free(box);
    er_mailbox_free(NULL);
}

static void
mailbox__without_memory_is_none(void **state)
{
    (void)state;
    er_mem_fault_set(1, 0);
    assert_null(er_mailbox_new(NULL, NULL));
    assert_int_equal(er_mem_fault_hit(), 1);
}

#define POSTERS 4
#define LETTERS 5000

struct poster {
    struct er_mailbox *box;
    struct letter *letters;
    int id;
};

static void *
post_all(void *ctx)
{
    struct poster *p = ctx;
    for (int i = 0; i < LETTERS; i++) {
        p->letters[i] = (struct letter){.from = p->id, .no = i};
        if (!er_mailbox_post(p->box, &p->letters[i].mail)) {
            return p;
        }
    }
    return NULL;
}

static void
mailbox__loses_nothing_between_threads_and_keeps_each_ones_order(void **state)
{
    (void)state;
    struct er_mailbox *box = er_mailbox_new(NULL, NULL);
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    int next[POSTERS] = {0};
    for (int i = 0; i < POSTERS; i++) {
        struct letter *letters = calloc(LETTERS, sizeof *letters);
        assert_non_null(letters);
        posters[i] = (struct poster){box, letters, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    for (int got = 0; got < POSTERS * LETTERS;) {
        struct er_mail *m = er_mailbox_wait(box);
        assert_non_null(m);
        while (m) {
            struct letter *l = (struct letter *)(void *)m;
            m = m->next; /* read before the letter is anybody else's */
            assert_int_equal(l->no, next[l->from]++);
            got++;
        }
    }
    for (int i = 0; i < POSTERS; i++) {
        void *refused;
        assert_int_equal(pthread_join(threads[i], &refused), 0);
        assert_null(refused);
        free(posters[i].letters);
    }
    assert_null(er_mailbox_take(box));
    er_mailbox_free(box);
}

static void *
wait_for_close(void *ctx)
{
    return er_mailbox_wait(ctx);
}

static void
mailbox__closing_wakes_who_waits(void **state)
{
    (void)state;
    struct er_mailbox *box = er_mailbox_new(NULL, NULL);
    pthread_t thread;
    void *got = box;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_close, box), 0);
    er_mailbox_close(box);
    assert_int_equal(pthread_join(thread, &got), 0);
    assert_null(got);
    er_mailbox_free(box);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mailbox__gives_mails_in_the_order_posted),
        cmocka_unit_test(mailbox__wakes_only_for_the_first_mail),
        cmocka_unit_test(mailbox__closed_refuses_but_gives_what_it_has),
        cmocka_unit_test(mailbox__without_memory_is_none),
        cmocka_unit_test(
            mailbox__loses_nothing_between_threads_and_keeps_each_ones_order),
        cmocka_unit_test(mailbox__closing_wakes_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
