/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "model/progress.h"

#define S ER_USEC_PER_SEC

/* An attempt that began at second 100. */
static struct er_progress
begin(void)
{
    struct er_progress p;
    er_progress_init(&p, 100 * S);
    return p;
}

/* A percent from a source, `sec` seconds after the beginning. */
static int
say_percent(struct er_progress *p, enum er_progress_source source, double percent,
            double sec)
{
    struct er_progress_update u = {
        .source = source, .has_percent = true, .percent = percent};
    return er_progress_update(p, &u, 100 * S + (er_usec)(sec * 1e6));
}

static int
say_count(struct er_progress *p, int64_t current, int64_t total, double sec)
{
    struct er_progress_update u = {.source = ER_PROGRESS_REPORTED,
                                   .has_current = true,
                                   .has_total = true,
                                   .current = current,
                                   .total = total};
    return er_progress_update(p, &u, 100 * S + (er_usec)(sec * 1e6));
}

static int
say_text(struct er_progress *p, enum er_progress_source source, const char *message)
{
    struct er_progress_update u = {.source = source, .message = message};
    return er_progress_update(p, &u, 100 * S);
}

static void
assert_percent(const struct er_progress *p, double want)
{
    if (!p->has_percent || fabs(p->percent - want) > 1e-6) {
        fail_msg("percent %f, expected %f", p->has_percent ? p->percent : -1.0, want);
    }
}

static void
assert_near(double got, double want, double off)
{
    if (!(fabs(got - want) <= off)) {
        fail_msg("%f, expected %f within %f", got, want, off);
    }
}

static void
assert_json(const struct er_progress *p, double sec, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_progress_encode(p, 100 * S + (er_usec)(sec * 1e6), &b);
    assert_int_equal(b.failed, 0);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
}

static void
progress__knows_nothing_at_first(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_false(p.has_percent);
    assert_false(er_progress_rate(&p, 105 * S, &v));
    assert_false(er_progress_eta(&p, 105 * S, &v));
    assert_json(
        &p, 5,
        "{\"percent\":null,\"current\":null,\"total\":null,\"unit\":null,\"item\":null,"
        "\"message\":null,\"rate\":null,\"eta_s\":null,\"items_completed\":null,"
        "\"items_failed\":null,\"source\":null}");
}

static void
progress__never_goes_back(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 40, 1), 1);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 30, 2), 0);
    assert_percent(&p, 40);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 40, 3), 0);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 41, 4), 1);
    assert_percent(&p, 41);
}

static void
progress__counts_never_go_back_with_the_same_total(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_count(&p, 5, 10, 1), 1);
    assert_int_equal(say_count(&p, 3, 10, 2), 0);
    assert_int_equal(p.current, 5);
    assert_percent(&p, 50);
}

static void
progress__a_new_total_restarts(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_count(&p, 1, 1, 1), 1);
    assert_percent(&p, 100);
    assert_int_equal(say_count(&p, 1, 300, 2), 1);
    assert_percent(&p, 100.0 / 300);
    assert_int_equal(p.total, 300);
}

static void
progress__a_restart_may_go_back(void **state)
{
    (void)state;
    struct er_progress p = begin();
    struct er_progress_update u = {
        .source = ER_PROGRESS_OUTPUT, .has_percent = true, .percent = 5, .restart = true};
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 100, 1), 1);
    assert_int_equal(er_progress_update(&p, &u, 102 * S), 1);
    assert_percent(&p, 5);
}

static void
progress__clamps_what_is_out_of_range(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, -7, 1), 1);
    assert_percent(&p, 0);
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 1e300, 2), 1);
    assert_percent(&p, 100);
    p = begin();
    assert_int_equal(say_count(&p, 12, 10, 1), 1);
    assert_int_equal(p.current, 10);
    assert_percent(&p, 100);
    p = begin();
    assert_int_equal(say_count(&p, INT64_MIN, INT64_MAX, 1), 1);
    assert_int_equal(p.current, 0);
    assert_percent(&p, 0);
}

