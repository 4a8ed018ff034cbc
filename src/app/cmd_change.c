/* SPDX-License-Identifier: MIT */
/* errand send, clean: what is said to a task that runs, and cleared away of those that
 * are over. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/show.h"
#include "app/targets.h"
#include "base/io.h"
#include "base/utf8.h"

#define INPUT_MAX ((size_t)1 << 20)

/* ---- send ---- */

struct send {
    bool eof, no_newline;
};

static const struct er_opt send_opts[] = {
    {0, "eof", NULL, ER_OPT_FLAG, offsetof(struct send, eof),
     "close its standard input then", 0, 0, NULL},
    {0, "no-newline", NULL, ER_OPT_FLAG, offsetof(struct send, no_newline),
     "add no newline to the text", 0, 0, NULL},
    ER_OPT_END,
};

/* Adds the text, with its newline, or with "-" all of our own standard input. */
static int
add_text(const struct send *o, const char *text, struct er_buf *b, struct er_err *err)
{
    struct er_buf in;
    er_buf_init(&in, INPUT_MAX);
    int rc = 0;
    if (strcmp(text, "-") == 0) {
        rc = er_read_file("/dev/stdin", &in, err);
    } else {
        er_buf_add_str(&in, text);
        er_buf_add_str(&in, o->no_newline ? "" : "\n");
        rc = in.failed;
    }
    if (rc == ER_ETOOBIG) {
        (void)er_fail(err, rc, "at most 1 MiB can be sent at once");
    }
    if (!rc && in.len > 0 && !er_utf8_is_valid(in.data, in.len)) {
        rc = er_fail(err, ER_EINVALID,
                     "only text in UTF-8 can be sent (give larger or binary "
                     "input with errand add --stdin FILE)");
    }
    if (!rc) {
        er_buf_add_str(b, "\"data\":");
        er_buf_add_json(b, in.data ? in.data : "", in.len);
    }
    er_buf_fini(&in);
    return rc;
}

static int
send_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct send *o = data;
    struct er_err err;
    struct er_buf body;
    char target[64];
    er_task_id id;
    if (n < 2 && !o->eof) {
        return er_app_failf(ER_EINVALID, "send what? errand send ID TEXT, or ID --eof");
    }
    int rc = er_targets_one(app, args[0], &id, &err);
    er_buf_init(&body, 0);
    er_buf_add_char(&body, '{');
    if (!rc && n == 2) {
        rc = add_text(o, args[1], &body, &err);
    }
    if (o->eof) {
        er_buf_add_str(&body, n == 2 ? ",\"eof\":true" : "\"eof\":true");
    }
    er_buf_add_char(&body, '}');
    if (!rc) {
        (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "/input", id);
        rc = er_daemon_post(app, "POST", target, &body, NULL, &err);
    }
    er_buf_fini(&body);
    return rc ? er_app_fail(rc, &err) : 0;
}

const struct er_cmd er_cmd_send = {
    .name = "send",
    .operands = "ID [TEXT|-]",
    .summary = "send text to a running task's standard input",
    .text = "The task must have been added with --input. The text gets a newline; - "
            "sends what\n"
            "comes in on standard input as it is.",
    .opts = {send_opts},
    .data_size = sizeof(struct send),
    .min = 1,
    .max = 2,
    .exec = send_exec,
};

/* ---- clean ---- */

struct clean {
    const char *state;
    struct er_opt_span older_than;
    struct er_opt_int keep;
    bool json;
};

#define AT(field) offsetof(struct clean, field)
static const struct er_opt clean_opts[] = {
    {0, "state", "STATE", ER_OPT_WORD, AT(state), "only those in that state", 0, 0,
     "completed failed cancelled"},
    {0, "older-than", "DUR", ER_OPT_SPAN, AT(older_than),
     "only those that ended before that", 0, 0, NULL},
    {0, "keep", "N", ER_OPT_INT, AT(keep), "but keep the newest N", 0, INT32_MAX, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "print how many as JSON", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

static int
clean_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct clean *o = data;
    struct er_err err;
    struct er_buf body;
    json_t *answer = NULL;
    const char *comma = "";
    (void)n;
    (void)args;
    er_buf_init(&body, 0);
    er_buf_add_char(&body, '{');
    if (o->state) {
        er_buf_addf(&body, "\"state\":\"%s\"", o->state);
        comma = ",";
    }
    if (o->older_than.set) {
        er_buf_addf(&body, "%s\"older_than_s\":%.6f", comma,
                    (double)o->older_than.value / 1e6);
        comma = ",";
    }
    if (o->keep.set) {
        er_buf_addf(&body, "%s\"keep\":%" PRId64, comma, o->keep.value);
    }
    er_buf_add_char(&body, '}');
    int rc = er_daemon_post(app, "POST", "/v1/clean", &body, &answer, &err);
    er_buf_fini(&body);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (o->json) {
        rc = er_show_json(answer);
    } else {
        int64_t removed = er_json_int(answer, "removed", 0);
        er_app_note("removed %" PRId64 " %s", removed, removed == 1 ? "task" : "tasks");
    }
    json_decref(answer);
    return rc;
}

const struct er_cmd er_cmd_clean = {
    .name = "clean",
    .operands = "",
    .summary = "remove finished tasks and their output",
    .opts = {clean_opts},
    .data_size = sizeof(struct clean),
    .exec = clean_exec,
};
