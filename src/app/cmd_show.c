/* SPDX-License-Identifier: MIT */
/* errand show, why: what there is to know of one task. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/output.h"
#include "app/show.h"
#include "app/targets.h"
#include "base/mem.h"

#define TAIL_LINES 20
#define PAGE       1000

/* GETs /v1/tasks/ID and what is behind it. */
static int
get_task(struct er_app *app, er_task_id id, const char *behind, json_t **out,
         struct er_err *err)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "%s", id, behind);
    return er_daemon_get(app, target, out, err);
}

/* ---- show ---- */

struct show {
    bool items, json;
    int *between; /* how many were shown: from the second on with an empty line before */
};

static const struct er_opt show_opts[] = {
    {0, "items", NULL, ER_OPT_FLAG, offsetof(struct show, items), "its items, one a line",
     0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct show, json), "the task as JSON", 0, 0,
     NULL},
    ER_OPT_END,
};

/* Adds the last lines of output; says when there was more before them. */
static void
add_tail(struct er_app *app, const struct er_term *t, er_task_id id, struct er_buf *b)
{
    struct er_buf tail;
    struct er_err err;
    er_buf_init(&tail, 0);
    /* one line more than is shown tells whether there is more */
    if (er_output_tail(app, id, TAIL_LINES + 1, &tail, &err) == 0 && tail.len > 0) {
        size_t lines = tail.data[tail.len - 1] == '\n' ? 0 : 1, from = 0;
        for (size_t i = 0; i < tail.len; i++) {
            lines += tail.data[i] == '\n';
        }
        er_buf_add_str(b, "Output:\n");
        if (lines > TAIL_LINES) {
            const char *end = memchr(tail.data, '\n', tail.len);
            from = end ? (size_t)(end - tail.data) + 1 : 0;
            er_buf_add_str(b, t->utf8 ? "  … (truncated)\n" : "  ... (truncated)\n");
        }
        er_show_output(t, tail.data + from, tail.len - from, b);
    }
    er_buf_fini(&tail);
}

/* How many more tasks it waits for behind a page. */
static int
count_open(struct er_app *app, er_task_id id, const char *next, int64_t *out,
           struct er_err *err)
{
    char *cursor = er_strdup(next);
    int rc = 0;
    *out = 0;
    while (!rc && cursor) {
        json_t *page;
        struct er_buf behind;
        er_buf_init(&behind, 0);
        er_buf_add_str(&behind, "/after?open=1");
        er_daemon_param_int(&behind, "limit", PAGE);
        er_daemon_param(&behind, "cursor", cursor);
        rc = get_task(app, id, behind.data, &page, err);
        er_buf_fini(&behind);
        er_free(cursor);
        cursor = NULL;
        if (!rc) {
            size_t n = json_array_size(json_object_get(page, "after"));
            *out += (int64_t)n;
            cursor = n > 0 ? er_strdup(er_json_text(page, "next")) : NULL;
            json_decref(page);
        }
    }
    return rc;
}

/* The same for what may be gone since the task was read: *out stays NULL then. */
static int
get_maybe(struct er_app *app, er_task_id id, const char *behind, json_t **out,
          struct er_err *err)
{
    int rc = get_task(app, id, behind, out, err);
    return rc == ER_ENOTFOUND ? 0 : rc;
}

/* What is to be asked for besides the task; `more` borrows from the JSON, which is the
 * caller's. */
struct answers {
    json_t *attempts, *why, *open;
};
static int
get_more(struct er_app *app, er_task_id id, const json_t *task, struct answers *a,
         struct er_show_more *more, struct er_err *err)
{
    enum er_task_state state = er_json_state(task);
    bool final = er_task_state_is_final(state);
    int rc = 0;
    if (er_json_int(task, "attempt", 0) > 1) {
        rc = get_maybe(app, id, "/attempts", &a->attempts, err);
    }
    if (!rc && state != ER_TASK_RUNNING && !final) {
        rc = get_maybe(app, id, "/why", &a->why, err);
    }
    if (!rc && !final && json_array_size(json_object_get(task, "after")) > 0) {
        rc = get_maybe(app, id, "/after?open=1&limit=10", &a->open, err);
    }
    if (!rc && er_json_text(a->open, "next")) {
        rc = count_open(app, id, er_json_text(a->open, "next"), &more->open_more, err);
    }
    more->attempts = json_object_get(a->attempts, "attempts");
    more->why = er_json_text(a->why, "why");
    more->open = json_object_get(a->open, "after");
    return rc;
}

