/* SPDX-License-Identifier: MIT */
/* What real programs print (fixtures/, captured from them), what others are known to
 * print, what must not be taken for progress, and that the cut of the bytes does not
 * matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/rand.h"
#include "model/progress_scan.h"

static const char *const fixtures[] = {
    "cargo_always.txt", "cargo_tty.txt",   "ctest.txt",           "curl_bar.txt",
    "curl_meter.txt",   "git_clone.txt",   "make_cmake.txt",      "ninja_pipe.txt",
    "ninja_tty.txt",    "rsync_files.txt", "rsync_progress2.txt", "wget_bar.txt",
    "wget_dots.txt",
};
#define FIXTURES (sizeof fixtures / sizeof fixtures[0])

static void
load(const char *name, struct er_buf *b)
{
    const char *dir = getenv("TEST_FIXTURES");
    char path[1000];
    struct er_err err;
    assert_true(snprintf(path, sizeof path, "%s/%s", dir ? dir : "tests/unit/fixtures",
                         name) < (int)sizeof path);
    er_buf_init(b, 0);
    if (er_read_file(path, b, &err)) {
        fail_msg("%s", err.text);
    }
}

/* All that a scanner and a task's progress make of an output that comes in pieces. */
struct run {
    struct er_progress_scan scan;
    struct er_progress progress;
    er_usec now;
    int changes, restarts;
    double lowest_step; /* the least change of the shown percent from one to the next */
};

static void
begin(struct run *r)
{
    memset(r, 0, sizeof *r);
    er_progress_scan_init(&r->scan);
    er_progress_init(&r->progress, 0);
}

static void
feed(struct run *r, const char *p, size_t n)
{
    struct er_progress_update u;
    double before = r->progress.percent;
    er_progress_scan_feed(&r->scan, p, n);
    r->now += 100 * ER_USEC_PER_MS;
    if (er_progress_scan_take(&r->scan, &u)) {
        r->changes++;
        r->restarts += u.restart ? 1 : 0;
        assert_true(er_progress_update(&r->progress, &u, r->now) >= 0);
        double step = r->progress.percent - before;
        r->lowest_step = step < r->lowest_step ? step : r->lowest_step;
    }
}

static void
feed_text(struct run *r, const char *text)
{
    feed(r, text, strlen(text));
}

/* Runs a fixture line by line, as far as a pipe would bring it. */
static void
run_fixture(struct run *r, const char *name)
{
    struct er_buf b;
    load(name, &b);
    begin(r);
    const char *p = b.data, *end = b.data + b.len;
    while (p < end) {
        const char *stop = p;
        while (stop < end && *stop != '\n' && *stop != '\r') {
            stop++;
        }
        stop += stop < end ? 1 : 0;
        feed(r, p, (size_t)(stop - p));
        p = stop;
    }
    er_buf_fini(&b);
}

static double
percent_of(const struct er_progress_found *f)
{
    if (f->has_percent) {
        return f->percent;
    }
    return f->has_counts ? 100.0 * (double)f->current / (double)f->total : -1.0;
}

/* What a whole text shows: its percent, or -1 for nothing. */
static double
percent_in(const char *text)
{
    struct er_progress_scan s;
    er_progress_scan_init(&s);
    er_progress_scan_feed(&s, text, strlen(text));
    return s.shown.any ? percent_of(&s.shown) : -1.0;
}

static void
assert_percent_in(const char *text, double want)
{
    double got = percent_in(text);
    if (fabs(got - want) > 0.01) {
        fail_msg("'%s' shows %.2f, expected %.2f", text, got, want);
    }
}

static void
assert_percent(const struct run *r, double want)
{
    if (!r->progress.has_percent || fabs(r->progress.percent - want) > 0.01) {
        fail_msg("percent %.2f, expected %.2f", r->progress.percent, want);
    }
}

