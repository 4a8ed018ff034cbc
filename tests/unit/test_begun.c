/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/begun.h"

static char folder[] = "/tmp/errand-begun-XXXXXX";

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void
table__tells_what_a_killed_process_had_begun(void **state)
{
    (void)state;
    struct er_begun_list list;
    pid_t pid = fork();
    if (pid == 0) {
        struct er_begun *b = er_begun_open(folder, 7);
        int one = er_begun_add(b, 1, 1);
        (void)er_begun_add(b, 2, 3);
        (void)er_begun_add(b, 3, 1);
        er_begun_remove(b, one);
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(er_begun_read(folder, 7, &list), 0);
    assert_true(list.known);
    assert_int_equal(list.n, 2);
    assert_true(er_begun_has(&list, 2, 3));
    assert_true(er_begun_has(&list, 3, 1));
    assert_false(er_begun_has(&list, 1, 1));
    assert_false(er_begun_has(&list, 2, 1)); /* another attempt */
    er_free(list.entries);
    er_begun_delete(folder, 7);
}

static void
table__knows_nothing_when_it_is_not_there_or_of_another_boot(void **state)
{
    (void)state;
    struct er_begun_list list;
    assert_int_equal(er_begun_read(folder, 8, &list), 0);
    assert_false(list.known);
    struct er_begun *b = er_begun_open(folder, 8);
    assert_non_null(b);
    er_begun_close(b);
    assert_int_equal(er_begun_read(folder, 8, &list), 0);
    assert_true(list.known);
    er_free(list.entries);
    char path[100];
    (void)snprintf(path, sizeof path, "%s/begun-8", folder);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "another", 7, 16), 7); /* the boot it was made in */
    (void)close(fd);
    assert_int_equal(er_begun_read(folder, 8, &list), 0);
    assert_false(list.known);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(er_begun_read(folder, 8, &list), 0);
    assert_false(list.known);
    er_begun_delete(folder, 8);
    assert_null(er_begun_open("/nowhere/at/all", 1));
}

static void
table__that_was_too_small_knows_nothing(void **state)
{
    (void)state;
    struct er_begun_list list;
    struct er_begun *b = er_begun_open(folder, 9);
    for (int i = 0; i < ER_BEGUN_MAX; i++) {
        assert_true(er_begun_add(b, i + 1, 1) >= 0);
    }
    assert_int_equal(er_begun_read(folder, 9, &list), 0);
    assert_true(list.known);
    assert_int_equal(list.n, ER_BEGUN_MAX);
    er_free(list.entries);
    int place = er_begun_add(b, 5000, 1);
    assert_int_equal(place, -1);
    er_begun_remove(b, place);
    assert_int_equal(er_begun_read(folder, 9, &list), 0);
    assert_false(list.known);
    assert_int_equal(er_begun_add(NULL, 1, 1), -1);
    er_begun_remove(NULL, 0);
    er_begun_close(b);
    er_begun_delete(folder, 9);
}

/* What never began must not pass for begun because it could not be looked up. */
static void
table__that_cannot_be_read_now_is_not_an_empty_one(void **state)
{
    (void)state;
    struct er_begun_list list;
    struct rlimit before, none;
    struct er_begun *b = er_begun_open(folder, 6);
    assert_true(er_begun_add(b, 1, 1) >= 0);
    er_begun_close(b);
    for (int n = 1; n <= 2; n++) {
        er_mem_fault_set(n, 0);
        assert_int_equal(er_begun_read(folder, 6, &list), ER_ENOMEM);
        er_mem_fault_set(0, 0);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = er_begun_read(folder, 6, &list);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, ER_EBUSY);
    assert_false(list.known);
    assert_int_equal(er_begun_read(folder, 6, &list), 0);
    assert_true(er_begun_has(&list, 1, 1));
    er_free(list.entries);
    er_begun_delete(folder, 6);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table__tells_what_a_killed_process_had_begun),
        cmocka_unit_test(table__knows_nothing_when_it_is_not_there_or_of_another_boot),
        cmocka_unit_test(table__that_was_too_small_knows_nothing),
        cmocka_unit_test(table__that_cannot_be_read_now_is_not_an_empty_one),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
