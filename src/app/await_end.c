/* SPDX-License-Identifier: MIT */
/* The command itself has mostly said why it failed, on the standard error that was shown:
 * only what it cannot have said is told here. */
#include "app/await_end.h"

#include <inttypes.h>
#include <string.h>

#include "app/await.h"
#include "app/daemon.h"
#include "app/output.h"
#include "app/show.h"

static int
exit_code_of(const json_t *task)
{
    int64_t code = er_json_int(task, "exit_code", -1);
    int64_t signal = er_json_int(task, "signal", 0);
    if (er_json_state(task) == ER_TASK_COMPLETED) {
        return code > 0 && code < 256 ? (int)code : 0;
    }
    if (signal > 0 && signal < 128) {
        return 128 + (int)signal;
    }
    return code > 0 && code < 256 ? (int)code : 1;
}

/* Whether it failed by its own exit code or a signal, which says it all. */
static bool
is_plain(const json_t *task)
{
    const char *code = er_json_text(json_object_get(task, "error"), "code");
    return code && (strcmp(code, "exit") == 0 || strcmp(code, "signal") == 0);
}

/* The words with which it was cancelled, where somebody gave some. */
static const char *
cancel_words(const json_t *task)
{
    const json_t *cancelled = json_object_get(task, "cancelled");
    const char *reason = er_json_text(cancelled, "reason");
    bool own = reason && !json_object_get(cancelled, "by") &&
               strcmp(reason, "cancelled by request") != 0;
    return own ? reason : NULL;
}

/* The error of a task that was cancelled is that of an attempt before. */
void
er_await_complain(const json_t *task)
{
    bool cancelled = er_json_state(task) == ER_TASK_CANCELLED;
    const json_t *error = cancelled ? NULL : json_object_get(task, "error");
    const char *message = cancelled        ? cancel_words(task)
                          : is_plain(task) ? NULL
                                           : er_json_text(error, "message");
    const char *advice = er_json_text(error, "suggested_action");
    struct er_buf b;
    er_buf_init(&b, 0);
    er_show_outcome(task, &b);
    er_app_note("task %" PRId64 " %s%s%s%s%s%s", er_json_int(task, "id", 0),
                b.data ? b.data : "", message ? ": " : "", message ? message : "",
                advice ? " (" : "", advice ? advice : "", advice ? ")" : "");
    er_buf_fini(&b);
}

/* The command itself says why it failed, unless it never ran, was ended by us, or its end
 * was judged by something else than its exit code. */
static bool
is_to_be_told(const json_t *task)
{
    int64_t code = er_json_int(task, "exit_code", -1);
    bool error = json_is_object(json_object_get(task, "error"));
    return er_json_state(task) != ER_TASK_COMPLETED &&
           ((code < 0 && er_json_int(task, "signal", 0) == 0) || code == 126 ||
            code == 127 || er_json_state(task) == ER_TASK_CANCELLED ||
            (error && !is_plain(task)));
}

int
er_await_end(const json_t *task)
{
    if (is_to_be_told(task)) {
        er_await_complain(task);
    }
    return exit_code_of(task);
}

int
er_await_command(struct er_app *app, er_task_id id, bool follow, bool json)
{
    struct er_err err;
    json_t *task;
    if (follow) {
        struct er_output_options o = {.follow = true, .split = true, .tail = -1};
        int rc = er_output_run(app, id, &o, &err);
        if (rc && rc != ER_ENOTFOUND) {
            return er_app_fail(rc, &err);
        }
    }
    int rc = er_await_task(app, id, json ? ER_AWAIT_WHOLE : ER_AWAIT_FINAL, ER_NEVER,
                           &task, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = er_await_end(task);
    if (json) {
        int failed = er_show_json(task);
        code = failed ? failed : code;
    }
    json_decref(task);
    return code;
}