static void
scan__git_fills_one_percent_with_its_phases(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "git_clone.txt");
    assert_int_equal(r.restarts, 0);
    assert_true(r.lowest_step >= 0.0);
    assert_true(r.changes > 300);
    assert_percent(&r, 92.0);
    assert_string_equal(r.progress.message, "Resolving deltas");
    assert_string_equal(r.progress.unit, "deltas");
    assert_int_equal(r.progress.total, 753);
}

static void
scan__git_counts_the_objects_it_receives(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "Cloning into 'x'...\nremote: Enumerating objects: 1000, done.\n");
    assert_int_equal(r.changes, 0);
    feed_text(&r, "remote: Counting objects:  50% (500/1000)        \r");
    assert_percent(&r, 1.0);
    feed_text(&r, "remote: Compressing objects: 100% (800/800), done.        \n");
    assert_percent(&r, 6.0);
    feed_text(&r, "Receiving objects:  50% (500/1000), 1.20 MiB | 2.30 MiB/s   \r");
    assert_percent(&r, 6.0 + 69.0 / 2);
    assert_int_equal(r.progress.current, 500);
    assert_string_equal(r.progress.unit, "objects");
    assert_string_equal(r.progress.message, "Receiving objects");
    feed_text(&r, "Receiving objects: 100% (1000/1000), 2.40 MiB | 2.30 MiB/s, done.\n");
    feed_text(&r,
              "Resolving deltas: 100% (300/300), done.\nUpdating files:  50% (10/20)\r");
    assert_percent(&r, 96.0);
    feed_text(&r, "Updating files: 100% (20/20), done.\n");
    assert_percent(&r, 100.0);
    assert_int_equal(r.restarts, 0);
}

static void
scan__git_begins_anew_with_the_next_repository(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "Resolving deltas: 100% (300/300), done.\n");
    assert_percent(&r, 92.0);
    feed_text(&r,
              "Cloning into 'other'...\nremote: Counting objects: 100% (9/9), done.\n");
    assert_percent(&r, 2.0);
    assert_int_equal(r.restarts, 1);
}

static void
scan__ninja_steps_in_a_pipe_and_on_a_terminal(void **state)
{
    (void)state;
    static const char *const names[] = {"ninja_pipe.txt", "ninja_tty.txt"};
    for (size_t i = 0; i < 2; i++) {
        struct run r;
        run_fixture(&r, names[i]);
        assert_percent(&r, 100.0);
        assert_int_equal(r.progress.total, 42);
        assert_int_equal(r.restarts, 0);
        assert_true(r.lowest_step >= 0.0);
        assert_true(r.changes >= 40);
        assert_string_equal(r.progress.message, "Linking C executable demo");
    }
}

static void
scan__ninja_begins_anew_after_it_regenerated(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "[0/1] Regenerating build files\n[1/1] Done\n");
    assert_percent(&r, 100.0);
    feed_text(&r, "[1/300] Building C object a.c.o\n");
    assert_percent(&r, 100.0 / 300);
    assert_string_equal(r.progress.message, "Building C object a.c.o");
}

static void
scan__make_with_cmake_has_percents_in_brackets(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "make_cmake.txt");
    assert_percent(&r, 100.0);
    assert_int_equal(r.restarts, 0);
    assert_string_equal(r.progress.message, "Built target demo");
}

static void
scan__ctest_counts_after_its_second_line(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "ctest.txt");
    assert_percent(&r, 100.0);
    assert_int_equal(r.progress.total, 12);
    assert_percent_in(" 1/12 Test  #1: t0 ....   Passed    0.00 sec\n", -1);
}

static void
scan__curl_has_a_table(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "curl_meter.txt");
    assert_percent(&r, 100.0);
    assert_string_equal(r.progress.unit, "bytes");
    assert_int_equal(r.progress.total, 11953766); /* 11.4M */
    assert_int_equal(r.restarts, 0);
    assert_true(r.changes >= 3);
    /* the same numbers without the head of the table are nothing */
    assert_percent_in(
        "\r 42 11.4M   42 4928k    0     0  4100k      0  0:00:02  0:00:01  "
        "0:00:01 4103k\r",
        -1);
}