static void
progress__refuses_what_is_no_number(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        struct er_progress p = begin();
        struct er_progress_update u = {.source = ER_PROGRESS_REPORTED,
                                       .has_percent = true,
                                       .percent = bad[i],
                                       .message = "x"};
        assert_int_equal(er_progress_update(&p, &u, 101 * S), ER_EINVALID);
        assert_false(p.has_percent);
        assert_string_equal(p.message, "");
    }
}

static void
progress__a_total_of_zero_is_none(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_count(&p, 3, 0, 1), 1);
    assert_true(p.has_current);
    assert_false(p.has_total);
    assert_false(p.has_percent);
    assert_int_equal(say_count(&p, 4, -5, 2), 1);
    assert_int_equal(p.current, 4);
    assert_false(p.has_percent);
}

static void
progress__a_total_may_come_first(void **state)
{
    (void)state;
    struct er_progress p = begin();
    struct er_progress_update total = {
        .source = ER_PROGRESS_REPORTED, .has_total = true, .total = 8};
    struct er_progress_update current = {
        .source = ER_PROGRESS_REPORTED, .has_current = true, .current = 2};
    assert_int_equal(er_progress_update(&p, &total, 100 * S), 1);
    assert_int_equal(er_progress_update(&p, &total, 100 * S), 0);
    assert_false(p.has_percent);
    assert_int_equal(er_progress_update(&p, &current, 101 * S), 1);
    assert_percent(&p, 25);
    current.current = 4;
    assert_int_equal(er_progress_update(&p, &current, 102 * S), 1);
    assert_percent(&p, 50);
}

static void
progress__a_percent_makes_counts_stale_that_disagree(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_count(&p, 2, 4, 1), 1);
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 50.5, 2), 1);
    assert_true(p.has_current);
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 80, 3), 1);
    assert_false(p.has_current);
    assert_false(p.has_total);
}

static void
progress__a_higher_source_displaces_a_lower_one(void **state)
{
    (void)state;
    static const enum er_progress_source rising[] = {
        ER_PROGRESS_ESTIMATE, ER_PROGRESS_FILE, ER_PROGRESS_OUTPUT, ER_PROGRESS_REPORTED};
    for (size_t low = 0; low < 4; low++) {
        for (size_t high = low + 1; high < 4; high++) {
            struct er_progress p = begin();
            assert_int_equal(say_percent(&p, rising[low], 10, 1), 1);
            assert_int_equal(p.source, rising[low]);
            assert_int_equal(say_percent(&p, rising[high], 20, 2), 1);
            assert_int_equal(p.source, rising[high]);
            assert_int_equal(say_percent(&p, rising[low], 90, 3), 0);
            assert_percent(&p, 20);
        }
    }
}

static void
progress__a_new_source_catches_up_before_the_percent_moves(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double eta;
    assert_int_equal(say_percent(&p, ER_PROGRESS_ESTIMATE, 60, 1), 1);
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 10, 2), 1);
    assert_percent(&p, 60);
    assert_int_equal(p.source, ER_PROGRESS_REPORTED);
    /* but the time left follows what the new source says: 10 percent a second */
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 20, 3), 1);
    assert_percent(&p, 60);
    assert_true(er_progress_eta(&p, 103 * S, &eta));
    assert_near(eta, 8.0, 0.01);
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 70, 8), 1);
    assert_percent(&p, 70);
}

static void
progress__counts_of_a_displaced_source_are_gone(void **state)
{
    (void)state;
    struct er_progress p = begin();
    struct er_progress_update u = {.source = ER_PROGRESS_OUTPUT,
                                   .has_current = true,
                                   .has_total = true,
                                   .current = 1,
                                   .total = 3,
                                   .unit = "files"};
    assert_int_equal(er_progress_update(&p, &u, 101 * S), 1);
    assert_string_equal(p.unit, "files");
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 50, 2), 1);
    assert_false(p.has_current);
    assert_string_equal(p.unit, "");
}

static void
progress__words_and_position_have_their_own_source(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_text(&p, ER_PROGRESS_REPORTED, "linking"), 1);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 30, 1), 1);
    assert_percent(&p, 30);
    assert_int_equal(say_text(&p, ER_PROGRESS_OUTPUT, "noise"), 0);
    assert_string_equal(p.message, "linking");
    assert_int_equal(say_text(&p, ER_PROGRESS_REPORTED, "linking"), 0);
    assert_int_equal(say_text(&p, ER_PROGRESS_REPORTED, ""), 1);
    assert_string_equal(p.message, "");
}

