/* SPDX-License-Identifier: MIT */
/* errand edit: changes a task that waits, with the options of add that can still
 * change. */
#include <inttypes.h>
#include <stdio.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/show.h"
#include "app/submit.h"
#include "app/targets.h"

static const struct er_opt edit_opts[] = {
    {0, "json", NULL, ER_OPT_FLAG, offsetof(struct er_submission, json),
     "print the task as JSON", 0, 0, NULL},
    ER_OPT_END,
};

/* The changes as a JSON object. */
static int
make_body(struct er_app *app, const struct er_submission *s, struct er_buf *b,
          struct er_err *err)
{
    int rc = er_submit_check(s, err);
    rc = rc ? rc : er_submit_changes(app, s, b, err);
    if (!rc && b->len == 0) {
        rc = er_fail(
            err, ER_EINVALID,
            "change what? errand edit ID --priority N, --queue NAME, --delay DUR, "
            "--after ID ... (errand edit --help lists them)");
    }
    if (!rc && !b->failed) {
        b->data[0] = '{'; /* in the place of the first comma */
        er_buf_add_char(b, '}');
    }
    if (!rc && b->failed) {
        rc = er_fail(err, b->failed, "the changes are too large: %s",
                     er_error_meaning(b->failed));
    }
    return rc;
}

/* Says why it was refused; the exit code. */
static int
refuse(const struct er_app *app, er_task_id id, int rc, const struct er_err *err)
{
    const char *state = er_json_text(app->problem, "state");
    if (rc == ER_ESTATE && state) {
        return er_app_failf(
            rc, "cannot edit %" PRId64 ": it is %s (only what waits can be edited)", id,
            state);
    }
    if (json_object_get(app->problem, "chain")) {
        return er_app_failf(rc, "cannot edit %" PRId64 ": %s", id, err->text);
    }
    return er_app_fail(rc, err);
}

static int
edit_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct er_submission *s = data;
    struct er_err err;
    struct er_buf body;
    char target[64];
    er_task_id id = 0;
    json_t *task = NULL;
    (void)n;
    er_buf_init(&body, 0);
    int rc = make_body(app, s, &body, &err);
    rc = rc ? rc : er_targets_one(app, args[0], &id, &err);
    if (!rc) {
        (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64, id);
        rc = er_daemon_post(app, "PATCH", target, &body, &task, &err);
    }
    er_buf_fini(&body);
    if (rc) {
        return refuse(app, id, rc, &err);
    }
    rc = s->json ? er_show_json(task) : 0;
    json_decref(task);
    return rc;
}

const struct er_cmd er_cmd_edit = {
    .name = "edit",
    .operands = "ID",
    .summary = "change a task that does not run yet",
    .text = "What is not given stays as it is; --after takes the place of what it waited "
            "for (none:\n"
            "of nothing any more).",
    .opts = {er_submit_change_opts, edit_opts},
    .data_size = sizeof(struct er_submission),
    .min = 1,
    .max = 1,
    .exec = edit_exec,
};
