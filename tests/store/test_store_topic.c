/* SPDX-License-Identifier: MIT */
/* A program's own facts, named cursors, how long a type takes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_fixture.h"

/* The facts that a filter lets through: "seq:name ...", and up to where it has looked. */
static const char *
read_names(struct fixture *f, const struct er_fact_filter *filter, int64_t *out_last)
{
    struct er_fact *list;
    size_t n, len = 0;
    assert_int_equal(er_store_facts(f->r, filter, &f->arena, &list, &n, out_last), 0);
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        len += (size_t)snprintf(f->text + len, sizeof f->text - len, "%s%lld:%s",
                                i ? " " : "", (long long)list[i].seq,
                                list[i].topic ? list[i].topic
                                              : er_event_word(list[i].event));
    }
    return f->text;
}

static void
put(struct fixture *f, struct er_topic *rows, size_t n)
{
    f_begin(f);
    assert_int_equal(er_store_topic_put(f->s, f->now, rows, n), 0);
    f_commit(f);
}

static void
topics__are_facts_with_names_of_their_own(void **state)
{
    struct fixture *f = *state;
    struct er_new_task row = f_new();
    row.correlation = "of the task";
    er_task_id id = f_add(f, row); /* 1 is worker-started, 2 task-queued */
    struct er_topic rows[] = {
        {.name = "import.page", .task = id, .data_json = "{\"page\":7}"},
        {.name = "import.end", .correlation = "its own", .data_json = "[1,\"x\"]"},
        {.name = "import.end", .task = id, .correlation = "its own"},
        {.name = "import.end"},
    };
    put(f, rows, 4);
    assert_int_equal(f->fx.n_facts, 4);
    for (int again = 0; again < 2; again++) { /* as effects, and as they are read */
        struct er_fact *x = f->fx.facts;
        struct er_fact_filter filter = {.since = 2, .limit = 10};
        size_t n = 4;
        int64_t last;
        if (again) {
            if (!f->in_memory) {
                f_reopen(f);
            }
            assert_int_equal(er_store_facts(f->r, &filter, &f->arena, &x, &n, &last), 0);
        }
        assert_int_equal(n, 4);
        for (size_t i = 0; i < 4; i++) {
            assert_true(x[i].seq == (int64_t)i + 3 && x[i].event == ER_EVENT_TOPIC);
            assert_true(rows[i].seq == x[i].seq && rows[i].status == 0);
            assert_true(x[i].at == f->now);
            assert_string_equal(x[i].topic, rows[i].name);
        }
        assert_true(x[0].task == id && x[0].run == 1);
        assert_string_equal(x[0].correlation, "of the task");
        assert_string_equal(x[0].type, "shell");
        assert_string_equal(x[0].queue, "default");
        assert_string_equal(x[0].data_json, "{\"page\":7}");
        assert_true(x[1].task == 0 && x[1].type == NULL);
        assert_string_equal(x[1].correlation, "its own");
        assert_string_equal(x[1].data_json, "[1,\"x\"]");
        assert_true(x[2].task == id);
        assert_string_equal(x[2].correlation, "its own");
        assert_string_equal(x[2].data_json, "null");
        assert_true(x[3].task == 0 && x[3].correlation == NULL);
    }
}

static void
topics__that_are_none_disturb_no_other(void **state)
{
    struct fixture *f = *state;
    char *large = malloc(ER_MAX_TOPIC_DATA + 2);
    char long_name[ER_MAX_NAME + 3];
    assert_non_null(large);
    memset(large, '1', ER_MAX_TOPIC_DATA + 1);
    large[ER_MAX_TOPIC_DATA + 1] = '\0';
    memset(long_name, 'x', sizeof long_name);
    long_name[1] = '.';
    long_name[sizeof long_name - 1] = '\0';
    struct er_topic rows[] = {
        {.name = "a.b"},
        {.name = "ab"},
        {.name = "task-failed"},
        {.name = "topic"},
        {.name = ""},
        {.name = "a..b"},
        {.name = ".b"},
        {.name = "a."},
        {.name = "a.\n"},
        {.name = "a.b,c"},
        {.name = "a.*"},
        {.name = long_name},
        {.name = "a.b", .correlation = ""},
        {.name = "a.b", .data_json = large},
        {.name = "a.b", .task = 77},
        {.name = "a.b", .data_json = large + 1},
    };
    const size_t n = sizeof rows / sizeof rows[0];
    put(f, rows, n);
    for (size_t i = 1; i + 3 < n; i++) {
        assert_int_equal(rows[i].status, ER_EINVALID);
        assert_int_equal(rows[i].seq, 0);
    }
    assert_int_equal(rows[n - 3].status, ER_ETOOBIG);
    assert_int_equal(rows[n - 2].status, ER_ENOTFOUND);
    assert_true(rows[0].seq == 2 && rows[n - 1].seq == 3);
    assert_int_equal(f->fx.n_facts, 2);
    free(large);
}

