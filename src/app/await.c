/* SPDX-License-Identifier: MIT */
/* Each turn asks the daemon for the task with ?wait=, which is answered when the task is
 * final or the wait is over; the connection is made anew when it broke (daemon.c). A task
 * that was removed is told by its tombstone. The end of the deadline is ER_ETIMEOUT with
 * the task as it is. */
#include "app/await.h"

#include <inttypes.h>
#include <stdio.h>

#include "app/daemon.h"

#define WAIT_MAX_S 3600.0
#define SILENT_FOR                                                                       \
    (60 * ER_USEC_PER_SEC) /* that a worker which does not answer is waited for */

double
er_await_seconds(er_usec deadline)
{
    if (deadline == ER_NEVER) {
        return WAIT_MAX_S;
    }
    double s =
        (double)(deadline - er_clock_mono(er_clock_system())) / (double)ER_USEC_PER_SEC;
    return s < 0.0 ? 0.0 : s > WAIT_MAX_S ? WAIT_MAX_S : s;
}

/* What is left of a removed task, from the problem: a new reference, or NULL. */
static json_t *
tombstone(const struct er_app *app)
{
    return json_incref(json_object_get(app->problem, "tombstone"));
}

void
er_await_look(struct er_app *app, const json_t *task)
{
    const char *words = er_json_text(task, "worker_silent");
    if (!words) { /* what does not say it changes nothing */
        bool answers = json_object_get(task, "worker_silent") != NULL;
        app->silent_until = answers ? 0 : app->silent_until;
        return;
    }
    if (!app->told_silent) {
        er_app_note("%s", words);
        app->told_silent = true;
    }
    if (!app->silent_until) {
        app->silent_until = er_clock_mono(er_clock_system()) + SILENT_FOR;
    }
}

er_usec
er_await_until(const struct er_app *app, er_usec deadline)
{
    er_usec until = app->silent_until;
    return until && until < deadline ? until : deadline;
}

int
er_await_task(struct er_app *app, er_task_id id, unsigned how, er_usec deadline,
              json_t **out, struct er_err *err)
{
    bool started = how & ER_AWAIT_STARTED, bound = how & ER_AWAIT_ANSWERED;
    for (;;) {
        char target[128];
        (void)snprintf(
            target, sizeof target, "/v1/tasks/%" PRId64 "?wait=%.3f&until=%s%s%s", id,
            er_await_seconds(bound ? er_await_until(app, deadline) : deadline),
            started ? "started" : "final", how & ER_AWAIT_WHOLE ? "" : "&result=0",
            app->silent_until ? "" : "&silent=1");
        json_t *task = NULL;
        int rc = er_daemon_get(app, target, &task, err);
        if (rc == ER_ENOTFOUND && (task = tombstone(app)) != NULL) {
            rc = 0;
        }
        if (rc) {
            *out = NULL;
            return rc;
        }
        enum er_task_state state = er_json_state(task);
        bool runs = state == ER_TASK_RUNNING ||
                    (state == ER_TASK_PAUSED && er_json_int(task, "attempt", 0) > 0);
        if (er_task_state_is_final(state) || (started && runs)) {
            *out = task;
            return 0;
        }
        er_await_look(app, task);
        if (er_await_seconds(bound ? er_await_until(app, deadline) : deadline) <= 0.0) {
            *out = task;
            return er_fail(err, ER_ETIMEOUT, "task %" PRId64 " is still %s", id,
                           er_task_state_word(state));
        }
        json_decref(task);
    }
}
