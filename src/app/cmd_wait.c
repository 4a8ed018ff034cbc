/* SPDX-License-Identifier: MIT */
/* errand wait: until tasks are final.
 *
 * All of them: one after the other, each by an answer that the daemon holds back; the
 * order does not matter. Any of them: a stream of final facts is opened first, then the
 * states are looked at once, so that none can slip through between the two. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/await.h"
#include "app/await_end.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "app/show.h"
#include "app/sse.h"
#include "app/targets.h"
#include "base/mem.h"

#define PAGE 1000

struct wait {
    bool all, any, json;
    struct er_opt_span timeout;
};

#define AT(field) offsetof(struct wait, field)
static const struct er_opt wait_opts[] = {
    {0, "all", NULL, ER_OPT_FLAG, AT(all), "for all tasks that are not final now", 0, 0,
     NULL},
    {0, "any", NULL, ER_OPT_FLAG, AT(any), "until the first one is final; prints its id",
     0, 0, NULL},
    {0, "timeout", "DUR", ER_OPT_SPAN, AT(timeout),
     "give up after this long (exit code 124)", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "print each final task as a line of JSON", 0,
     0, NULL},
    ER_OPT_END,
};
#undef AT

/* Adds the ids of all tasks that are not final. */
static int
find_open(struct er_app *app, struct er_idlist *ids, struct er_err *err)
{
    char *cursor = NULL;
    int rc;
    do {
        json_t *page;
        size_t i;
        const json_t *task;
        struct er_buf target;
        er_buf_init(&target, 0);
        er_buf_add_str(&target,
                       "/v1/tasks?state=queued,scheduled,blocked,running,paused");
        er_daemon_param_int(&target, "limit", PAGE);
        if (cursor) {
            er_daemon_param(&target, "cursor", cursor);
        }
        rc = er_daemon_get(app, target.data, &page, err);
        er_buf_fini(&target);
        er_free(cursor);
        cursor = NULL;
        if (rc) {
            return rc;
        }
        const json_t *tasks = json_object_get(page, "tasks");
        json_array_foreach(tasks, i, task)
        {
            char text[24];
            (void)snprintf(text, sizeof text, "%" PRId64, er_json_int(task, "id", 0));
            rc = rc ? rc : er_idlist_parse(ids, text, err);
        }
        const char *next = er_json_text(page, "next");
        cursor = json_array_size(tasks) > 0 ? er_strdup(next) : NULL;
        json_decref(page);
    } while (!rc && cursor);
    er_free(cursor);
    return rc;
}

/* Results, which may be of MiBs, are read only to be printed. */
static enum er_await
how_of(const struct wait *o)
{
    return o->json ? ER_AWAIT_WHOLE : ER_AWAIT_FINAL;
}

/* Says how a final task ended: 0, or 1 when it did not complete. */
static int
settle(const json_t *task, bool json)
{
    int rc = json ? er_show_json(task) : 0;
    if (er_json_state(task) == ER_TASK_COMPLETED) {
        return rc;
    }
    if (!json) {
        er_await_complain(task);
    }
    return 1;
}

/* Looks at all of them once: an id that is unknown is told before anything is waited for.
 */
static int
check_known(struct er_app *app, const struct er_idlist *ids)
{
    int code = 0;
    for (size_t i = 0; i < ids->n; i++) {
        struct er_err err;
        json_t *task;
        int rc = er_await_task(app, ids->ids[i], ER_AWAIT_FINAL, 0, &task, &err);
        if (task) {
            json_decref(task);
            continue;
        }
        int failed = er_app_fail(rc, &err);
        if (rc == ER_ETIMEOUT) {
            return failed; /* nobody answers */
        }
        code = code ? code : failed;
    }
    return code;
}

static int
wait_all(struct er_app *app, const struct wait *o, const struct er_idlist *ids,
         er_usec deadline)
{
    int code = 0, late = 0;
    for (size_t i = 0; i < ids->n; i++) {
        struct er_err err;
        json_t *task;
        int rc = er_await_task(app, ids->ids[i], how_of(o), deadline, &task, &err);
        if (rc == ER_ETIMEOUT && task) {
            late = er_app_fail(rc, &err);
            json_decref(task);
            continue;
        }
        if (rc) {
            return er_app_fail(rc, &err);
        }
        int failed = settle(task, o->json);
        code = code ? code : failed;
        json_decref(task);
    }
    return late ? late : code;
}

/* ---- any ------------------------------------------------------------------------------
 */

/* The first of the tasks that is final now: it, or NULL. */
static int
find_final(struct er_app *app, const struct wait *o, const struct er_idlist *ids,
           json_t **out, struct er_err *err)
{
    for (size_t i = 0; i < ids->n; i++) {
        json_t *task;
        int rc = er_await_task(app, ids->ids[i], how_of(o), 0, &task, err);
        if (!rc) {
            *out = task;
            return 0;
        }
        if (!task) {
            return rc;
        }
        json_decref(task);
    }
    *out = NULL;
    return 0;
}