static int
show_one(struct er_app *app, er_task_id id)
{
    struct er_err err;
    struct er_term t;
    struct er_buf b;
    struct er_show_more more = {0};
    struct answers a = {0};
    json_t *task;
    int rc = get_task(app, id, "", &task, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = get_more(app, id, task, &a, &more, &err);
    if (rc) {
        rc = er_app_fail(rc, &err);
    } else {
        er_buf_init(&b, 0);
        er_term_init(&t, STDOUT_FILENO);
        er_show_task(&t, task, &more, er_clock_wall(er_clock_system()), &b);
        if (er_json_int(task, "attempt", 0) > 0) {
            add_tail(app, &t, id, &b);
        }
        rc = er_app_out(&b);
        er_buf_fini(&b);
    }
    json_decref(a.open);
    json_decref(a.why);
    json_decref(a.attempts);
    json_decref(task);
    return rc;
}

/* One page of items: JSON lines, or an icon and the name each. */
static int
show_page(const json_t *items, bool json)
{
    struct er_term t;
    struct er_buf b;
    size_t i;
    const json_t *item;
    int rc = 0;
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    json_array_foreach(items, i, item)
    {
        const char *name = er_json_text(item, "name");
        enum er_task_state state =
            er_json_bool(item, "failed") ? ER_TASK_FAILED : ER_TASK_COMPLETED;
        if (json) {
            rc = rc ? rc : er_show_json(item);
            continue;
        }
        er_term_style(&t, &b, er_show_style(state));
        er_buf_add_str(&b, er_task_state_icon(state, t.utf8));
        er_term_plain(&t, &b, er_show_style(state));
        er_buf_add_char(&b, ' ');
        (void)er_term_text(&t, &b, name ? name : "", name ? strlen(name) : 0, 0);
        er_buf_add_char(&b, '\n');
    }
    rc = rc ? rc : er_app_out(&b);
    er_buf_fini(&b);
    return rc;
}

/* All items, page after page. */
static int
show_items(struct er_app *app, er_task_id id, bool json)
{
    struct er_err err;
    char *cursor = NULL;
    int code = 0;
    do {
        json_t *page;
        struct er_buf behind;
        er_buf_init(&behind, 0);
        er_buf_add_str(&behind, "/items");
        er_daemon_param_int(&behind, "limit", PAGE);
        if (cursor) {
            er_daemon_param(&behind, "cursor", cursor);
        }
        int rc = get_task(app, id, behind.data, &page, &err);
        er_buf_fini(&behind);
        er_free(cursor);
        cursor = NULL;
        if (rc) {
            return er_app_fail(rc, &err);
        }
        const json_t *items = json_object_get(page, "items");
        code = show_page(items, json);
        if (code == 0 && json_array_size(items) > 0) {
            cursor = er_strdup(er_json_text(page, "next"));
        }
        json_decref(page);
    } while (cursor);
    return code;
}

static int
show_json(struct er_app *app, er_task_id id)
{
    struct er_err err;
    json_t *task;
    int rc = get_task(app, id, "", &task, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = er_show_json(task);
    json_decref(task);
    return rc;
}

static int
show_target(struct er_app *app, er_task_id id, const void *ctx)
{
    const struct show *o = ctx;
    if (o->json || o->items) {
        return o->items ? show_items(app, id, o->json) : show_json(app, id);
    }
    if (o->between[0]++ > 0) {
        (void)!write(STDOUT_FILENO, "\n", 1);
    }
    return show_one(app, id);
}

static int
show_exec(struct er_app *app, void *data, int n, char **args)
{
    int shown = 0;
    struct show *o = data;
    o->between = &shown;
    return er_targets_each(app, n, (const char *const *)args, show_target, o);
}

const struct er_cmd er_cmd_show = {
    .name = "show",
    .operands = "ID...",
    .summary = "all of a task, with the end of its output",
    .opts = {show_opts},
    .data_size = sizeof(struct show),
    .min = 1,
    .max = -1,
    .exec = show_exec,
};

/* ---- why ---- */

struct why {
    bool json;
};

static const struct er_opt why_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct why, json), "as JSON", 0, 0, NULL},
    ER_OPT_END,
};

/* The sentence is the daemon's, which knows; here it only gets its number. */
static int
why_target(struct er_app *app, er_task_id id, const void *ctx)
{
    const struct why *o = ctx;
    struct er_err err;
    struct er_term t;
    struct er_buf text, line;
    json_t *answer;
    int rc = get_task(app, id, "/why", &answer, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (o->json) {
        rc = er_show_json(answer);
        json_decref(answer);
        return rc;
    }
    const char *why = er_json_text(answer, "why");
    er_buf_init(&text, 0);
    er_buf_init(&line, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_buf_addf(&text, "%" PRId64 ": %s", id, why ? why : "the daemon does not say");
    (void)er_term_text(&t, &line, text.data, text.len, 0);
    er_buf_add_char(&line, '\n');
    rc = er_app_out(&line);
    er_buf_fini(&line);
    er_buf_fini(&text);
    json_decref(answer);
    return rc;
}

static int
why_exec(struct er_app *app, void *data, int n, char **args)
{
    return er_targets_each(app, n, (const char *const *)args, why_target, data);
}

const struct er_cmd er_cmd_why = {
    .name = "why",
    .operands = "ID...",
    .summary = "what exactly a task waits for",
    .opts = {why_opts},
    .data_size = sizeof(struct why),
    .min = 1,
    .max = -1,
    .exec = why_exec,
};
