/* SPDX-License-Identifier: MIT */
/* What reaches a terminal: clean, masked, cut to columns, with ASCII forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/render.h"
#include "app/show.h"
#include "app/sse.h"

static const struct er_term utf8 = {.utf8 = true};
static const struct er_term ascii = {.utf8 = false};
static const struct er_term colour = {.utf8 = true, .colour = true};

static void
check_text(const struct er_term *t, const char *text, size_t max, const char *want,
           size_t want_width)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    assert_int_equal(er_term_text(t, &b, text, strlen(text), max), want_width);
    assert_string_equal(b.data ? b.data : "", want);
    er_buf_fini(&b);
}

static void
text__is_clean_and_masked(void **state)
{
    (void)state;
    check_text(&utf8, "a\x1b[31mb\x07\tc\r\nd", 0, "ab c d", 6);
    check_text(&utf8, "\x1b]0;title\x07x", 0, "x", 1);
    check_text(&utf8, "git clone https://me:secret@host/x", 0,
               "git clone https://me:***@host/x", 31);
    check_text(&utf8, "bad \xff byte", 0, "bad ? byte", 10);
    check_text(&utf8, "turned \xe2\x80\xae round", 0, "turned  round", 13);
    check_text(&utf8, "", 0, "", 0);
}

static void
text__is_cut_by_columns_not_by_bytes(void **state)
{
    (void)state;
    check_text(&utf8, "abcdef", 6, "abcdef", 6);
    check_text(&utf8, "abcdefg", 6, "abcde…", 6);
    check_text(&utf8, "日本語", 6, "日本語", 6);
    check_text(&utf8, "日本語", 5, "日本…", 5);
    check_text(&utf8, "日本語", 4, "日…", 3);
    check_text(&utf8,
               "e\xcc\x81"
               "bc",
               3,
               "e\xcc\x81"
               "bc",
               3);
    check_text(&utf8, "abc", 1, "…", 1);
    check_text(&ascii, "abcdefg", 6, "abc...", 6);
    check_text(&ascii, "日本", 0, "??", 2);
    check_text(&ascii, "abc", 2, "", 0);
}

static void
width__counts_columns(void **state)
{
    (void)state;
    assert_int_equal(er_term_width("abc", 3), 3);
    assert_int_equal(er_term_width("日本", 6), 4);
    assert_int_equal(er_term_width("e\xcc\x81", 3), 1);
    assert_int_equal(er_term_width("", 0), 0);
}

static void
check_bar(const struct er_term *t, double percent, const char *want)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_term_bar(t, &b, percent, 4);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
}

static void
bar__stays_within_its_cells(void **state)
{
    (void)state;
    check_bar(&utf8, 0.0, "░░░░");
    check_bar(&utf8, 50.0, "██░░");
    check_bar(&utf8, 99.9, "███░");
    check_bar(&utf8, 100.0, "████");
    check_bar(&utf8, 1e9, "████");
    check_bar(&utf8, -3.0, "░░░░");
    check_bar(&ascii, 50.0, "[##--]");
}

static void
style__is_nothing_without_colours(void **state)
{
    (void)state;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_term_style(&utf8, &b, ER_STYLE_RED);
    er_term_plain(&utf8, &b, ER_STYLE_RED);
    assert_int_equal(b.len, 0);
    er_term_style(&colour, &b, ER_STYLE_RED);
    er_term_plain(&colour, &b, ER_STYLE_RED);
    assert_string_equal(b.data, "\033[31m\033[0m");
    er_buf_fini(&b);
}

/* A table of four columns (right, flexible, flexible, spare) with two rows. */
static void
check_table(int width, const char *want)
{
    static const enum er_align align[] = {ER_ALIGN_RIGHT, ER_ALIGN_FLEX, ER_ALIGN_FLEX,
                                          ER_ALIGN_SPARE_RIGHT};
    static const char *const cells[] = {
        "1", "a long name here", "b", "9", "12", "short", NULL, "100"};
    struct er_term t = {.utf8 = true, .width = width};
    struct er_table *table = er_table_new(align, 4);
    struct er_buf b;
    er_buf_init(&b, 0);
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        er_table_add(table, ER_STYLE_PLAIN, cells[i]);
    }
    assert_int_equal(er_table_rows(table), 2);
    er_table_render(table, &t, 0, &b);
    assert_string_equal(b.data, want);
    er_buf_fini(&b);
    er_table_free(table);
}

static void
table__fits_the_terminal(void **state)
{
    (void)state;
    check_table(0, " 1  a long name here  b    9\n12  short                100\n");
    check_table(25, " 1  a long name …  b    9\n12  short             100\n");
    check_table(16, " 1  a long n…  b\n12  short\n");
    check_table(11, " 1  a l…  b\n12  sho…\n");
    check_table(5, " 1\n12\n");
    check_table(1, " 1\n12\n");
}

static void
output__is_shown_line_by_line(void **state)
{
    (void)state;
    struct er_buf b, text;
    er_buf_init(&b, 0);
    er_buf_init(&text, 0);
    er_buf_add_str(&text, "a\tb  c\n10%\r50%\r\n\x1b[1mbold\x1b[0m\n\nend");
    er_show_output(&utf8, text.data, text.len, &b);
    assert_string_equal(b.data, "  a       b  c\n  50%\n  bold\n  \n  end\n");
    er_buf_clear(&b);
    er_buf_clear(&text);
    for (int i = 0; i < 100000; i++) {
        er_buf_add_str(&text, "é");
    }
    er_show_output(&utf8, text.data, text.len, &b);
    assert_true(b.len < 700);
    assert_non_null(strstr(b.data, "é… (truncated)\n"));
    er_buf_fini(&b);
    er_buf_fini(&text);
}

static void
sse__gives_whole_events(void **state)
{
    (void)state;
    const char *text =
        ": hello\n\nid: 7\nevent: x\ndata: {\"a\":1}\n\nevent: y\r\ndata: two\r\n"
        "data:lines\r\n\r\nid: 9\ndata: cut";
    struct er_buf in, data;
    int64_t seq = -1;
    int events = 0;
    er_buf_init(&in, 0);
    er_buf_init(&data, 0);
    for (size_t i = 0; text[i]; i++) {
        er_buf_add_char(&in, text[i]);
        if (er_sse_next(&in, &data, &seq)) {
            assert_string_equal(data.data, events == 0 ? "{\"a\":1}" : "two\nlines");
            assert_int_equal(seq, 7);
            events++;
        }
    }
    assert_int_equal(events, 2);
    assert_int_equal(seq, 7); /* the next one counts with its event */
    er_buf_fini(&in);
    er_buf_fini(&data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text__is_clean_and_masked),
        cmocka_unit_test(text__is_cut_by_columns_not_by_bytes),
        cmocka_unit_test(width__counts_columns),
        cmocka_unit_test(bar__stays_within_its_cells),
        cmocka_unit_test(style__is_nothing_without_colours),
        cmocka_unit_test(table__fits_the_terminal),
        cmocka_unit_test(output__is_shown_line_by_line),
        cmocka_unit_test(sse__gives_whole_events),
    };
    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