static void
progress__cleans_and_cuts_words(void **state)
{
    (void)state;
    struct er_progress p = begin();
    char text[500] = "\x1b[31mred\x1b[0m\tthen\n";
    assert_int_equal(say_text(&p, ER_PROGRESS_REPORTED, text), 1);
    assert_string_equal(p.message, "red then");
    for (size_t i = 0; i < 480; i += 3) {
        memcpy(text + i, "€", 4);
    }
    assert_int_equal(say_text(&p, ER_PROGRESS_REPORTED, text), 1);
    assert_int_equal(strlen(p.message), 198); /* 66 characters of three bytes */
}

static void
progress_rate__follows_the_counts(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_count(&p, 2, 4, 4), 1);
    assert_true(er_progress_rate(&p, 104 * S, &v));
    assert_near(v, 0.5, 1e-9);
    assert_true(er_progress_eta(&p, 104 * S, &v));
    assert_near(v, 4.0, 1e-9);
}

static void
progress_rate__is_in_percent_without_counts(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 20, 10), 1);
    assert_true(er_progress_rate(&p, 110 * S, &v));
    assert_near(v, 2.0, 1e-9);
    assert_true(er_progress_eta(&p, 110 * S, &v));
    assert_near(v, 40.0, 1e-9);
}

static void
progress_rate__is_unknown_in_the_first_moment(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 1, 0.01), 1);
    assert_false(er_progress_rate(&p, 100 * S + 10000, &v));
    assert_false(er_progress_eta(&p, 100 * S + 10000, &v));
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 2, 1.01), 1);
    assert_true(er_progress_rate(&p, 101 * S + 10000, &v));
    assert_near(v, 1.0, 1e-9); /* what was there at once is not what was done since */
}

/* ---- the usual shapes: each does one step a second ---- */

static void
assert_rate(const struct er_progress *p, double sec, double want, double off)
{
    double v = -1.0;
    (void)er_progress_rate(p, 100 * S + (er_usec)(sec * 1e6), &v);
    assert_near(v, want, off);
}

static void
progress_rate__is_right_when_a_report_comes_before_its_work(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(say_count(&p, i, 10, i - 1 + 0.005), 1);
        if (i >= 2) {
            assert_rate(&p, i - 1 + 0.005, 1.0, 1e-5);
        }
        if (i >= 2 && i < 10) {
            assert_true(er_progress_eta(&p, 100 * S + (i - 1) * S + 5000, &v));
            assert_near(v, 10 - i, 1e-4);
        }
    }
    assert_false(er_progress_eta(&p, 109 * S + 5000, &v));
    assert_false(er_progress_eta(&p, 110 * S, &v));
}

static void
progress_rate__is_right_when_a_report_comes_after_its_work(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(say_count(&p, i, 10, i), 1);
        assert_rate(&p, i, 1.0, 1e-5);
        if (i < 10) {
            assert_true(er_progress_eta(&p, (100 + i) * S, &v));
            assert_near(v, 10 - i, 1e-4);
        }
    }
    assert_false(er_progress_eta(&p, 110 * S, &v));
}

static void
progress_rate__forgets_what_an_earlier_attempt_has_done(void **state)
{
    (void)state;
    struct er_progress p = begin(), late = begin();
    for (int i = 0; i < 10; i++) {
        (void)say_count(&p, 500 + i, 1000, 0.02 + i);
        (void)say_count(&late, 500 + i, 1000, 3 + i);
        if (i >= 1) {
            assert_rate(&p, 0.02 + i, 1.0, 1e-5);
            assert_rate(&late, 3 + i, 1.0, 1e-5);
        }
    }
}

