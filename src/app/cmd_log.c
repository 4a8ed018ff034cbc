/* SPDX-License-Identifier: MIT */
/* errand log, result: what a task wrote, and what it answered. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/follow.h"
#include "app/output.h"
#include "app/render.h"
#include "app/targets.h"

/* ---- log ---- */

struct log {
    bool follow, out, err, timestamps, json;
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
    {0, "json", NULL, ER_OPT_FLAG, AT(json),
     "each piece as a line of JSON: task, t, stream, data or base64", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* One of several: its output with a heading, as tail has it. */
static int
log_target(struct er_app *app, er_task_id id, const void *ctx)
{
    const struct er_output_options *o = ctx;
    struct er_err err;
    struct er_buf b;
    er_buf_init(&b, 64);
    if (!o->json) {
        er_buf_addf(&b, "==> %" PRId64 " <==\n", id);
    }
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    if (rc) {
        return rc;
    }
    rc = er_output_run(app, id, o, &err);
    return rc ? er_app_fail(rc, &err) : 0;
}

/* How the options want the output. */
static void
read_options(const struct log *l, struct er_output_options *o)
{
    struct er_term t;
    er_term_init(&t, STDOUT_FILENO);
    *o = (struct er_output_options){
        .follow = l->follow,
        .tail = l->lines.set ? l->lines.value : -1,
        .attempt = l->attempt.set ? l->attempt.value : 0,
        .stream = l->out == l->err ? NULL
                  : l->out         ? "stdout"
                                   : "stderr",
        .timestamps = l->timestamps && !l->json,
        .colour = t.colour && !l->timestamps && !l->json && l->out == l->err,
        .json = l->json,
    };
}

static int
log_exec(struct er_app *app, void *data, int n, char **args)
{
    const char *const *names = (const char *const *)args;
    const struct log *l = data;
    struct er_idlist ids;
    struct er_err err;
    struct er_output_options o;
    read_options(l, &o);
    int rc = er_targets_read(app, n, names, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (ids.n == 1) {
        rc = er_output_run(app, ids.ids[0], &o, &err);
        rc = rc ? er_app_fail(rc, &err) : 0;
    } else if (l->follow) {
        rc = er_follow_many(app, &ids, &o);
    } else {
        rc = er_targets_each(app, n, names, log_target, &o);
    }
    er_idlist_fini(&ids);
    return rc;
}

const struct er_cmd er_cmd_log = {
    .name = "log",
    .operands = "ID...",
    .summary = "what a task wrote",
    .text = "Several are shown one after the other, each with a heading; with -f side by "
            "side, the id\n"
            "before each line. Exits 1 when a part of it cannot be read, after what can.",
    .opts = {log_opts},
    .data_size = sizeof(struct log),
    .min = 1,
    .max = -1,
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
        struct er_daemon_request request = {.target = target};
        rc = er_daemon_call(app, &request, &r, &err);
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
