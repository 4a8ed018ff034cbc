/* SPDX-License-Identifier: MIT */
#include "wire/outlog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four above */
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

static char dir[64];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/test_outlog.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int
teardown(void **state)
{
    (void)state;
    char path[128];
    er_outlog_delete(dir, 42, 1);
    (void)snprintf(path, sizeof path, "%s/0", dir);
    (void)rmdir(path);
    return rmdir(dir);
}

static void
create(struct er_outlog *log, uint64_t head, uint64_t tail)
{
    assert_int_equal(er_outlog_create(log, dir, 42, 1, head, tail, NULL), 0);
}

static void
out(struct er_outlog *log, const char *text)
{
    er_outlog_write(log, ER_OUTLOG_STDOUT, 1000, text, strlen(text));
}

/* Reads all there is now: output as text, with [N] where N bytes are missing, {..} for a
 * note, and 'e' before what was stderr. */
static void
collect(struct er_outlog_reader *r, struct er_buf *b, uint64_t *at)
{
    struct er_outlog_frame f;
    int rc;
    while ((rc = er_outlog_next(r, &f)) == 1) {
        if (f.offset > *at) {
            er_buf_addf(b, "[%d]", (int)(f.offset - *at));
        }
        *at = f.offset;
        if (f.kind == ER_OUTLOG_STDERR) {
            er_buf_add_char(b, 'e');
        }
        er_buf_add(b, f.data, f.len);
        if (f.kind == ER_OUTLOG_STDOUT || f.kind == ER_OUTLOG_STDERR) {
            *at += f.len;
        }
    }
    assert_int_equal(rc, 0);
}

static void
assert_reads(const char *want)
{
    struct er_outlog_reader *r;
    struct er_buf b;
    uint64_t at = 0;
    er_buf_init(&b, 0);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    collect(r, &b, &at);
    assert_string_equal(b.data ? b.data : "", want);
    er_outlog_reader_close(r);
    er_buf_fini(&b);
}

static void
outlog__gives_back_both_streams_in_order(void **state)
{
    (void)state;
    struct er_outlog log;
    create(&log, 1000, 1000);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_START, 5, "{\"pid\":77}"), 0);
    out(&log, "one\n");
    er_outlog_write(&log, ER_OUTLOG_STDERR, 2000, "two\n", 4);
    out(&log, "three\n");
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{\"x\":1}"), 0);
    assert_int_equal(log.bytes, 14);
    er_outlog_close(&log);
    assert_reads("{\"pid\":77}one\netwo\nthree\n{\"x\":1}");
}

static void
outlog__keeps_head_and_at_least_the_last_tail_bytes(void **state)
{
    (void)state;
    struct er_outlog log;
    create(&log, 10, 8);
    for (int i = 0; i < 10; i++) {
        char text[8];
        (void)snprintf(text, sizeof text, "%d-----", i);
        out(&log, text);
    }
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{}"), 0);
    assert_int_equal(log.bytes, 60);
    er_outlog_close(&log);
    /* head 10; tails [10,18) [18,26) ... [42,50) [50,58) [58,60): the last two are kept
     */
    assert_reads("0-----1---[40]----9-----{}");
}

static void
outlog__zero_tail_drops_what_is_behind_the_head(void **state)
{
    (void)state;
    struct er_outlog log;
    create(&log, 4, 0);
    out(&log, "abcdefgh");
    out(&log, "ijk");
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{}"), 0);
    assert_int_equal(log.failed, 0);
    er_outlog_close(&log);
    assert_reads("abcd[7]{}");
}

static void
outlog__one_write_larger_than_all_is_split(void **state)
{
    (void)state;
    struct er_outlog log;
    create(&log, 4, 4);
    out(&log, "0123456789abcdefghij");
    er_outlog_close(&log);
    assert_reads("0123[8]cdefghij");
}