static void
scan__curl_without_a_known_length_tells_nothing(void **state)
{
    (void)state;
    assert_percent_in(
        "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  "
        "Current\n"
        "                                 Dload  Upload   Total   Spent    Left  Speed\n"
        "\r  0     0    0  512k    0     0   100k      0 --:--:--  0:00:05 --:--:--  "
        "100k",
        -1);
}

static void
scan__curl_and_wget_bars_are_meters(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "curl_bar.txt");
    assert_int_equal(r.changes, 2);
    assert_percent(&r, 100.0);
    run_fixture(&r, "wget_bar.txt");
    assert_percent(&r, 100.0);
    assert_true(r.changes > 10);
    assert_true(r.lowest_step >= 0.0);
    run_fixture(&r, "wget_dots.txt");
    assert_percent(&r, 100.0);
    assert_true(r.changes > 40);
    assert_true(r.lowest_step >= 0.0);
}

static void
scan__rsync_tells_the_whole(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "rsync_progress2.txt");
    assert_percent(&r, 100.0);
    assert_int_equal(r.restarts, 0);
    assert_true(r.lowest_step >= 0.0);
    assert_true(r.changes > 10);
}

static void
scan__rsync_per_file_counts_files(void **state)
{
    (void)state;
    struct run r;
    run_fixture(&r, "rsync_files.txt");
    assert_percent(&r, 100.0);
    assert_int_equal(r.progress.total, 64);
    assert_string_equal(r.progress.unit, "files");
    assert_int_equal(r.restarts, 0);
    assert_true(r.lowest_step >= 0.0);
    /* the first file's own percent must not be taken for the whole */
    assert_percent_in("a/f1\n         32,768  81%    0.00kB/s    0:00:00  \r", -1);
    /* nor a total that still grows */
    assert_percent_in(
        "         40,000 100%    6.90MB/s    0:00:00 (xfr#1, ir-chk=60/64)\n", -1);
}

static void
scan__cargo_counts_crates(void **state)
{
    (void)state;
    static const char *const names[] = {"cargo_tty.txt", "cargo_always.txt"};
    for (size_t i = 0; i < 2; i++) {
        struct run r;
        run_fixture(&r, names[i]);
        assert_int_equal(r.progress.current, 8);
        assert_int_equal(r.progress.total, 9);
        assert_string_equal(r.progress.unit, "crates");
        assert_string_equal(r.progress.message, "top(bin)");
        assert_int_equal(r.restarts, 0);
    }
}