static void
progress_rate__does_not_count_a_slow_start(void **state)
{
    (void)state;
    struct er_progress p = begin(), zero = begin();
    for (int i = 1; i <= 10; i++) {
        (void)say_count(&p, i, 100, 30 + i);
        (void)say_count(&zero, i - 1, 100, 30 + i);
        if (i >= 2) {
            assert_rate(&p, 30 + i, 1.0, 1e-5);
            assert_rate(&zero, 30 + i, 1.0, 1e-5);
        }
    }
}

static void
progress_rate__is_the_mean_of_bursts(void **state)
{
    (void)state;
    struct er_progress after = begin(), before = begin();
    for (int burst = 1; burst <= 20; burst++) {
        for (int i = 1; i <= 5; i++) {
            double at = 5.0 * burst + 0.001 * i;
            (void)say_count(&after, 5 * (burst - 1) + i, 1000, at);
            (void)say_count(&before, 5 * (burst - 1) + i, 1000, at - 5.0);
        }
        assert_rate(&after, 5.0 * burst + 0.005, 1.0, 0.5);
        if (burst >= 2) {
            assert_rate(&before, 5.0 * (burst - 1) + 0.005, 1.0, 0.5);
        }
    }
}

static void
progress_rate__is_smoothed(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    for (int i = 1; i <= 50; i++) {
        assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, i, i), 1);
    }
    assert_true(er_progress_rate(&p, 150 * S, &v));
    assert_near(v, 1.0, 1e-6);
    /* one jump of five in a second moves it a little, a minute of them all the way */
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 55, 51), 1);
    assert_true(er_progress_rate(&p, 151 * S, &v));
    assert_true(v > 1.1 && v < 2.0);
}

static void
progress_rate__does_not_depend_on_the_size_of_the_steps(void **state)
{
    (void)state;
    struct er_progress fine = begin(), coarse = begin();
    double a, b;
    for (int i = 1; i <= 400; i++) {
        assert_int_equal(say_percent(&fine, ER_PROGRESS_OUTPUT, i * 0.1, i * 0.1), 1);
    }
    for (int i = 1; i <= 8; i++) {
        assert_int_equal(say_percent(&coarse, ER_PROGRESS_OUTPUT, i * 5, i * 5), 1);
    }
    assert_true(er_progress_rate(&fine, 140 * S, &a));
    assert_true(er_progress_rate(&coarse, 140 * S, &b));
    assert_near(a, b, 0.01);
}

static void
progress_eta__leaves_pauses_out(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 10, 10), 1);
    er_progress_pause(&p, 110 * S);
    er_progress_pause(&p, 500 * S); /* it is paused already */
    assert_true(er_progress_eta(&p, 1000 * S, &v));
    assert_near(v, 90.0, 1e-6);
    er_progress_resume(&p, 3710 * S);
    er_progress_resume(&p, 3800 * S);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 20, 3620), 1);
    assert_true(er_progress_rate(&p, 3720 * S, &v));
    assert_near(v, 1.0, 1e-6);
    assert_true(er_progress_eta(&p, 3720 * S, &v));
    assert_near(v, 80.0, 1e-6);
}

static void
progress_eta__counts_down_between_two_moves(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_count(&p, 1, 4, 60), 1);
    assert_int_equal(say_count(&p, 2, 4, 120), 1);
    assert_true(er_progress_eta(&p, 220 * S, &v));
    assert_near(v, 120.0, 1e-6);
    assert_true(er_progress_eta(&p, 250 * S, &v));
    assert_near(v, 90.0, 1e-6);
}

static void
progress_eta__grows_when_nothing_comes_and_is_unknown_in_the_end(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double due, late, rate_due, rate_late, v;
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, i, i), 1);
    }
    assert_true(er_progress_eta(&p, 111 * S, &due));
    assert_true(er_progress_eta(&p, 131 * S, &late));
    assert_true(late > due);
    assert_true(er_progress_rate(&p, 111 * S, &rate_due));
    assert_true(er_progress_rate(&p, 131 * S, &rate_late));
    assert_true(rate_late < rate_due);
    assert_false(er_progress_eta(&p, 1000 * S, &v));
    assert_false(er_progress_rate(&p, 1000 * S, &v));
}