static void
outlog__a_reader_follows_the_writer_over_rotations(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_buf b;
    uint64_t at = 0;
    er_buf_init(&b, 0);
    create(&log, 6, 6);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    const char *const parts[] = {"ab", "cdef", "gh", "ijklmn", "opqrst", "uvwxyz"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        out(&log, parts[i]);
        collect(r, &b, &at);
    }
    assert_string_equal(b.data, "abcdefghijklmnopqrstuvwxyz");
    assert_int_equal(at, 26);
    /* a slow one, two rotations behind, is told what it missed */
    out(&log, "0123456789ABCDEFGH");
    collect(r, &b, &at);
    assert_int_equal(at, 44);
    assert_non_null(strstr(b.data, "z0123[6]ABCDEFGH"));
    er_outlog_reader_close(r);
    er_buf_fini(&b);
    er_outlog_close(&log);
}

static void
outlog__binary_bytes_and_a_frame_of_a_megabyte(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    size_t n = 1 << 20;
    char *data = er_xalloc(n);
    for (size_t i = 0; i < n; i++) {
        data[i] = (char)(i * 7 + (i >> 8));
    }
    create(&log, 8 << 20, 0);
    er_outlog_write(&log, ER_OUTLOG_STDERR, -5, data, n);
    out(&log, "x");
    er_outlog_close(&log);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    assert_int_equal(er_outlog_next(r, &f), 1);
    assert_int_equal(f.kind, ER_OUTLOG_STDERR);
    assert_int_equal(f.at, -5);
    assert_int_equal(f.len, n);
    assert_memory_equal(f.data, data, n);
    assert_int_equal(er_outlog_next(r, &f), 1);
    assert_int_equal(f.offset, n);
    assert_int_equal(er_outlog_next(r, &f), 0);
    er_outlog_reader_close(r);
    er_free(data);
}

static void
outlog__refuses_to_make_a_log_twice(void **state)
{
    (void)state;
    struct er_outlog log, again;
    struct er_err err = {0};
    create(&log, 10, 10);
    assert_int_equal(er_outlog_create(&again, dir, 42, 1, 1, 1, &err), ER_EEXISTS);
    assert_non_null(strstr(err.text, "42-1.log"));
    er_outlog_close(&log);
    er_outlog_close(&log);
}

/* Cuts the head file at every length and reads: never an error, never a half frame. */
static void
outlog__a_frame_cut_short_ends_the_file(void **state)
{
    (void)state;
    struct er_outlog log;
    create(&log, 1000, 0);
    out(&log, "first");
    out(&log, "second");
    er_outlog_close(&log);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/0/42-1.log", dir);
    for (off_t size = 24 + 5 + 24 + 6; size >= 0; size--) {
        assert_int_equal(truncate(path, size), 0);
        assert_reads(size >= 59 ? "firstsecond" : size >= 29 ? "first" : "");
    }
}

static void
outlog__exit_is_found_in_head_or_tail(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_buf b;
    int pid = -1;
    er_buf_init(&b, 0);
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, &pid), ER_ENOTFOUND);
    create(&log, 4, 4);
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, &pid), 0);
    assert_int_equal(pid, 0);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_START, 5, "{\"pid\": 77}"), 0);
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, &pid), 0);
    assert_int_equal(pid, 77);
    out(&log, "0123456789abcdef");
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, NULL), 0);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{\"exit_code\":3}"), 0);
    er_outlog_close(&log);
    pid = 0;
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, &pid), 1);
    assert_int_equal(pid, 77);
    assert_string_equal(b.data, "{\"exit_code\":3}");
    er_outlog_delete(dir, 42, 1);
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, &pid), ER_ENOTFOUND);
    er_buf_fini(&b);
}

/* A file size limit stands for a full disk: the write that does not fit comes back short,
 * and the exit frame is still readable behind the last whole one. */
