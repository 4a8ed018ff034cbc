/* SPDX-License-Identifier: MIT */
/* Lists, newest first. Ids come from the index that fits the filter best; what that index
 * does not tell is asked for one by one; then the tasks on the page are read, as many as
 * fit.
 *   key          its index: one at most
 *   tag          the tags' table, ordered by id within a tag
 *   correlation  its index
 *   states, or a queue or type: the index by shown state, whose ranges are merged and
 *                which knows the lane, so that no row is read for what is left out
 *   none         the table itself */
#include "store/sqlite_priv.h"

#include <stdlib.h>
#include <string.h>

/* The ids of the page under construction. */
struct page {
    er_task_id *ids;
    size_t n, size; /* size: the limit and one, which tells that there are more */
};
/* The lanes of the wanted queue and type. */
struct lane_set {
    bool any;
    int64_t *ids; /* sorted */
    size_t n;
};

static int
compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int
find_lanes(struct er_store_reader *r, const struct er_filter *f, struct er_arena *tmp,
           struct lane_set *out)
{
    struct er_stmt q;
    size_t size = 0;
    *out = (struct lane_set){.any = !f->queue && !f->type};
    if (out->any) {
        return 0;
    }
    er_stmt_begin(&q, r->c, ER_SQL_LANES_FIND);
    er_stmt_text(&q, f->queue);
    er_stmt_text(&q, f->type);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        int64_t *more = er_sqlite_grow(tmp, out->ids, out->n, &size, sizeof *more);
        if (!more) {
            rc = er_sqlite_no_memory(r->c);
            break;
        }
        out->ids = more;
        out->ids[out->n++] = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    if (out->n > 0) {
        qsort(out->ids, out->n, sizeof *out->ids, compare_ids);
    }
    return rc;
}

static bool
has_lane(const struct lane_set *lanes, int64_t id)
{
    return lanes->any || (lanes->n > 0 && bsearch(&id, lanes->ids, lanes->n, sizeof id,
                                                  compare_ids) != NULL);
}

static bool
has_shown_state(unsigned states, enum er_task_state state, bool held)
{
    struct er_task t = {.state = state, .held = held};
    return states == 0 || (states >> er_task_shown_state(&t) & 1u) != 0;
}

/* For ids that come from keys, tags or correlations: 1 when the rest of the filter lets
 * it pass. */
static int
check_task(struct er_store_reader *r, const struct er_filter *f,
           const struct lane_set *lanes, er_task_id id)
{
    struct er_stmt q;
    er_stmt_begin(&q, r->c, ER_SQL_LIST_CHECK);
    er_stmt_i64(&q, id);
    er_stmt_text(&q, f->correlation);
    er_stmt_text(&q, f->tag);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        rc = has_shown_state(f->states, (enum er_task_state)er_col_int(&q, 0),
                             er_col_int(&q, 1) != 0) &&
             has_lane(lanes, er_col_i64(&q, 2));
    }
    er_stmt_end(&q);
    return rc;
}

static void
begin_walk(struct er_stmt *q, struct er_store_reader *r, const struct er_filter *f,
           bool *out_check)
{
    er_task_id before = f->before > 0 ? f->before : INT64_MAX;
    *out_check = f->tag || f->correlation || f->key;
    if (f->key) {
        er_stmt_begin(q, r->c, ER_SQL_LIST_KEY);
        er_stmt_i64(q, before);
        er_stmt_text(q, f->key);
    } else if (f->tag) {
        er_stmt_begin(q, r->c, ER_SQL_LIST_TAG);
        er_stmt_i64(q, before);
        er_stmt_text(q, f->tag);
    } else if (f->correlation) {
        er_stmt_begin(q, r->c, ER_SQL_LIST_CORRELATION);
        er_stmt_i64(q, before);
        er_stmt_text(q, f->correlation);
    } else if (f->states != 0 || f->queue || f->type) {
        er_stmt_begin(q, r->c, ER_SQL_LIST_STATES);
        er_stmt_i64(q, before);
        er_stmt_i64(q, f->states ? (int64_t)f->states : 0xff);
    } else {
        er_stmt_begin(q, r->c, ER_SQL_LIST_ALL);
        er_stmt_i64(q, before);
    }
}