static void
facts__are_read_by_name_and_in_parts(void **state)
{
    struct fixture *f = *state;
    const char *exact[] = {"a.b"}, *both[] = {"a.*", "c.d"};
    struct er_topic rows[] = {{.name = "a.b", .data_json = "\"0123456789\""},
                              {.name = "a.bc", .data_json = "\"0123456789\""},
                              {.name = "c.d"}};
    int64_t last;
    put(f, rows, 3);                   /* 2, 3, 4 */
    er_task_id id = f_add(f, f_new()); /* 5 */
    put(f, rows, 3);                   /* 6, 7, 8 */
    struct er_fact_filter q = {.limit = 10, .names = exact, .n_names = 1};
    assert_string_equal(read_names(f, &q, &last),
                        "1:worker-started 2:a.b 5:task-queued 6:a.b");
    assert_int_equal(last, 8);
    q.events = 1ull << ER_EVENT_TOPIC;
    q.names = both;
    q.n_names = 2;
    assert_string_equal(read_names(f, &q, &last),
                        "2:a.b 3:a.bc 4:c.d 6:a.b 7:a.bc 8:c.d");
    q.names = NULL;
    q.n_names = 0;
    q.since = 4;
    q.until = 7;
    assert_string_equal(read_names(f, &q, &last), "6:a.b 7:a.bc");
    assert_int_equal(last, 7);
    q.until = 100;
    assert_string_equal(read_names(f, &q, &last), "6:a.b 7:a.bc 8:c.d");
    assert_int_equal(last, 8);
    q.since = 8;
    q.until = 3;
    assert_string_equal(read_names(f, &q, &last), "");
    assert_int_equal(last, 8);
    q = (struct er_fact_filter){.since = 1, .limit = 10, .max_bytes = 13};
    assert_string_equal(read_names(f, &q, &last), "2:a.b 3:a.bc"); /* it is reached */
    assert_int_equal(last, 3);
    q = (struct er_fact_filter){.task = id, .limit = 10, .until = 6};
    assert_string_equal(read_names(f, &q, &last), "5:task-queued");
    assert_int_equal(last, 6);
}

static void
cursors__are_numbers_under_names(void **state)
{
    struct fixture *f = *state;
    int64_t seq = -1;
    assert_int_equal(er_store_cursor(f->r, "c", &seq), ER_ENOTFOUND);
    f_begin(f);
    assert_int_equal(er_store_cursor_remove(f->s, "c"), ER_ENOTFOUND);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "c", 5), 0);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "d", 0), 0);
    f_commit(f);
    assert_int_equal(f->fx.n_facts, 0);
    assert_true(f->fx.written);
    if (!f->in_memory) {
        f_reopen(f);
    }
    assert_int_equal(er_store_cursor(f->r, "c", &seq), 0);
    assert_int_equal(seq, 5);
    f_begin(f);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "c", 3), 0);
    assert_int_equal(er_store_cursor_remove(f->s, "d"), 0);
    f_commit(f);
    assert_int_equal(er_store_cursor(f->r, "c", &seq), 0);
    assert_int_equal(seq, 3);
    assert_int_equal(er_store_cursor(f->r, "d", &seq), ER_ENOTFOUND);
    f_begin(f);
    assert_int_equal(er_store_cursor_put(f->s, f->now, "c", 9), 0);
    er_store_rollback(f->s);
    assert_int_equal(er_store_cursor(f->r, "c", &seq), 0);
    assert_int_equal(seq, 3);
}