static void
outlog__a_full_disk_drops_output_but_leaves_whole_frames(void **state)
{
    (void)state;
    struct er_outlog log;
    struct rlimit was, small = {.rlim_cur = 60, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    create(&log, 1000, 1000);
    out(&log, "first");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    out(&log, "this one does not fit into the rest");
    assert_int_not_equal(log.failed, 0);
    out(&log, "dropped");
    assert_int_equal(log.bytes, 5 + 35 + 7);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{}"), 0);
    er_outlog_close(&log);
    assert_reads("first[42]{}");
}

static void
outlog__garbage_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    struct er_buf b;
    er_buf_init(&b, 0);
    create(&log, 1000, 0);
    char junk[100];
    memset(junk, 'x', sizeof junk);
    assert_int_equal(write(log.head_fd, junk, sizeof junk), sizeof junk);
    er_outlog_close(&log);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    assert_int_equal(er_outlog_next(r, &f), ER_ECORRUPT);
    er_outlog_reader_close(r);
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, NULL), 0);
    er_buf_fini(&b);
}

/* Lets `n` more descriptors be opened; gives what was before. */
static struct rlimit
leave_descriptors(int n)
{
    struct rlimit before, less;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(next >= 0);
    (void)close(next);
    less = before;
    less.rlim_cur = (rlim_t)(next + n);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    return before;
}

static void
outlog__exit_that_cannot_be_seen_is_not_missing(void **state)
{
    struct er_outlog log;
    struct er_buf b;
    (void)state;
    create(&log, 10, 100);
    er_outlog_write(&log, ER_OUTLOG_STDOUT, 1, "0123456789abcdef", 16); /* into a tail */
    assert_int_equal(er_outlog_note(&log, ER_OUTLOG_EXIT, 9, "{\"exit_code\":3}"), 0);
    er_outlog_close(&log);
    er_buf_init(&b, 0);
    for (int n = 0; n < 2; n++) { /* for nothing; for the head only */
        struct rlimit before = leave_descriptors(n);
        int rc = er_outlog_exit(dir, 42, 1, &b, NULL);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(rc, ER_EBUSY);
    }
    assert_int_equal(er_outlog_exit(dir, 42, 1, &b, NULL), 1);
    er_buf_fini(&b);
}

static void
outlog__output_that_cannot_be_seen_is_not_missing(void **state)
{
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    (void)state;
    create(&log, 10, 100);
    er_outlog_write(&log, ER_OUTLOG_STDOUT, 1, "0123456789abcdef", 16); /* into a tail */
    er_outlog_close(&log);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    assert_int_equal(er_outlog_next(r, &f), 1);
    assert_int_equal(f.len, 10);
    struct rlimit before = leave_descriptors(0);
    int rc = er_outlog_next(r, &f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, ER_EBUSY);
    assert_int_equal(er_outlog_next(r, &f), 1); /* it goes on where it was */
    assert_int_equal(f.len, 6);
    assert_int_equal(er_outlog_next(r, &f), 0);
    er_outlog_reader_close(r);
}

/* The end of `text` that its last n lines are. */
static const char *
last_lines(const char *text, int n)
{
    const char *at = text + strlen(text);
    for (int left = n; at > text; at--) {
        bool begins = at[-1] == '\n' && at[0] != '\0';
        if (n == 0 || (begins && --left == 0)) {
            break;
        }
    }
    return at;
}

static void
assert_last_lines(const char *all, int n)
{
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    assert_int_equal(er_outlog_hold(r, true), 0);
    int64_t skip = er_outlog_seek_lines(r, 0, n);
    while (er_outlog_next(r, &f) == 1) {
        er_buf_add(&b, f.data, f.len);
    }
    er_outlog_reader_close(r);
    const char *got = b.data ? b.data : "";
    for (; skip > 0; skip--) {
        const char *nl = strchr(got, '\n');
        got = nl ? nl + 1 : got + strlen(got);
    }
    assert_string_equal(got, last_lines(all, n));
    er_buf_fini(&b);
}