/* Walks along one index, newest first, until the page is full. */
static int
walk(struct er_store_reader *r, const struct er_filter *f, const struct lane_set *lanes,
     struct page *page)
{
    struct er_stmt q;
    bool check;
    int rc = 0;
    begin_walk(&q, r, f, &check);
    while (page->n < page->size && (rc = er_stmt_step(&q)) == 1) {
        er_task_id id = er_col_i64(&q, 0);
        if (check) {
            rc = check_task(r, f, lanes, id);
        } else {
            rc = has_lane(lanes, er_col_i64(&q, 1));
        }
        if (rc < 0) {
            break;
        }
        if (rc == 1) {
            page->ids[page->n++] = id;
        }
    }
    er_stmt_end(&q);
    return rc < 0 ? rc : 0;
}

static size_t
bytes_of(const struct er_task *t)
{
    const char *const texts[] = {t->args_json, t->meta_json,    t->tags_json,
                                 t->name,      t->error_json,   t->warnings_json,
                                 t->cwd,       t->progress_json};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bytes += texts[i] ? strlen(texts[i]) : 0;
    }
    return bytes;
}

/* Reads *n tasks, or as many as fit into the bound: then that is *n. */
static int
read_page(struct er_store_reader *r, const struct page *page, size_t *n,
          struct er_arena *arena, struct er_task *tasks)
{
    size_t bytes = 0;
    for (size_t i = 0; i < *n; i++) {
        struct er_stmt q;
        er_stmt_begin(&q, r->c, ER_SQL_TASK_GET);
        er_stmt_i64(&q, page->ids[i]);
        int rc = er_stmt_step(&q);
        if (rc == 1) {
            rc = er_sqlite_read_joined(&q, arena, &tasks[i]);
        } else if (rc == 0) {
            rc = er_sqlite_fail(r->c, ER_ECORRUPT,
                                "an index names a task that is not there");
        }
        er_stmt_end(&q);
        if (rc) {
            return rc;
        }
        bytes += bytes_of(&tasks[i]);
        if (bytes >= ER_LIST_BYTES) {
            *n = i + 1;
        }
    }
    return 0;
}

static int
list(struct er_store_reader *r, const struct er_filter *f, struct er_arena *arena,
     struct er_arena *tmp, struct er_task **out, size_t *out_n, bool *out_more)
{
    struct lane_set lanes;
    int rc = find_lanes(r, f, tmp, &lanes);
    if (rc) {
        return rc;
    }
    struct page page = {.size = f->limit + 1};
    page.ids = er_arena_alloc(tmp, page.size * sizeof *page.ids);
    if (page.ids && (lanes.any || lanes.n > 0)) {
        rc = walk(r, f, &lanes, &page);
    }
    if (rc) {
        return rc;
    }
    size_t n = page.n < f->limit ? page.n : f->limit;
    struct er_task *tasks = er_arena_alloc(arena, (n + 1) * sizeof *tasks);
    if (!page.ids || !tasks) {
        return er_sqlite_no_memory(r->c);
    }
    rc = read_page(r, &page, &n, arena, tasks);
    if (rc == 0) {
        *out = tasks;
        *out_n = n;
        *out_more = page.n > n;
    }
    return rc;
}

int
er_store_list(struct er_store_reader *r, const struct er_filter *f,
              struct er_arena *arena, struct er_task **out, size_t *out_n, bool *out_more)
{
    struct er_arena tmp = {NULL, 0};
    (void)er_sqlite_reader(r);
    int rc = er_sqlite_snapshot(r, true);
    if (rc) {
        return rc;
    }
    rc = list(r, f, arena, &tmp, out, out_n, out_more);
    int ended = er_sqlite_snapshot(r, false);
    er_arena_free(&tmp);
    return rc ? rc : ended;
}