static void
scan__other_programs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double percent;
    } cases[] = {
        /* apt and dpkg */
        {"\r0% [Working]\r42% [2 libfoo 12.3 kB/40 kB 25%]", 42},
        {"Progress: [ 42%] [########............]", 42},
        {"(Reading database ... 55%\r", 55},
        /* pip: a bar of another alphabet, sizes */
        {"\r     \x1b[38;5;237m━━━━━━━━╸━━━\x1b[0m \x1b[32m1.5/3.0 MB\x1b[0m "
         "\x1b[31m12.3 MB/s\x1b[0m eta \x1b[36m0:00:01\x1b[0m",
         50},
        {"\r     42% |████████████    | 1.2MB 3.4MB/s eta 0:00:02", 42},
        /* tqdm */
        {"\rtrain:  42%|████▏     | 42/100 [00:10<00:14,  4.12it/s]", 42},
        {" 33%|###3      | 1/3 [00:01<00:02,  1.00s/it]\r ", 33},
        /* pv, zstd, 7z */
        {"1.2GiB 0:00:10 [ 123MiB/s] [=====>      ] 42% ETA 0:00:12\r ", 42},
        {"\r\x1b[Kfile.tar            :  7%   \r", 7},
        {"  0%\b\b\b\b 12%\b\b\b\b 13%", 13},
        /* yarn, docker, pytest, npm */
        {"[2/4] Fetching packages...\n", 50},
        {"#7 [3/5] RUN apt-get update\n", 60},
        {"Step 3/10 : RUN make\n", 30},
        {"tests/test_a.py ........F.......                          [ 42%]\n", 42},
        {"(3 of 10): Installing foo\n", 30},
        {"Extracting file 3 of 10\n", 30},
        /* the terminal's own */
        {"\x1b]9;4;1;42\x07", 42},
        {"\x1b]9;4;1;42\x1b\\text", 42},
        {"\x1b]9;4;2;60\x07", 60},
        {"\x1b]9;4;4;61\x07", 61},
        /* plain */
        {"42%\n", 42},
        {"42.5 %\n", 42.5},
        {"12/48\n", 25},
        {"Downloading: 42%\n", 42},
        {"Downloading...42%", 42},
        {"progress=42%\n", 42},
        {"42% done\n", 42},
        {"42% complete, 3 errors\n", 42},
        {"[####      ] 40%\n", 40},
        {"Epoch 3/10\n", 30},
        {"Processing 12/48 files\n", 25},
        {"100%\n", 100},
        {"0%\n", 0},
        {"Progress: 42,5 %\n", 42.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_percent_in(cases[i].text, cases[i].percent);
    }
}

static void
scan__is_not_fooled(void **state)
{
    (void)state;
    static const char *const cases[] = {
        /* dates, times, versions, paths, addresses, fractions */
        "2024/01/02 10:11:12 started\n",
        "2024/01/02\n",
        "01/02/2024\n",
        "see /usr/12/345 for it\n",
        "/usr/12/345\n",
        "12/345/\n",
        "a/12/345\n",
        "open 24/7\n",
        "24/7\n",
        "12/31 10:00 cron started\n",
        "add 1/2 cup of sugar\n",
        "10.0.0.0/24 dev eth0\n",
        "HTTP/1.1 200\n",
        "v1/2/3\n",
        "x1/2\n",
        "1/2x\n",
        "[2024/01/02] log\n",
        "0/0\n",
        "[5/3] odd\n",
        "tag[1/2]\n",
        "3 of 10 users agree\n",
        "10 of 3\n",
        /* percents that are none */
        "http://h/a%20b%21c\n",
        "GET /x?q=50%25 HTTP/1.1\n",
        "load 95%\n",
        "load average: 95%\n",
        "cpu 12%\ncpu 13%\ncpu 14%\ncpu 15%\n",
        "the disk is 95% full\n",
        "95% of users think so\n",
        "we are done with 95% of the work\n",
        "95% confidence interval\n",
        "150%\n",
        "1000%\n",
        "-5%\n",
        "x = 42 % 7\n",
        "printf(\"%d\", 5);\n",
        "50%-60%\n",
        "fully 100%natural\n",
        "TOTAL      120     6    95%\n",
        "Filesystem  Size  Used Avail Use% Mounted on\n/dev/sda1  98G  42G  51G  45% /\n",
        "src/a.py   10   0  100%\nsrc/b.py   20   4   80%\nsrc/c.py  20   0   100%\n",
        "\rCPU usage: 42%\r",
        "\rmem 42%\r",
        "100.1%\n",
        "99999999999999999999%\n",
        "99999999999999999999/99999999999999999999\n",
        "%\n",
        " % \n",
        "/\n",
        "5/\n",
        "/5\n",
        " of \n",
        /* sequences of the terminal that say no percent */
        "\x1b]9;4;0;0\x07",
        "\x1b]9;4;3;0\x07",
        "\x1b]9;4;1;\x07",
        "\x1b]9;4;1;101\x07",
        "\x1b]9;4;1;42",
        "\x1b]9;4;1;42x\x07",
        "\x1b]0;42%\x07",
        "\x1bP42%\x1b\\",
        "\x1b[42%m",
        "9;4;1;42\n",
        /* not text */
        "\x01\x02 42%\n",
        "\xff\xfe 42%\r",
        "42%\x7f\n",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_percent_in(cases[i], -1);
    }
}

