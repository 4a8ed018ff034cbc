/* SPDX-License-Identifier: MIT */
/* errand show, why, log, result: what there is to know of one task. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/api.h"
#include "app/cmd.h"
#include "app/output.h"
#include "app/show.h"
#include "app/targets.h"

#define TAIL_LINES 20

/* GETs /v1/tasks/ID and what is behind it. */
static int
get_task(struct er_app *app, er_task_id id, const char *behind, json_t **out,
         struct er_err *err)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "%s", id, behind);
    return er_api_get(app, target, out, err);
}

/* ---- show ---- */

struct show {
    bool items, json;
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

static int
show_one(struct er_app *app, er_task_id id)
{
    struct er_err err;
    struct er_term t;
    struct er_buf b;
    json_t *task, *attempts = NULL;
    int rc = get_task(app, id, "", &task, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (er_json_int(task, "attempt", 0) > 1) {
        rc = get_task(app, id, "/attempts", &attempts, &err);
        attempts = rc ? NULL : attempts;
    }
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    er_show_task(&t, task, json_object_get(attempts, "attempts"),
                 er_clock_wall(er_clock_system()), &b);
    if (er_json_int(task, "attempt", 0) > 0) {
        add_tail(app, &t, id, &b);
    }
    rc = er_app_out(&b);
    er_buf_fini(&b);
    json_decref(attempts);
    json_decref(task);
    return rc;
}

/* The items as they come: JSON lines, or their words with blanks between. */
static int
show_items(struct er_app *app, er_task_id id, bool json)
{
    struct er_err err;
    json_t *page;
    size_t i;
    const json_t *item;
    int rc = get_task(app, id, "/items", &page, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    struct er_term t;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_term_init(&t, STDOUT_FILENO);
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        const char *name = er_json_text(item, "name");
        const char *state = er_json_text(item, "state");
        if (json) {
            rc = rc ? rc : er_show_json(item);
            continue;
        }
        er_buf_addf(&b, "%s  ", state ? state : "?");
        (void)er_term_text(&t, &b, name ? name : "", name ? strlen(name) : 0, 0);
        er_buf_add_char(&b, '\n');
    }
    rc = rc ? rc : er_app_out(&b);
    er_buf_fini(&b);
    json_decref(page);
    return rc;
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
show_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct show *o = data;
    struct er_idlist ids;
    struct er_err err;
    int code = 0;
    int rc = er_targets_read(app, n, (const char *const *)args, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    for (size_t i = 0; i < ids.n; i++) {
        if (i > 0 && !o->json) {
            (void)!write(STDOUT_FILENO, "\n", 1);
        }
        rc = o->items  ? show_items(app, ids.ids[i], o->json)
             : o->json ? show_json(app, ids.ids[i])
                       : show_one(app, ids.ids[i]);
        code = code ? code : rc;
    }
    er_idlist_fini(&ids);
    return code;
}

const struct er_cmd er_cmd_show = {
    .name = "show",
    .operands = "ID...",
    .summary = "all of a task, with the end of its output",
    .opts = show_opts,
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

static int
why_one(struct er_app *app, er_task_id id, bool json)
{
    struct er_err err;
    struct er_buf b;
    json_t *task;
    int rc = get_task(app, id, "", &task, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    er_buf_init(&b, 0);
    er_show_why(task, er_clock_wall(er_clock_system()), &b);
    if (json) {
        const char *until = er_json_text(task, "resumes_at");
        until = until ? until : er_json_text(task, "run_at");
        json_t *o = json_pack("{s:I, s:s, s:s, s:s?}", "id", (json_int_t)id, "state",
                              er_task_state_word(er_json_state(task)), "why",
                              b.data ? b.data : "", "until", until);
        rc = er_show_json(o);
        json_decref(o);
    } else {
        struct er_term t;
        struct er_buf line;
        er_buf_init(&line, 0);
        er_term_init(&t, STDOUT_FILENO);
        (void)er_term_text(&t, &line, b.data ? b.data : "", b.len, 0);
        er_buf_add_char(&line, '\n');
        rc = er_app_out(&line);
        er_buf_fini(&line);
    }
    er_buf_fini(&b);
    json_decref(task);
    return rc;
}

static int
why_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct why *o = data;
    struct er_idlist ids;
    struct er_err err;
    int code = 0;
    int rc = er_targets_read(app, n, (const char *const *)args, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    for (size_t i = 0; i < ids.n; i++) {
        rc = why_one(app, ids.ids[i], o->json);
        code = code ? code : rc;
    }
    er_idlist_fini(&ids);
    return code;
}

const struct er_cmd er_cmd_why = {
    .name = "why",
    .operands = "ID...",
    .summary = "what exactly a task waits for",
    .opts = why_opts,
    .data_size = sizeof(struct why),
    .min = 1,
    .max = -1,
    .exec = why_exec,
};

/* ---- log ---- */

struct log {
    bool follow, out, err, timestamps;
    struct er_opt_int lines, attempt;
};

#define AT(field) offsetof(struct log, field)
static const struct er_opt log_opts[] = {
    {'f', "follow", NULL, ER_OPT_FLAG, AT(follow), "go on until the task is final", 0, 0,
     NULL},
    {'n', "lines", "N", ER_OPT_INT, AT(lines), "only the last N lines", 0, INT32_MAX,
     NULL},
    {0, "attempt", "N", ER_OPT_INT, AT(attempt), "of that attempt, not the latest", 1,
     INT32_MAX, NULL},
    {0, "stdout", NULL, ER_OPT_FLAG, AT(out), "only its standard output", 0, 0, NULL},
    {0, "stderr", NULL, ER_OPT_FLAG, AT(err), "only its standard error", 0, 0, NULL},
    {0, "timestamps", NULL, ER_OPT_FLAG, AT(timestamps),
     "the time and the stream before each line", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

static int
log_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct log *l = data;
    struct er_err err;
    struct er_term t;
    er_task_id id;
    (void)n;
    er_term_init(&t, STDOUT_FILENO);
    struct er_output_options o = {
        .follow = l->follow,
        .tail = l->lines.set ? l->lines.value : -1,
        .attempt = l->attempt.set ? l->attempt.value : 0,
        .stream = l->out == l->err ? NULL
                  : l->out         ? "stdout"
                                   : "stderr",
        .timestamps = l->timestamps,
        .colour = t.colour && !l->timestamps && l->out == l->err,
    };
    int rc = er_targets_one(app, args[0], &id, &err);
    rc = rc ? rc : er_output_run(app, id, &o, &err);
    return rc ? er_app_fail(rc, &err) : 0;
}

const struct er_cmd er_cmd_log = {
    .name = "log",
    .operands = "ID",
    .summary = "what a task wrote",
    .opts = log_opts,
    .data_size = sizeof(struct log),
    .min = 1,
    .max = 1,
    .exec = log_exec,
};

/* ---- result ---- */

static int
result_exec(struct er_app *app, void *data, int n, char **args)
{
    struct er_err err;
    struct er_response r;
    char target[64];
    er_task_id id;
    (void)data;
    (void)n;
    int rc = er_targets_one(app, args[0], &id, &err);
    if (!rc) {
        (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "/result", id);
        struct er_request request = {.target = target};
        rc = er_api_call(app, &request, &r, &err);
    }
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = er_app_out(&r.body);
    er_response_fini(&r);
    return rc;
}

const struct er_cmd er_cmd_result = {
    .name = "result",
    .operands = "ID",
    .summary = "the bytes of a task's result",
    .min = 1,
    .max = 1,
    .exec = result_exec,
};
