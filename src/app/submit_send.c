/* SPDX-License-Identifier: MIT */
/* Happy path of `errand add`: the JSON of the task (submit.c) is sent with an idempotency
 * key, and the id is cut out of the short answer and printed.
 *
 * Failure modes: the daemon refuses it: its words. The id cannot be printed: it is told,
 * since the task is queued. */
#include "app/submit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/await_end.h"
#include "app/daemon.h"
#include "app/show.h"
#include "base/io.h"

/* The id in `{"id":42,...`, which is how a brief answer begins; else read as JSON. */
static er_task_id
find_id(const struct er_buf *body)
{
    const char *text = body->data ? body->data : "";
    if (strncmp(text, "{\"id\":", 6) == 0) {
        return strtoll(text + 6, NULL, 10);
    }
    json_t *o = json_loadb(text, body->len, 0, NULL);
    er_task_id id = er_json_int(o, "id", 0);
    json_decref(o);
    return id;
}

/* Writes what tells of a task that is queued; where that fails, its id is not lost. */
static int
print_queued(er_task_id id, const struct er_buf *text)
{
    if (er_write_all(STDOUT_FILENO, text->data, text->len) == 0) {
        return 0;
    }
    return er_app_failf(ER_EIO,
                        "task %" PRId64 " is queued, but its id could not be written: %s",
                        id, strerror(errno));
}

int
er_submit_print_id(er_task_id id)
{
    struct er_buf b;
    er_buf_init(&b, 64);
    er_buf_addf(&b, "%" PRId64 "\n", id);
    int rc = print_queued(id, &b);
    er_buf_fini(&b);
    return rc;
}

int
er_submit_print_answer(er_task_id id, const struct er_buf *body)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add(&b, body->data, body->len);
    er_buf_add_str(&b, body->len > 0 && body->data[body->len - 1] == '\n' ? "" : "\n");
    int rc = print_queued(id, &b);
    er_buf_fini(&b);
    return rc;
}

/* Says of a task that was cancelled as it came why that is so. */
static void
note_cancelled(struct er_app *app, er_task_id id, const struct er_buf *body)
{
    struct er_err err;
    struct er_buf b;
    char target[48];
    json_t *answer = json_loadb(body->data ? body->data : "", body->len, 0, NULL);
    json_t *task = NULL;
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64, id);
    if (er_json_state(answer) == ER_TASK_CANCELLED &&
        er_daemon_get(app, target, &task, &err) == 0) {
        er_buf_init(&b, 0);
        (void)er_show_add_unmet(task, ": it waits for ", ", which ", false, &b);
        er_app_note("task %" PRId64 " is cancelled already%s", id, b.data ? b.data : "");
        er_buf_fini(&b);
    }
    json_decref(task);
    json_decref(answer);
}

/* Prints the id, or the task; with --follow standard output is the command's. */
static int
print_task(const struct er_submission *s, er_task_id id, const struct er_buf *body)
{
    if (s->json && (s->wait || s->follow)) {
        return 0; /* it is printed as it is in the end */
    }
    if (s->follow) {
        er_app_note("task %" PRId64, id);
        return 0;
    }
    return s->json ? er_submit_print_answer(id, body) : er_submit_print_id(id);
}

int
er_submit_store(struct er_app *app, const struct er_submission *s,
                const struct er_buf *body, er_task_id *out, struct er_response *answer,
                struct er_err *err)
{
    char uuid[ER_UUID_SIZE], header[64 + ER_UUID_SIZE] = "";
    if (!s->key) {
        er_uuid7(er_clock_wall(er_clock_system()), uuid);
        (void)snprintf(header, sizeof header, "Idempotency-Key: %s\r\n", uuid);
    }
    if (body->failed) {
        return er_fail(err, body->failed, "the task is too large: %s",
                       er_error_meaning(body->failed));
    }
    struct er_daemon_request request = {
        .method = "POST",
        .target = s->json ? "/v1/tasks" : "/v1/tasks?brief=1",
        .body = body,
        .headers = header,
    };
    int rc = er_daemon_call(app, &request, answer, err);
    if (rc) {
        return rc;
    }
    *out = find_id(&answer->body);
    if (*out <= 0) {
        er_response_fini(answer);
        return er_fail(err, ER_EIO, "the daemon's answer to a submit has no id");
    }
    return 0;
}

int
er_submit_send(struct er_app *app, const struct er_submission *s,
               const struct er_buf *body)
{
    struct er_err err;
    struct er_response r;
    er_task_id id;
    int rc = er_submit_store(app, s, body, &id, &r, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    rc = print_task(s, id, &r.body);
    if (s->after.n > 0 && !s->wait && !s->follow) {
        note_cancelled(app, id, &r.body);
    }
    er_response_fini(&r);
    if (rc == 0 && (s->wait || s->follow)) {
        rc = er_await_command(app, id, s->follow, s->json);
    }
    return rc;
}