/* One task of a type runs and ends. */
static void
run(struct fixture *f, const char *type, uint64_t signature, enum er_task_state state,
    er_usec took)
{
    struct er_new_task row = f_new();
    row.type = type;
    row.signature = signature;
    er_task_id id = f_add(f, row);
    (void)f_claim(f, id);
    struct er_finish end = f_ends(f, id, state);
    end.started_at = f->now;
    end.finished_at = f->now + took;
    f_finish(f, end);
}

static er_usec
takes(struct fixture *f, const char *type)
{
    er_usec for_reader = -1;
    assert_int_equal(er_store_type_takes(f->r, type, &for_reader), 0);
    struct er_new_task row = f_new();
    row.type = type;
    row.ask_takes = true;
    (void)f_add(f, row);
    f_begin(f);
    assert_int_equal(er_store_submit(f->s, f->now, &row, 1, false), 0);
    f_commit(f);
    /* who submits is told the same, but for a little that is not written each time */
    assert_true(llabs(row.type_takes - for_reader) <= for_reader / 16);
    return for_reader;
}

static void
type_takes__what_its_completed_attempts_took_whatever_they_did(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(takes(f, "a"), 0);
    run(f, "a", 1, ER_TASK_FAILED, 50 * SEC);
    assert_int_equal(takes(f, "a"), 0);
    run(f, "a", 1, ER_TASK_COMPLETED, 4 * SEC);
    assert_int_equal(takes(f, "a"), 4 * SEC);
    run(f, "a", 2, ER_TASK_COMPLETED, 2 * SEC); /* other arguments */
    run(f, "a", 0, ER_TASK_COMPLETED, 3 * SEC); /* or none that are known again */
    assert_int_equal(takes(f, "a"), 3 * SEC);
    assert_int_equal(takes(f, "b"), 0);
    run(f, "b", 1, ER_TASK_COMPLETED, 9 * SEC);
    assert_int_equal(takes(f, "b"), 9 * SEC);
    if (!f->in_memory) {
        f_reopen(f);
    }
    assert_int_equal(takes(f, "a"), 3 * SEC);
    for (int i = 0; i < 100; i++) { /* the latest weigh most */
        run(f, "a", 1, ER_TASK_COMPLETED, 60 * SEC);
    }
    assert_true(takes(f, "a") > 56 * SEC && takes(f, "a") <= 60 * SEC);
    f->now += 3600 * SEC; /* after a while it is exact again */
    run(f, "a", 1, ER_TASK_COMPLETED, 60 * SEC);
    assert_true(takes(f, "a") > 59 * SEC && takes(f, "a") <= 60 * SEC);
}

static void
finish__hands_a_small_results_own_bytes_on(void **state)
{
    struct fixture *f = *state;
    char large[ER_FACT_RESULT + 1];
    memset(large, 'x', sizeof large);
    const struct {
        const void *result;
        size_t len;
        bool told;
    } cases[] = {{NULL, 0, false},
                 {"", 0, true},
                 {"a\0b", 3, true},
                 {large, ER_FACT_RESULT, true},
                 {large, ER_FACT_RESULT + 1, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        er_task_id id = f_add(f, f_new());
        (void)f_claim(f, id);
        struct er_finish end = f_ends(f, id, ER_TASK_COMPLETED);
        end.result = cases[i].result;
        end.result_len = cases[i].len;
        f_finish(f, end);
        const struct er_fact *fact = &f->fx.facts[0];
        assert_int_equal(fact->event, ER_EVENT_TASK_COMPLETED);
        assert_int_equal(fact->result_len, cases[i].len);
        assert_int_equal(fact->result != NULL, cases[i].told);
        if (cases[i].told) {
            assert_memory_equal(fact->result, cases[i].result, cases[i].len);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(topics__are_facts_with_names_of_their_own),
        BOTH(topics__that_are_none_disturb_no_other),
        BOTH(facts__are_read_by_name_and_in_parts),
        BOTH(cursors__are_numbers_under_names),
        BOTH(type_takes__what_its_completed_attempts_took_whatever_they_did),
        BOTH(finish__hands_a_small_results_own_bytes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