static void
progress_eta__is_never_zero_or_less(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 100, 10), 1);
    assert_false(er_progress_eta(&p, 110 * S, &v));
    p = begin();
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 99, 99), 1);
    for (int sec = 99; sec < 2000; sec++) {
        if (er_progress_eta(&p, (100 + sec) * S, &v)) {
            assert_true(v > 0.0);
        }
    }
}

static void
progress_eta__after_a_restart_needs_a_new_rate(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_count(&p, 10, 10, 10), 1);
    assert_int_equal(say_count(&p, 1, 100, 11), 1);
    assert_false(er_progress_eta(&p, 111 * S, &v));
    assert_false(er_progress_rate(&p, 111 * S, &v));
    assert_int_equal(say_count(&p, 11, 100, 21), 1);
    assert_true(er_progress_eta(&p, 121 * S, &v));
    assert_near(v, 89.0, 1e-6);
}

static void
progress__time_that_goes_back_harms_nothing(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 10, 10), 1);
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 20, -50), 1);
    assert_percent(&p, 20);
    if (er_progress_rate(&p, 50 * S, &v)) {
        assert_true(isfinite(v) && v >= 0.0);
    }
}

static void
progress_finish__is_a_hundred_when_completed(void **state)
{
    (void)state;
    struct er_progress p = begin();
    double v;
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 37, 10), 1);
    er_progress_finish(&p, true, 111 * S);
    assert_percent(&p, 100);
    assert_false(er_progress_eta(&p, 111 * S, &v));
    assert_int_equal(say_percent(&p, ER_PROGRESS_REPORTED, 50, 12), 0);
    assert_percent(&p, 100);
    p = begin();
    er_progress_finish(&p, true, 111 * S);
    assert_percent(&p, 100);
}

static void
progress_finish__leaves_the_percent_of_what_failed(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_percent(&p, ER_PROGRESS_OUTPUT, 37, 10), 1);
    er_progress_finish(&p, false, 111 * S);
    assert_percent(&p, 37);
    p = begin();
    er_progress_finish(&p, false, 111 * S);
    assert_false(p.has_percent);
}

static void
progress_items__are_counted(void **state)
{
    (void)state;
    struct er_progress p = begin();
    er_progress_add_item(&p, "one", false);
    er_progress_add_item(&p, "two", true);
    er_progress_add_item(&p, NULL, false);
    assert_int_equal(p.items_completed, 2);
    assert_int_equal(p.items_failed, 1);
    assert_string_equal(p.item, "two");
    assert_false(p.has_percent);
}

static void
progress_encode__is_the_object_of_the_documents(void **state)
{
    (void)state;
    struct er_progress p = begin();
    struct er_progress_update u = {.source = ER_PROGRESS_REPORTED,
                                   .has_current = true,
                                   .has_total = true,
                                   .current = 2,
                                   .total = 4,
                                   .unit = "repos",
                                   .item = "a \"quoted\" one",
                                   .message = "cloning"};
    assert_int_equal(er_progress_update(&p, &u, 104 * S), 1);
    er_progress_add_item(&p, NULL, false);
    assert_json(&p, 4,
                "{\"percent\":50.0,\"current\":2,\"total\":4,\"unit\":\"repos\",\"item\":"
                "\"a \\\"quoted\\\" "
                "one\",\"message\":\"cloning\",\"rate\":0.500000,\"eta_s\":4.0,"
                "\"items_completed\":1,\"items_failed\":0,\"source\":\"reported\"}");
}

static void
progress_encode__rounds_down_and_knows_huge_numbers(void **state)
{
    (void)state;
    struct er_progress p = begin();
    assert_int_equal(say_percent(&p, ER_PROGRESS_FILE, 99.99, 1), 1);
    struct er_buf b;
    er_buf_init(&b, 0);
    er_progress_encode(&p, 101 * S, &b);
    assert_non_null(strstr(b.data, "\"percent\":99.9,"));
    assert_non_null(strstr(b.data, "\"source\":\"file\""));
    er_buf_clear(&b);
    p = begin();
    assert_int_equal(say_count(&p, INT64_MAX / 2, INT64_MAX, 1), 1);
    er_progress_encode(&p, 101 * S, &b);
    assert_non_null(strstr(b.data, "\"rate\":9000000000000.00,"));
    er_buf_fini(&b);
}

