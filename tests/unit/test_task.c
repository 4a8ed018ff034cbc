/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/task.h"

/* The moves, written out once more by hand: a row for where a task is, a column for where
 * it would go; 'x' = it may. */
static const char *const moves[] = {
    /*              QSBRPCFX */
    /* queued    */ ".xxx..xx",
    /* scheduled */ "x.x...xx",
    /* blocked   */ "xx....xx",
    /* running   */ "xx..xxxx",
    /* paused    */ "xx.x.xxx",
    /* completed */ "xxx.....",
    /* failed    */ "xxx.....",
    /* cancelled */ "xxx.....",
};

static void
task_state__goes_only_where_the_table_says(void **state)
{
    (void)state;
    assert_int_equal(sizeof moves / sizeof moves[0], ER_TASK_STATES);
    for (int from = 0; from < ER_TASK_STATES; from++) {
        for (int to = 0; to < ER_TASK_STATES; to++) {
            bool want = moves[from][to] == 'x';
            bool can =
                er_task_state_can_move((enum er_task_state)from, (enum er_task_state)to);
            if (want != can) {
                fail_msg("from %s to %s: %d, expected %d",
                         er_task_state_word((enum er_task_state)from),
                         er_task_state_word((enum er_task_state)to), can, want);
            }
        }
    }
}

static void
task_state__number_outside_the_table_is_unknown_and_moves_nowhere(void **state)
{
    (void)state;
    enum er_task_state odd = (enum er_task_state)8, wild = (enum er_task_state) - 1;
    assert_string_equal(er_task_state_word(odd), "unknown");
    assert_string_equal(er_task_state_icon(wild, true), "?");
    assert_false(er_task_state_is_final(odd));
    for (int s = 0; s < ER_TASK_STATES; s++) {
        assert_false(er_task_state_can_move(odd, (enum er_task_state)s));
        assert_false(er_task_state_can_move((enum er_task_state)s, odd));
        assert_false(er_task_state_can_move((enum er_task_state)s, wild));
    }
}

static void
task_state__words_icons_and_numbers_are_those_of_the_documents(void **state)
{
    (void)state;
    static const struct {
        enum er_task_state s;
        int number;
        const char *word, *icon, *ascii;
        bool final;
    } want[] = {
        {ER_TASK_QUEUED, 0, "queued", "○", "[ ]", false},
        {ER_TASK_SCHEDULED, 1, "scheduled", "◷", "[@]", false},
        {ER_TASK_BLOCKED, 2, "blocked", "⧗", "[&]", false},
        {ER_TASK_RUNNING, 3, "running", "▶", "[>]", false},
        {ER_TASK_PAUSED, 4, "paused", "‖", "[=]", false},
        {ER_TASK_COMPLETED, 5, "completed", "✓", "[OK]", true},
        {ER_TASK_FAILED, 6, "failed", "✗", "[X]", true},
        {ER_TASK_CANCELLED, 7, "cancelled", "–", "[--]", true},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(want[i].s, want[i].number);
        assert_string_equal(er_task_state_word(want[i].s), want[i].word);
        assert_string_equal(er_task_state_icon(want[i].s, true), want[i].icon);
        assert_string_equal(er_task_state_icon(want[i].s, false), want[i].ascii);
        assert_int_equal(er_task_state_is_final(want[i].s), want[i].final);
        assert_int_equal(er_task_state_find(want[i].word), want[i].number);
    }
    assert_int_equal(er_task_state_find("Queued"), -1);
    assert_int_equal(er_task_state_find(""), -1);
    assert_int_equal(er_task_state_find("done"), -1);
}

static void
task_shown_state__is_paused_for_a_held_task_that_waits(void **state)
{
    (void)state;
    for (int s = 0; s < ER_TASK_STATES; s++) {
        struct er_task t = {.state = (enum er_task_state)s};
        assert_int_equal(er_task_shown_state(&t), s);
        t.held = true;
        bool waits =
            s == ER_TASK_QUEUED || s == ER_TASK_SCHEDULED || s == ER_TASK_BLOCKED;
        assert_int_equal(er_task_shown_state(&t), waits ? (int)ER_TASK_PAUSED : s);
    }
}

