/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

static char dir[64]; /* of this run */

static int
make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/errand-test-io.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"a/b/c", "a/b",  "a",  "file",
                                        "big",   "ro/x", "ro", ""};
    char path[200];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    return access(dir, F_OK) == 0 ? -1 : 0; /* nothing else was left in it */
}

static const char *
in_dir(const char *name)
{
    static char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void
mkdirs__makes_parents_and_leaves_what_exists(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(er_mkdirs(in_dir("a/b/c"), 0700, NULL), 0);
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(er_mkdirs(in_dir("a/b/c"), 0755, NULL), 0);
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void
mkdirs__says_what_is_wrong(void **state)
{
    (void)state;
    struct er_err err;
    char longest[PATH_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(er_mkdirs("", 0700, &err), ER_EINVALID);
    assert_string_equal(err.text, "cannot make folder '': the name is empty");
    assert_int_equal(er_mkdirs(longest, 0700, &err), ER_EINVALID);
    assert_non_null(strstr(err.text, "too long"));
    assert_int_not_equal(er_mkdirs("/proc/errand/x", 0700, &err), 0);
    assert_non_null(strstr(err.text, "cannot make folder '/proc/errand'"));
}

static void
read_file__gives_what_was_written(void **state)
{
    (void)state;
    struct er_buf want, got;
    er_buf_init(&want, 0);
    er_buf_init(&got, 0);
    for (int i = 0; i < 20000; i++) {
        er_buf_addf(&want, "line %d\n", i);
    }
    int fd = open(in_dir("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(er_write_all(fd, want.data, want.len), 0);
    assert_int_equal(er_write_all(fd, NULL, 0), 0);
    er_close(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(er_read_file(in_dir("file"), &got, NULL), 0);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    er_buf_fini(&want);
    er_buf_fini(&got);
}

static void
read_file__says_what_is_wrong(void **state)
{
    (void)state;
    struct er_buf b;
    struct er_err err;
    er_buf_init(&b, 100);
    assert_int_equal(er_read_file(in_dir("none"), &b, &err), ER_ENOTFOUND);
    assert_non_null(strstr(err.text, "/none': No such file"));
    assert_int_equal(er_read_file(dir, &b, &err), ER_EIO);
    assert_non_null(strstr(err.text, "cannot read"));
    int fd = open(in_dir("big"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char text[101] = "";
    assert_int_equal(er_write_all(fd, text, sizeof text), 0);
    er_close(&fd);
    assert_int_equal(er_read_file(in_dir("big"), &b, &err), ER_ETOOBIG);
    er_buf_fini(&b);
}

static void
write_all__reports_what_the_system_says(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(er_write_all(full, "x", 1), ER_EDISKFULL);
    er_close(&full);
    assert_int_equal(er_write_all(-1, "x", 1), ER_EIO);
    assert_int_equal(errno, EBADF);
}

#define PIPED (1 << 20)

static void *
drain(void *ctx)
{
    const int *fd = ctx;
    char chunk[777];
    size_t sum = 0;
    ssize_t n;
    while ((n = read(*fd, chunk, sizeof chunk)) > 0) {
        sum += (size_t)n;
    }
    return (void *)(uintptr_t)sum;
}

static void
write_all__goes_on_after_short_writes(void **state)
{
    (void)state;
    static char data[PIPED];
    int fds[2];
    pthread_t thread;
    void *sum;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, drain, &fds[0]), 0);
    assert_int_equal(er_write_all(fds[1], data, sizeof data), 0);
    er_close(&fds[1]);
    assert_int_equal(pthread_join(thread, &sum), 0);
    assert_int_equal((uintptr_t)sum, PIPED);
    er_close(&fds[0]);
}

static void
close__keeps_errno_and_takes_what_is_closed(void **state)
{
    (void)state;
    int none = -1, bad = 999999;
    errno = ENOSPC;
    er_close(&none);
    er_close(&bad);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(bad, -1);
}

static void
pipe__blocks_at_the_other_end_only_and_no_child_has_it(void **state)
{
    (void)state;
    for (int writes = 0; writes < 2; writes++) {
        int ours = -1, theirs = -1;
        assert_int_equal(
            writes ? er_pipe_write(&ours, &theirs) : er_pipe_read(&ours, &theirs), 0);
        assert_true(fcntl(ours, F_GETFL) & O_NONBLOCK);
        assert_false(fcntl(theirs, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(theirs, F_GETFD) & FD_CLOEXEC);
        char got = 0;
        assert_int_equal(write(writes ? ours : theirs, "x", 1), 1);
        assert_int_equal(read(writes ? theirs : ours, &got, 1), 1);
        assert_int_equal(got, 'x');
        er_close(&ours);
        er_close(&theirs);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mkdirs__makes_parents_and_leaves_what_exists),
        cmocka_unit_test(mkdirs__says_what_is_wrong),
        cmocka_unit_test(read_file__gives_what_was_written),
        cmocka_unit_test(read_file__says_what_is_wrong),
        cmocka_unit_test(write_all__reports_what_the_system_says),
        cmocka_unit_test(write_all__goes_on_after_short_writes),
        cmocka_unit_test(close__keeps_errno_and_takes_what_is_closed),
        cmocka_unit_test(pipe__blocks_at_the_other_end_only_and_no_child_has_it),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
