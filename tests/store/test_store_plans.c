/* SPDX-License-Identifier: MIT */
/* How SQLite goes about each statement: none may walk a large table or sort one, except
 * those that are listed here with the reason. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "store/sqlite_priv.h"
#include "store_fixture.h"

static const struct {
    const char *name, *text;
} statements[] = {
#define ER_SQL(name, text) {#name, text},
#include "store/sqlite_statements.def"
#undef ER_SQL
};

/* What may be walked or sorted, and by which statement; "" = any. */
static const struct {
    const char *name, *step;
} allowed[] = {
    {"", "SCAN lane"},      /* few */
    {"", "SCAN queue"},     /* few */
    {"", "SCAN limit_key"}, /* few */
    {"", "SCAN type"},      /* few */

    {"", "SCAN CONSTANT ROW"},
    {"EVENTS_OLDEST", "SCAN event"},         /* from the front, ended by the caller */
    {"DURATIONS_REMOVE", "SCAN duration"},   /* at most some more than are kept */
    {"DURATIONS_REMOVE", "USE TEMP B-TREE"}, /* and only when there are more */
    {"ATTEMPTS", "USE TEMP B-TREE"},         /* those of one task */
    {"COUNTERS_HELD", "USE TEMP B-TREE"},    /* those that are held */
    {"LANES_KEYS", "USE TEMP B-TREE"},       /* few */
    {"LANE_COUNT", "SCAN (subquery"},        /* up to the limit */
    {"SESSIONS_REMOVE", "SCAN session"},     /* by id, up to the limit */
    {"LIST_ALL", "SCAN task"},               /* by id, ended by the caller */
};

static bool
is_bad(const char *name, const char *step)
{
    bool walks = strncmp(step, "SCAN ", 5) == 0 && !strstr(step, "USING INDEX") &&
                 !strstr(step, "USING COVERING INDEX");
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if ((allowed[i].name[0] == '\0' || strcmp(allowed[i].name, name) == 0) &&
            strncmp(step, allowed[i].step, strlen(allowed[i].step)) == 0) {
            return false;
        }
    }
    return walks || strstr(step, "TEMP B-TREE") != NULL;
}

static void
statements__neither_walk_nor_sort(void **state)
{
    struct fixture *f = *state;
    int bad = 0;
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        char sql[8192];
        sqlite3_stmt *st;
        (void)snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", statements[i].text);
        assert_int_equal(sqlite3_prepare_v2(f->s->c.db, sql, -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(st, 3);
            if (is_bad(statements[i].name, step)) {
                print_message("# %s: %s\n", statements[i].name, step);
                bad++;
            }
        }
        (void)sqlite3_finalize(st);
    }
    assert_int_equal(bad, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FILE(statements__neither_walk_nor_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
