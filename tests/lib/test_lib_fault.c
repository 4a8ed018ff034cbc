/* SPDX-License-Identifier: MIT */
/* The n-th allocation of the program's thread fails, for each n until none does: a
 * function either works all the same or says ERRAND_ENOMEM, and nothing is lost or left
 * behind. The handle is turned on this thread, so that the engine's allocations are among
 * them. */
#include "lib_fixture.h"

#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "serve/claim.h"

static void
on_event(void *ctx, errand_subscription *sub, const errand_event *ev)
{
    (void)sub;
    *(int *)ctx += ev->kind == ERRAND_FACT;
}

static void
check(int rc, bool is_fine, const char *what, long n)
{
    if (!is_fine && rc != ERRAND_ENOMEM) {
        er_mem_fault_set(0, 0);
        fail_msg("allocation %ld failed: %s says %d", n, what, rc);
    }
}

/* One life of a handle, until something fails. */
static void
live(long n, bool with_events)
{
    struct errand_options o = ERRAND_INIT(errand_options);
    struct errand_submit_options so = ERRAND_INIT(errand_submit_options);
    struct errand_subscribe_options eo = ERRAND_INIT(errand_subscribe_options);
    const errand_event ev = {.name = "a.b", .kind = ERRAND_FACT, .data = "1", .len = 1};
    errand_subscription *sub;
    errand_error error;
    errand *e = NULL;
    int64_t id = 0;
    char *text;
    int heard = 0;
    o.threading = ERRAND_TURN;
    so.held = 1;
    eo.delivery = ERRAND_ON_LOOP;
    int rc = errand_open("memory:", &o, &e, &error);
    check(rc, rc == 0 || rc == ERRAND_EIO, "errand_open", n);
    if (rc) {
        return;
    }
    rc = errand_submit(e, "shell", "{\"command\":\"true\"}", &so, &id, &error);
    check(rc, rc == 0 && id == 1, "errand_submit", n);
    if (rc == 0) {
        rc = errand_state(e, id, &error);
        check(rc, rc == ERRAND_PAUSED, "errand_state", n);
        rc = errand_get(e, id, &text, &error);
        check(rc, rc == 0, "errand_get", n);
        if (rc == 0) {
            errand_free(text);
        }
        rc = errand_cancel(e, id, &error);
        check(rc, rc == 0, "errand_cancel", n);
    }
    if (with_events) {
        rc = errand_subscribe(e, &eo, on_event, &heard, &sub, &error);
        check(rc, rc == 0, "errand_subscribe", n);
        rc = errand_publish(e, &ev, &error);
        check(rc, rc == 0, "errand_publish", n);
        assert_int_equal(errand_turn(e), 0);
    }
    errand_close(e);
}

static void
run_all(bool with_events)
{
    live(0, with_events);
    size_t before = count_fds();
    long n = 0;
    do {
        er_mem_fault_set(++n, 0);
        live(n, with_events);
    } while (er_mem_fault_hit() && n < 5000);
    er_mem_fault_set(0, 0);
    assert_true(n > 100);
    assert_int_equal(count_fds(), before);
}

static void
fault__each_allocation_of_a_handle(void **state)
{
    (void)state;
    run_all(false);
}

static void
fault__each_allocation_with_events(void **state)
{
    (void)state;
    run_all(true);
}

/* Without a descriptor for it a store is not taken for claimed. */
static void
fault__no_descriptor_for_the_claim_of_a_store(void **state)
{
    (void)state;
    char store[] = "/tmp/errand-claim-XXXXXX";
    struct rlimit before, none;
    int file = mkstemp(store), fd = -1, pid = 0;
    assert_true(file >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = er_claim_take(store, &fd, &pid);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, ER_EIO);
    assert_int_equal(fd, -1);
    assert_int_equal(er_claim_take(store, &fd, &pid), 0);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)close(file);
    (void)unlink(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault__each_allocation_of_a_handle),
        cmocka_unit_test(fault__each_allocation_with_events),
        cmocka_unit_test(fault__no_descriptor_for_the_claim_of_a_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