static void
scan__believes_a_percent_that_rises_twice(void **state)
{
    (void)state;
    assert_percent_in("job a at 10%\n", -1);
    assert_percent_in("job a at 10%\njob a at 20%\n", -1);
    assert_percent_in("job a at 10%\njob a at 20%\njob a at 20%\n", -1);
    assert_percent_in("job a at 10%\njob a at 20%\njob a at 30%\n", 30);
    assert_percent_in("job a at 10%\nhello\njob a at 20%\njob a at 30%\njob a at 31%\n",
                      31);
    assert_percent_in("job a at 10%\njob b at 20%\njob c at 30%\n", -1);
    assert_percent_in("job a at 30%\njob a at 20%\njob a at 10%\n", -1);
}

static void
scan__believes_counts_that_rise_with_the_same_total(void **state)
{
    (void)state;
    assert_percent_in("copied a 1/4\n", -1);
    assert_percent_in("copied 1/4 to b\ncopied 1/4 to b\n", -1);
    assert_percent_in("copied 1/4 to b\ncopied 2/4 to b\n", 50);
    assert_percent_in("copied 1/4 to b\ncopied 2/5 to b\n", -1);
    assert_percent_in("got 1 of 4 pieces\ngot 2 of 4 pieces\n", 50);
    assert_percent_in("11/21 12:00 x\n11/21 12:01 y\n11/21 12:02 z\n", -1);
}

static void
scan__a_meter_is_a_line_that_is_written_over(void **state)
{
    (void)state;
    assert_percent_in("thing 42% left to say\n", -1);
    assert_percent_in("thing 42% left to say\r\n", -1);
    assert_percent_in("thing 42% left to say\rx", 42);
    assert_percent_in("\rthing 42% left to say", 42);
    assert_percent_in("\x1b[2K\x1b[1Gthing 42% left to say", 42);
    assert_percent_in("\x1b[32mthing 42%\x1b[0m left to say\n", -1);
    assert_percent_in("thing 42% left\x1b[1A", 42);
    assert_percent_in("thing 42% left\x1b[K\n", -1);
    assert_percent_in("\x1b"
                      "7thing 42%\x1b"
                      "8",
                      42);
}

static void
scan__greater_kinds_hold_against_lesser_ones(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "[1/4] Resolving\n");
    assert_percent(&r, 25);
    feed_text(&r, "\r 80% of a file\r");
    assert_percent(&r, 25);
    feed_text(&r, "[2/4] Fetching\n");
    assert_percent(&r, 50);
    assert_int_equal(r.restarts, 0);
}

static void
scan__what_has_ended_gives_way(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "[4/4] Done\n");
    assert_percent(&r, 100);
    feed_text(&r, "\r 10% upload\r");
    assert_percent(&r, 10);
    assert_int_equal(r.restarts, 1);
}

static void
scan__units_and_words_go_with_what_they_belong_to(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "Resolving deltas: 100% (300/300), done.\n");
    assert_string_equal(r.progress.unit, "deltas");
    feed_text(&r, "[1/9] Compiling x\n");
    assert_string_equal(r.progress.unit, "");
    assert_string_equal(r.progress.message, "Compiling x");
    feed_text(&r, "[9/9] Linking x\n\r 10%  \r\n");
    assert_string_equal(r.progress.message, "");
    assert_false(r.progress.has_current);
}

static void
scan__what_is_silent_gives_way(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "[2/4] Fetching\n");
    for (int i = 1; i < 8; i++) {
        char text[40];
        (void)snprintf(text, sizeof text, "\r %d%% upload", i);
        feed_text(&r, text);
        feed_text(&r, "\r");
        assert_percent(&r, 50);
    }
    feed_text(&r, "\r 9% upload\r \r");
    assert_percent(&r, 9);
}

