/* SPDX-License-Identifier: MIT */
/* errand add, errand submit: queue a command, or a task of any type. */
#include <string.h>

#include "app/args.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "app/submit.h"

static int
add_exec(struct er_app *app, void *data, int n, char **args)
{
    struct er_submission *s = data;
    struct er_buf b;
    struct er_err err;
    int rc = er_submit_check(s, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    er_buf_init(&b, 0);
    (void)er_buf_reserve(&b, 8192);
    er_buf_add_str(&b, "{\"type\":\"shell\",");
    rc = er_submit_command_args(s, n, args, &b, &err);
    rc = rc ? rc : er_submit_members(app, s, &b, &err);
    er_buf_add_char(&b, '}');
    rc = rc ? er_app_fail(rc, &err) : er_submit_send(app, s, &b);
    er_buf_fini(&b);
    return rc;
}

const struct er_cmd er_cmd_add = {
    .name = "add",
    .operands = "[--] COMMAND [ARG...]",
    .summary = "queue a command",
    .text = "One argument is a line for the shell; several are run as they are. Prints "
            "the id\n"
            "alone on standard output, once the task is on disk.",
    .group = "Queue work",
    .opts = {er_submit_change_opts, er_submit_opts},
    .data_size = sizeof(struct er_submission),
    .min = 1,
    .max = -1,
    .stop_early = true,
    .exec = add_exec,
};

/* ---- submit ---- */

struct submit {
    struct er_submission task; /* first: the shared table fills it */
    bool atomic;
};

static const struct er_opt submit_opts[] = {
    {0, "atomic", NULL, ER_OPT_FLAG, offsetof(struct submit, atomic),
     "with -: all of them or none", 0, 0, NULL},
    ER_OPT_END,
};

static int
submit_one(struct er_app *app, const struct submit *s, const char *type, int n,
           char **args)
{
    struct er_buf b;
    struct er_err err;
    json_t *known = NULL;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"type\":");
    er_buf_add_json_str(&b, type);
    er_buf_add_char(&b, ',');
    int rc = er_args_add(app, type, &known, n, args, &b, &err);
    rc = rc ? rc : er_submit_members(app, &s->task, &b, &err);
    er_buf_add_char(&b, '}');
    rc = rc ? er_app_fail(rc, &err) : er_submit_send(app, &s->task, &b);
    json_decref(known);
    er_buf_fini(&b);
    return rc;
}

static int
submit_exec(struct er_app *app, void *data, int n, char **args)
{
    struct submit *s = data;
    struct er_err err;
    bool whole = strcmp(args[0], "-") == 0; /* no type: whole tasks come in */
    bool many = whole || (n > 1 && strcmp(args[1], "-") == 0);
    int rc = er_submit_check(&s->task, &err);
    if (!rc && (s->task.standard_input || s->task.input)) {
        rc = er_fail(&err, ER_EINVALID,
                     "--stdin and --input are for errand add: here "
                     "they are arguments (errand types %.60s)",
                     whole ? "shell" : args[0]);
    }
    if (!rc && many && n > (whole ? 1 : 2)) {
        rc = er_fail(&err, ER_EINVALID,
                     "'%.60s' is too much: with - all arguments come from "
                     "standard input",
                     args[whole ? 1 : 2]);
    }
    if (!rc && many && (s->task.wait || s->task.follow || s->task.key)) {
        rc = er_fail(&err, ER_EINVALID,
                     "--wait, --follow and --key are for one task, not for -");
    }
    if (!rc && s->atomic && !many) {
        rc = er_fail(&err, ER_EINVALID,
                     "--atomic is for many tasks: errand submit TYPE -");
    }
    if (rc) {
        return er_app_fail(rc, &err);
    }
    return many ? er_bulk_submit(app, &s->task, whole ? NULL : args[0], s->atomic)
                : submit_one(app, s, args[0], n - 1, args + 1);
}

const struct er_cmd er_cmd_submit = {
    .name = "submit",
    .operands = "TYPE [KEY=VALUE...|JSON|-] | -",
    .summary = "queue a task of any registered type",
    .text =
        "A VALUE is read as the type wants it: 3, yes, 1h30m, a,b (errand types TYPE "
        "shows its\n"
        "parameters); KEY:=JSON gives any JSON value. @FILE in the place of a value "
        "reads it from\n"
        "a file (@- from standard input), @@ stands for one @. Where a type requires "
        "one\n"
        "parameter only, its name can be left out: errand submit sleep 3s.\n"
        "TYPE - reads the arguments of many tasks from standard input, one JSON object "
        "a line;\n"
        "- alone reads whole tasks, as POST /v1/tasks takes them. Prints the ids, one "
        "a line, in\n"
        "the order given.",
    .opts = {submit_opts, er_submit_change_opts, er_submit_opts},
    .data_size = sizeof(struct submit),
    .min = 1,
    .max = -1,
    .exec = submit_exec,
};