static void
event__facts_and_samples_have_their_words(void **state)
{
    (void)state;
    static const struct {
        enum er_event e;
        const char *word;
        bool fact;
    } want[] = {
        {ER_EVENT_TASK_QUEUED, "task-queued", true},
        {ER_EVENT_TASK_SCHEDULED, "task-scheduled", true},
        {ER_EVENT_TASK_BLOCKED, "task-blocked", true},
        {ER_EVENT_TASK_STARTED, "task-started", true},
        {ER_EVENT_TASK_PAUSED, "task-paused", true},
        {ER_EVENT_TASK_RESUMED, "task-resumed", true},
        {ER_EVENT_TASK_RETRYING, "task-retrying", true},
        {ER_EVENT_TASK_COMPLETED, "task-completed", true},
        {ER_EVENT_TASK_FAILED, "task-failed", true},
        {ER_EVENT_TASK_CANCELLED, "task-cancelled", true},
        {ER_EVENT_TASK_CHANGED, "task-changed", true},
        {ER_EVENT_TASK_REMOVED, "task-removed", true},
        {ER_EVENT_WORKER_STARTED, "worker-started", true},
        {ER_EVENT_WORKER_LOST, "worker-lost", true},
        {ER_EVENT_QUEUE_CHANGED, "queue-changed", true},
        {ER_EVENT_TASK_PROGRESS, "task-progress", false},
        {ER_EVENT_TASK_OUTPUT, "task-output", false},
        {ER_EVENT_GAP, "gap", false},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_string_equal(er_event_word(want[i].e), want[i].word);
        assert_int_equal(er_event_find(want[i].word), want[i].e);
        assert_int_equal(er_event_is_fact(want[i].e), want[i].fact);
    }
    assert_string_equal(er_event_word((enum er_event)99), "unknown");
    assert_false(er_event_is_fact((enum er_event)99));
    assert_int_equal(er_event_find("task-eaten"), -1);
}

static void
event_of_state__names_the_fact_of_each_state(void **state)
{
    (void)state;
    static const enum er_event want[ER_TASK_STATES] = {
        ER_EVENT_TASK_QUEUED,  ER_EVENT_TASK_SCHEDULED, ER_EVENT_TASK_BLOCKED,
        ER_EVENT_TASK_STARTED, ER_EVENT_TASK_PAUSED,    ER_EVENT_TASK_COMPLETED,
        ER_EVENT_TASK_FAILED,  ER_EVENT_TASK_CANCELLED,
    };
    for (int s = 0; s < ER_TASK_STATES; s++) {
        assert_int_equal(er_event_of_state((enum er_task_state)s), want[s]);
    }
}

static void
on_lost_and_after__words_are_found_again(void **state)
{
    (void)state;
    static const char *const lost[] = {"run", "fail", "hold"};
    static const char *const after[] = {"ok", "any", "fail"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(er_on_lost_word((enum er_on_lost)i), lost[i]);
        assert_int_equal(er_on_lost_find(lost[i]), i);
        assert_string_equal(er_after_when_word((enum er_after_when)i), after[i]);
        assert_int_equal(er_after_when_find(after[i]), i);
    }
    assert_int_equal(er_on_lost_find("die"), -1);
    assert_int_equal(er_after_when_find(""), -1);
    assert_string_equal(er_on_lost_word((enum er_on_lost)3), "unknown");
    assert_string_equal(er_after_when_word((enum er_after_when) - 1), "unknown");
}

static void
after__is_met_by_the_final_states_it_names(void **state)
{
    (void)state;
    /* columns as above; only the last three are final */
    static const char *const met[] = {/* ok */ ".....x..", /* any */ ".....xxx",
                                      /* fail */ "......x."};
    for (int when = 0; when < 3; when++) {
        for (int s = 0; s < ER_TASK_STATES; s++) {
            assert_int_equal(
                er_after_is_met((enum er_after_when)when, (enum er_task_state)s),
                met[when][s] == 'x');
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_state__goes_only_where_the_table_says),
        cmocka_unit_test(
            task_state__number_outside_the_table_is_unknown_and_moves_nowhere),
        cmocka_unit_test(task_state__words_icons_and_numbers_are_those_of_the_documents),
        cmocka_unit_test(task_shown_state__is_paused_for_a_held_task_that_waits),
        cmocka_unit_test(event__facts_and_samples_have_their_words),
        cmocka_unit_test(event_of_state__names_the_fact_of_each_state),
        cmocka_unit_test(on_lost_and_after__words_are_found_again),
        cmocka_unit_test(after__is_met_by_the_final_states_it_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