static void
scan__begins_anew_after_the_end(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "\r 50% a\r100% a\r  3% b\r");
    assert_percent(&r, 3);
    assert_int_equal(r.restarts, 1);
    /* but does not go back before */
    feed_text(&r, "\r 50% b\r");
    feed_text(&r, "\r 49% b\r");
    assert_percent(&r, 50);
}

static void
scan__sees_a_line_before_its_end(void **state)
{
    (void)state;
    struct run r;
    begin(&r);
    feed_text(&r, "4");
    assert_int_equal(r.changes, 0);
    feed_text(&r, "2%");
    assert_percent(&r, 42);
    feed_text(&r, "\n43");
    feed_text(&r, "%");
    assert_percent(&r, 43);
    /* a count may go on, and words are only taken whole */
    begin(&r);
    feed_text(&r, "[12/34");
    assert_int_equal(r.changes, 0);
    feed_text(&r, "5] Buil");
    assert_int_equal(r.progress.total, 345);
    assert_string_equal(r.progress.message, "");
    feed_text(&r, "ding x\n");
    assert_string_equal(r.progress.message, "Building x");
}

static void
scan__does_not_look_at_overlong_lines(void **state)
{
    (void)state;
    char text[ER_PROGRESS_SCAN_LINE + 20];
    memset(text, 'a', sizeof text);
    memcpy(text + ER_PROGRESS_SCAN_LINE - 4, " 42%\n", 6);
    memcpy(text, "done ", 5);
    assert_percent_in(text, 42);
    memcpy(text + ER_PROGRESS_SCAN_LINE - 4, "a 42%\n", 7);
    assert_percent_in(text, -1);
    struct run r;
    begin(&r);
    for (int i = 0; i < 3000; i++) {
        feed(&r, text, 100);
    }
    feed_text(&r, "\n17%\n");
    assert_percent(&r, 17);
}

static void
scan__gives_up_escape_sequences_without_an_end(void **state)
{
    (void)state;
    assert_percent_in("\x1b[12\n42%\n", 42);
    assert_percent_in("\x1b]9;4;1;7\n42%\n", 42);
    struct run r;
    begin(&r);
    feed_text(&r, "\x1b]");
    for (int i = 0; i < 1000; i++) {
        feed_text(&r, "aaaaaaaaaa");
    }
    feed_text(&r, "\n42%\n");
    assert_percent(&r, 42);
}

static void
scan__take_gives_each_change_once(void **state)
{
    (void)state;
    struct er_progress_scan s;
    struct er_progress_update u;
    er_progress_scan_init(&s);
    assert_false(er_progress_scan_take(&s, &u));
    er_progress_scan_feed(&s, "nothing\n", 8);
    assert_false(er_progress_scan_take(&s, &u));
    er_progress_scan_feed(&s, "42%\n", 4);
    assert_true(er_progress_scan_take(&s, &u));
    assert_int_equal(u.source, ER_PROGRESS_OUTPUT);
    assert_false(u.restart);
    assert_false(er_progress_scan_take(&s, &u));
    er_progress_scan_feed(&s, "42%\n", 4);
    assert_false(er_progress_scan_take(&s, &u));
    er_progress_scan_feed(&s, NULL, 0);
    assert_false(er_progress_scan_take(&s, &u));
    er_progress_scan_feed(&s, "43%\n", 4);
    assert_true(er_progress_scan_take(&s, &u));
}

static void
scan__looks_at_less_of_a_flood_until_it_finds_something(void **state)
{
    (void)state;
    struct run r;
    static char flood[65536];
    memset(flood, 'x', sizeof flood);
    for (size_t i = 79; i < sizeof flood; i += 80) {
        flood[i] = '\n';
    }
    begin(&r);
    for (int i = 0; i < 64; i++) {
        feed(&r, flood, sizeof flood);
    }
    /* window 64 is the first that is looked at in part: its head, not its tail */
    memcpy(flood + 60000, "\n10%\n", 5);
    feed(&r, flood, sizeof flood);
    assert_int_equal(r.changes, 0);
    memcpy(flood + 1000, "\n20%\n", 5);
    feed(&r, flood, sizeof flood);
    assert_percent(&r, 20);
    /* and from the next on all of it again */
    memcpy(flood + 60000, "\n30%\n", 5);
    feed(&r, flood, sizeof flood);
    assert_percent(&r, 30);
}