static void
outlog__the_last_lines_are_found_in_whatever_file_they_begin(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "\n",
                                        "a",
                                        "a\n",
                                        "a\nbcdefgh\ni\n\n\njk",
                                        "0123456\n89abcdefgh\n\nijklm\n",
                                        "0123456789abcdefghijklmno\n",
                                        "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct er_outlog log;
        create(&log, 10, 8); /* what does not fit into the head and two tails is none */
        assert_true(strlen(texts[i]) <= 26);
        out(&log, texts[i]);
        er_outlog_close(&log);
        for (int n = 0; n < 30; n++) {
            assert_last_lines(texts[i], n);
        }
        er_outlog_delete(dir, 42, 1);
    }
}

/* A writer that is always ahead of the reader, and takes its files away. */
static void
outlog__what_is_held_ends_however_the_log_grows(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_outlog_frame f;
    for (int files = 1; files <= 3; files++) {
        struct er_buf b;
        const char *text = "0123\n5678\nabcd\nefgh\nijkl\n";
        size_t len = (size_t)files * 8 - 1;
        er_buf_init(&b, 0);
        create(&log, 8, 8);
        er_outlog_write(&log, ER_OUTLOG_STDOUT, 1, text, len);
        assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
        assert_int_equal(er_outlog_hold(r, true), 0);
        out(&log, "more, more, more and more");
        int64_t skip = er_outlog_seek_lines(r, 0, 1000);
        assert_int_equal(skip, 0);
        while (er_outlog_next(r, &f) == 1) {
            er_buf_add(&b, f.data, f.len);
            assert_true(b.len <= len);
            out(&log, "more, more, more and more");
        }
        assert_int_equal(b.len, len);
        assert_memory_equal(b.data, text, len);
        er_outlog_reader_close(r);
        er_outlog_close(&log);
        er_outlog_delete(dir, 42, 1);
        er_buf_fini(&b);
    }
}

/* One that follows is given what is held, and then what came later. */
static void
outlog__what_is_held_is_not_missed_by_one_that_follows(void **state)
{
    (void)state;
    struct er_outlog log;
    struct er_outlog_reader *r;
    struct er_buf b;
    uint64_t at = 0;
    er_buf_init(&b, 0);
    create(&log, 8, 8);
    out(&log, "0123456\n89abcde\nghi");
    assert_int_equal(er_outlog_open(dir, 42, 1, &r), 0);
    assert_int_equal(er_outlog_hold(r, false), 0);
    out(&log, "klmn\nABCDEFG\nIJK");                    /* takes the first tail away */
    assert_int_equal(er_outlog_seek_lines(r, 0, 1), 1); /* of one line and "ghi" */
    collect(r, &b, &at);
    assert_string_equal(b.data, "[8]89abcde\nghiklmn\nABCDEFG\nIJK");
    er_outlog_reader_close(r);
    er_outlog_close(&log);
    er_buf_fini(&b);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(outlog__gives_back_both_streams_in_order),
        T(outlog__keeps_head_and_at_least_the_last_tail_bytes),
        T(outlog__zero_tail_drops_what_is_behind_the_head),
        T(outlog__one_write_larger_than_all_is_split),
        T(outlog__a_reader_follows_the_writer_over_rotations),
        T(outlog__the_last_lines_are_found_in_whatever_file_they_begin),
        T(outlog__what_is_held_ends_however_the_log_grows),
        T(outlog__what_is_held_is_not_missed_by_one_that_follows),
        T(outlog__binary_bytes_and_a_frame_of_a_megabyte),
        T(outlog__refuses_to_make_a_log_twice),
        T(outlog__a_frame_cut_short_ends_the_file),
        T(outlog__exit_is_found_in_head_or_tail),
        T(outlog__exit_that_cannot_be_seen_is_not_missing),
        T(outlog__output_that_cannot_be_seen_is_not_missing),
        T(outlog__a_full_disk_drops_output_but_leaves_whole_frames),
        T(outlog__garbage_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