static void
progress_estimate__slows_down_and_never_arrives(void **state)
{
    (void)state;
    double before = -1.0;
    for (int sec = 0; sec < 1000; sec++) {
        double v = er_progress_estimate(sec * S, 100 * S);
        assert_true(v > before && v < 99.0);
        before = v;
    }
    assert_near(er_progress_estimate(45 * S, 100 * S), 45.0, 1e-9);
    assert_near(er_progress_estimate(90 * S, 100 * S), 90.0, 1e-9);
    assert_near(er_progress_estimate(-S, 100 * S), 0.0, 0.0);
    assert_near(er_progress_estimate(S, 0), 0.0, 0.0);
}

static void
progress_source__has_words(void **state)
{
    (void)state;
    assert_string_equal(er_progress_source_word(ER_PROGRESS_REPORTED), "reported");
    assert_string_equal(er_progress_source_word(ER_PROGRESS_OUTPUT), "output");
    assert_string_equal(er_progress_source_word(ER_PROGRESS_FILE), "file");
    assert_string_equal(er_progress_source_word(ER_PROGRESS_ESTIMATE), "estimate");
    assert_string_equal(er_progress_source_word((enum er_progress_source)17), "none");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress__knows_nothing_at_first),
        cmocka_unit_test(progress__never_goes_back),
        cmocka_unit_test(progress__counts_never_go_back_with_the_same_total),
        cmocka_unit_test(progress__a_new_total_restarts),
        cmocka_unit_test(progress__a_restart_may_go_back),
        cmocka_unit_test(progress__clamps_what_is_out_of_range),
        cmocka_unit_test(progress__refuses_what_is_no_number),
        cmocka_unit_test(progress__a_total_of_zero_is_none),
        cmocka_unit_test(progress__a_total_may_come_first),
        cmocka_unit_test(progress__a_percent_makes_counts_stale_that_disagree),
        cmocka_unit_test(progress__a_higher_source_displaces_a_lower_one),
        cmocka_unit_test(progress__a_new_source_catches_up_before_the_percent_moves),
        cmocka_unit_test(progress__counts_of_a_displaced_source_are_gone),
        cmocka_unit_test(progress__words_and_position_have_their_own_source),
        cmocka_unit_test(progress__cleans_and_cuts_words),
        cmocka_unit_test(progress_rate__follows_the_counts),
        cmocka_unit_test(progress_rate__is_in_percent_without_counts),
        cmocka_unit_test(progress_rate__is_unknown_in_the_first_moment),
        cmocka_unit_test(progress_rate__is_right_when_a_report_comes_before_its_work),
        cmocka_unit_test(progress_rate__is_right_when_a_report_comes_after_its_work),
        cmocka_unit_test(progress_rate__forgets_what_an_earlier_attempt_has_done),
        cmocka_unit_test(progress_rate__does_not_count_a_slow_start),
        cmocka_unit_test(progress_rate__is_the_mean_of_bursts),
        cmocka_unit_test(progress_rate__is_smoothed),
        cmocka_unit_test(progress_rate__does_not_depend_on_the_size_of_the_steps),
        cmocka_unit_test(progress_eta__leaves_pauses_out),
        cmocka_unit_test(progress_eta__counts_down_between_two_moves),
        cmocka_unit_test(
            progress_eta__grows_when_nothing_comes_and_is_unknown_in_the_end),
        cmocka_unit_test(progress_eta__is_never_zero_or_less),
        cmocka_unit_test(progress_eta__after_a_restart_needs_a_new_rate),
        cmocka_unit_test(progress__time_that_goes_back_harms_nothing),
        cmocka_unit_test(progress_finish__is_a_hundred_when_completed),
        cmocka_unit_test(progress_finish__leaves_the_percent_of_what_failed),
        cmocka_unit_test(progress_items__are_counted),
        cmocka_unit_test(progress_encode__is_the_object_of_the_documents),
        cmocka_unit_test(progress_encode__rounds_down_and_knows_huge_numbers),
        cmocka_unit_test(progress_estimate__slows_down_and_never_arrives),
        cmocka_unit_test(progress_source__has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