static void
assert_same(const struct er_progress_found *a, const struct er_progress_found *b,
            const char *what, size_t at)
{
    bool same = a->any == b->any && a->has_percent == b->has_percent &&
                a->has_counts == b->has_counts &&
                !(fabs(a->percent - b->percent) > 0.0) && a->current == b->current &&
                a->total == b->total && a->unit == b->unit &&
                a->restarts == b->restarts && strcmp(a->message, b->message) == 0;
    if (!same) {
        fail_msg("%s: at byte %zu: %d %.2f %lld/%lld r%u '%s', but in one piece %d %.2f "
                 "%lld/%lld r%u '%s'",
                 what, at, a->any, a->percent, (long long)a->current, (long long)a->total,
                 a->restarts, a->message, b->any, b->percent, (long long)b->current,
                 (long long)b->total, b->restarts, b->message);
    }
}

/* After each piece the scanner shows what one that got all so far at once shows. */
static void
check_cuts(const char *p, size_t n, size_t most, uint64_t *seed, const char *what)
{
    struct er_progress_scan cut, whole;
    er_progress_scan_init(&cut);
    for (size_t at = 0; at < n;) {
        size_t take = 1 + er_rand_next(seed) % most;
        take = take > n - at ? n - at : take;
        er_progress_scan_feed(&cut, p + at, take);
        at += take;
        er_progress_scan_init(&whole);
        er_progress_scan_feed(&whole, p, at);
        assert_same(&cut.shown, &whole.shown, what, at);
    }
}

static void
scan__finds_the_same_however_the_bytes_are_cut(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < FIXTURES; i++) {
        struct er_buf b;
        load(fixtures[i], &b);
        static const size_t most[] = {7, 60, 900, 5000};
        for (size_t k = 0; k < 4; k++) {
            /* the comparison is quadratic: small pieces of a part, large ones of all */
            size_t n = most[k] < 60 && b.len > 2500 ? 2500 : b.len;
            check_cuts(b.data, n, most[k], &seed, fixtures[i]);
        }
        er_buf_fini(&b);
    }
}

/* A made-up output of pieces that have a meaning, in any order. */
static void
make_output(struct er_buf *b, uint64_t *seed, size_t pieces)
{
    static const char *const parts[] = {
        "\n",
        "\r",
        "\r\n",
        "\b",
        "\x1b[K",
        "\x1b[1G",
        "\x1b[",
        "\x1b]9;4;1;",
        "\x07",
        "\x1b\\",
        "\x1b",
        "42%",
        "7",
        "%",
        " ",
        "/",
        "12/345",
        "[3/4] ",
        "[",
        "]",
        "(3 of 10)",
        " of ",
        "Receiving objects: ",
        " 42% (420/1000)",
        "remote: ",
        "Resolving deltas: 100% (3/3)",
        "  % Total    % Received % Xferd\n",
        "done ",
        "cpu ",
        "2024/01/02",
        " 42 11.4M   42 4928k    0     0  4100k      0  0:00:02  0:00:01  0:00:01 4103k",
        "   32,768  81%    0.00kB/s    0:00:00 ",
        "(xfr#1, to-chk=60/64)",
        "é",
        "\xe2\x82",
        "\xff",
        "building ",
        "  Building [==>       ] 1/9: a",
        "1.5/3.0 MB",
        "\t",
        "x",
        "\x01",
    };
    for (size_t i = 0; i < pieces; i++) {
        er_buf_add_str(b, parts[er_rand_next(seed) % (sizeof parts / sizeof parts[0])]);
        if (er_rand_next(seed) % 40 == 0) {
            for (int k = 0; k < 120; k++) {
                er_buf_add_str(b, "filler");
            }
        }
    }
    assert_int_equal(b->failed, 0);
}