/* Whether the events that have come are about one of the tasks. */
static bool
take_events(struct er_buf *in, const struct er_idlist *ids)
{
    struct er_buf data;
    int64_t seq;
    bool found = false;
    er_buf_init(&data, 0);
    while (!found && er_sse_next(in, &data, &seq)) {
        json_t *event = json_loadb(data.data, data.len, 0, NULL);
        int64_t task = er_json_int(event, "task", 0);
        for (size_t i = 0; i < ids->n; i++) {
            found = found || ids->ids[i] == task;
        }
        json_decref(event);
    }
    er_buf_fini(&data);
    return found;
}

/* Waits for a final fact about one of them. */
static int
read_events(struct er_client *events, const struct er_idlist *ids, er_usec deadline,
            struct er_err *err)
{
    struct er_buf in;
    int rc = 1;
    er_buf_init(&in, 0);
    while (rc > 0 && !take_events(&in, ids)) {
        er_usec left =
            deadline == ER_NEVER ? 0 : deadline - er_clock_mono(er_clock_system());
        if (deadline != ER_NEVER && left <= 0) {
            rc = er_fail(err, ER_ETIMEOUT, "none of the tasks is final yet");
        } else {
            rc = er_client_stream_read(events, &in, left, err);
            rc = rc == ER_ETIMEOUT ? 1 : rc; /* found out above */
        }
    }
    er_buf_fini(&in);
    return rc > 0 ? 0 : rc == 0 ? ER_ENODAEMON : rc;
}

/* One try: subscribe, look, listen. */
static int
try_any(struct er_app *app, const struct wait *o, const struct er_idlist *ids,
        er_usec deadline, json_t **out, struct er_err *err)
{
    struct er_client *events;
    int rc = er_daemon_side_stream(
        app, "/v1/events?event=task-completed,task-failed,task-cancelled", &events, err);
    if (rc) {
        return rc;
    }
    rc = find_final(app, o, ids, out, err);
    while (!rc && !*out) { /* an event may be of an earlier run: look again */
        rc = read_events(events, ids, deadline, err);
        rc = rc ? rc : find_final(app, o, ids, out, err);
    }
    er_client_close(events);
    return rc;
}

static int
wait_any(struct er_app *app, const struct wait *o, const struct er_idlist *ids,
         er_usec deadline)
{
    struct er_err err;
    json_t *task = NULL;
    int rc = try_any(app, o, ids, deadline, &task, &err);
    while (rc == ER_ENODAEMON && app->connected_once) {
        rc = er_daemon_again(app, er_clock_mono(er_clock_system()), &err);
        rc = rc ? rc : try_any(app, o, ids, deadline, &task, &err);
    }
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = 0;
    if (!o->json) {
        struct er_buf b;
        er_buf_init(&b, 64);
        er_buf_addf(&b, "%" PRId64 "\n", er_json_int(task, "id", 0));
        code = er_app_out(&b);
        er_buf_fini(&b);
    }
    int failed = settle(task, o->json);
    json_decref(task);
    return code ? code : failed;
}

static int
wait_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct wait *o = data;
    struct er_idlist ids;
    struct er_err err;
    er_usec deadline =
        o->timeout.set ? er_clock_mono(er_clock_system()) + o->timeout.value : ER_NEVER;
    app->until = o->timeout.set ? deadline : 0;
    if (o->all == (n > 0)) {
        return er_app_failf(ER_EINVALID,
                            o->all ? "give ids or --all, not both"
                                   : "wait for what? errand wait ID... or --all");
    }
    int rc = er_targets_read(app, n, (const char *const *)args, &ids, &err);
    if (!rc && o->all) {
        rc = find_open(app, &ids, &err);
    }
    if (rc) {
        er_idlist_fini(&ids);
        return er_app_fail(rc, &err);
    }
    int code = o->all ? 0 : check_known(app, &ids);
    if (code == 0 && ids.n > 0) {
        code =
            o->any ? wait_any(app, o, &ids, deadline) : wait_all(app, o, &ids, deadline);
    }
    er_idlist_fini(&ids);
    return code;
}

const struct er_cmd er_cmd_wait = {
    .name = "wait",
    .operands = "ID...|--all",
    .summary = "wait until tasks are final",
    .text = "Exits 0 when all of them completed, 1 when some did not, 3 when one is "
            "unknown, 124\n"
            "when the time is over. Goes on over a restart of the daemon.",
    .opts = {wait_opts},
    .data_size = sizeof(struct wait),
    .max = -1,
    .exec = wait_exec,
};