static void
scan__finds_the_same_in_random_output(void **state)
{
    (void)state;
    uint64_t seed = 2026;
    for (int round = 0; round < 60; round++) {
        struct er_buf b;
        er_buf_init(&b, 0);
        make_output(&b, &seed, 200);
        check_cuts(b.data, b.len, 1 + (size_t)(round % 50), &seed, "random");
        er_buf_fini(&b);
    }
}

static void
scan__finds_the_same_across_windows(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct er_buf b;
    er_buf_init(&b, 0);
    /* five megabytes, so that the scanner looks at less of it, with rare findings */
    while (b.len < ((size_t)5 << 20)) {
        if (er_rand_next(&seed) % 20000 == 0) {
            make_output(&b, &seed, 30);
        }
        er_buf_add_str(&b, "a line that has nothing to tell, as most of them\n");
    }
    struct er_progress_scan cut, whole;
    er_progress_scan_init(&cut);
    er_progress_scan_init(&whole);
    er_progress_scan_feed(&whole, b.data, b.len);
    for (size_t at = 0; at < b.len;) {
        size_t take = 1 + er_rand_next(&seed) % 9000;
        take = take > b.len - at ? b.len - at : take;
        er_progress_scan_feed(&cut, b.data + at, take);
        at += take;
    }
    assert_same(&cut.shown, &whole.shown, "windows", b.len);
    er_buf_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan__git_fills_one_percent_with_its_phases),
        cmocka_unit_test(scan__git_counts_the_objects_it_receives),
        cmocka_unit_test(scan__git_begins_anew_with_the_next_repository),
        cmocka_unit_test(scan__ninja_steps_in_a_pipe_and_on_a_terminal),
        cmocka_unit_test(scan__ninja_begins_anew_after_it_regenerated),
        cmocka_unit_test(scan__make_with_cmake_has_percents_in_brackets),
        cmocka_unit_test(scan__ctest_counts_after_its_second_line),
        cmocka_unit_test(scan__curl_has_a_table),
        cmocka_unit_test(scan__curl_without_a_known_length_tells_nothing),
        cmocka_unit_test(scan__curl_and_wget_bars_are_meters),
        cmocka_unit_test(scan__rsync_tells_the_whole),
        cmocka_unit_test(scan__rsync_per_file_counts_files),
        cmocka_unit_test(scan__cargo_counts_crates),
        cmocka_unit_test(scan__other_programs),
        cmocka_unit_test(scan__is_not_fooled),
        cmocka_unit_test(scan__believes_a_percent_that_rises_twice),
        cmocka_unit_test(scan__believes_counts_that_rise_with_the_same_total),
        cmocka_unit_test(scan__a_meter_is_a_line_that_is_written_over),
        cmocka_unit_test(scan__greater_kinds_hold_against_lesser_ones),
        cmocka_unit_test(scan__what_has_ended_gives_way),
        cmocka_unit_test(scan__units_and_words_go_with_what_they_belong_to),
        cmocka_unit_test(scan__what_is_silent_gives_way),
        cmocka_unit_test(scan__begins_anew_after_the_end),
        cmocka_unit_test(scan__sees_a_line_before_its_end),
        cmocka_unit_test(scan__does_not_look_at_overlong_lines),
        cmocka_unit_test(scan__gives_up_escape_sequences_without_an_end),
        cmocka_unit_test(scan__take_gives_each_change_once),
        cmocka_unit_test(scan__looks_at_less_of_a_flood_until_it_finds_something),
        cmocka_unit_test(scan__finds_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(scan__finds_the_same_in_random_output),
        cmocka_unit_test(scan__finds_the_same_across_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
