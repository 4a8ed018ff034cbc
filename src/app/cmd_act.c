/* SPDX-License-Identifier: MIT */
/* errand cancel, pause, resume, retry, remove, requeue: one action on one task or many.
 *
 * One task is one request. Many, or a filter, are one request for all, with an answer a
 * task. A cancel of what runs is over when nothing of its process tree is left, a pause
 * when all of it is stopped. A whole queue, and everything, are paused by a switch, so
 * that what comes later is held back too. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "app/await.h"
#include "app/cmd.h"
#include "app/daemon.h"
#include "app/show.h"
#include "app/targets.h"

#define FEW 10 /* so many tasks are told one by one */

struct act {
    bool all, hold, free_slot, json, no_wait;
    const char *queue, *tag, *reason;
    struct er_opt_span timeout;
};

#define AT(field) offsetof(struct act, field)
#define FILTERS                                                                          \
    {0, "queue", "NAME", ER_OPT_TEXT, AT(queue), "all tasks of that queue", 0, 0, NULL}, \
        {0, "tag", "TAG", ER_OPT_TEXT, AT(tag), "all tasks with that tag", 0, 0, NULL},  \
    {                                                                                    \
        0, "all", NULL, ER_OPT_FLAG, AT(all), "all tasks for which it makes sense", 0,   \
            0, NULL                                                                      \
    }
#define TIMEOUT                                                                          \
    {                                                                                    \
        0, "timeout", "DUR", ER_OPT_SPAN, AT(timeout),                                   \
            "wait at most this long (exit code 124); it is done all the same", 0, 0,     \
            NULL                                                                         \
    }
#define JSON                                                                             \
    {                                                                                    \
        0, "json", NULL, ER_OPT_FLAG, AT(json),                                          \
            "print what became of each as a line of JSON", 0, 0, NULL                    \
    }
static const struct er_opt cancel_opts[] = {
    FILTERS,
    {0, "reason", "TEXT", ER_OPT_TEXT, AT(reason), "written down with it", 0, 0, NULL},
    {0, "no-wait", NULL, ER_OPT_FLAG, AT(no_wait),
     "do not wait until what runs has ended", 0, 0, NULL},
    TIMEOUT,
    JSON,
    ER_OPT_END,
};
static const struct er_opt pause_opts[] = {
    {0, "free-slot", NULL, ER_OPT_FLAG, AT(free_slot),
     "end what runs and put it back held, to go on from its checkpoint", 0, 0, NULL},
    FILTERS,
    {0, "no-wait", NULL, ER_OPT_FLAG, AT(no_wait),
     "do not wait until what runs is stopped", 0, 0, NULL},
    TIMEOUT,
    JSON,
    ER_OPT_END,
};
static const struct er_opt act_opts[] = {FILTERS, JSON, ER_OPT_END};
static const struct er_opt requeue_opts[] = {
    {0, "hold", NULL, ER_OPT_FLAG, AT(hold), "keep it back, to be resumed later", 0, 0,
     NULL},
    JSON,
    ER_OPT_END,
};
#undef AT

/* What can be done instead, by the state that forbids the action; "" = nothing to say. */
static const char *
way_on(const char *action, enum er_task_state state)
{
    bool final = er_task_state_is_final(state);
    if (strcmp(action, "remove") == 0) {
        return "errand cancel %s ends it";
    }
    if (final) {
        return strcmp(action, "retry") == 0 ? "" : "errand retry %s runs it again";
    }
    if (state == ER_TASK_RUNNING) {
        return strcmp(action, "retry") == 0
                   ? "errand requeue %s stops it and runs it again"
               : strcmp(action, "resume") == 0 ? "only what is paused can be resumed"
                                               : "";
    }
    if (strcmp(action, "requeue") == 0) {
        return "only what runs can be put back";
    }
    if (state == ER_TASK_PAUSED && strcmp(action, "pause") != 0) {
        return "errand resume %s lets it go on";
    }
    return strcmp(action, "resume") == 0 ? "only what is paused can be resumed" : "";
}

/* Says why an action was refused, from its problem; the exit code. */
static int
refuse(const char *action, er_task_id id, const json_t *problem, int rc,
       const struct er_err *err)
{
    const char *word = er_json_text(problem, "state");
    int state = word ? er_task_state_find(word) : -1;
    if (rc != ER_ESTATE || state < 0) {
        return er_app_fail(rc, err);
    }
    struct er_buf b;
    char number[24];
    const char *way = way_on(action, (enum er_task_state)state);
    const char *mark = strstr(way, "%s");
    (void)snprintf(number, sizeof number, "%" PRId64, id);
    er_buf_init(&b, 0);
    er_buf_addf(&b, "cannot %s %s: it is %s", action, number, word);
    if (way[0]) {
        er_buf_addf(&b, " (%.*s%s%s)", (int)(mark ? mark - way : (int)strlen(way)), way,
                    mark ? number : "", mark ? mark + 2 : "");
    }
    int code = er_app_failf(rc, "%s", b.data);
    er_buf_fini(&b);
    return code;
}

/* Adds the members that an action takes besides the tasks. */
static void
add_body(const struct act *o, const char *before, struct er_buf *b)
{
    if (o->hold) {
        er_buf_addf(b, "%s\"hold\":true", before);
    }
    if (o->free_slot) {
        er_buf_addf(b, "%s\"free_slot\":true", before);
    }
    if (o->reason) {
        er_buf_addf(b, "%s\"reason\":", before);
        er_buf_add_json_str(b, o->reason);
    }
}

/* Until when --timeout lets us wait. */
static er_usec
deadline(const struct er_app *app)
{
    return app->until ? app->until : ER_NEVER;
}

/* What makes the daemon hold its answer back until it is done; "" = it answers at
 * once. */
static void
add_wait(const struct er_app *app, const char *action, const struct act *o,
         struct er_buf *target)
{
    bool waits = strcmp(action, "cancel") == 0 || strcmp(action, "pause") == 0;
    if (waits && !o->no_wait) {
        er_buf_addf(target, "?wait=%.3f%s",
                    er_await_seconds(er_await_until(app, deadline(app))),
                    app->silent_until ? "" : "&silent=1");
    } else if (strcmp(action, "resume") == 0) {
        /* of its worker, when that is not away: it goes on in any case */
        er_buf_add_str(target, "?wait=10");
    }
}

/* The request for one task. */
static int
post_one(struct er_app *app, const char *action, const struct act *o, er_task_id id,
         json_t **out, struct er_err *err)
{
    struct er_buf target, body;
    bool remove = strcmp(action, "remove") == 0;
    er_buf_init(&target, 0);
    er_buf_addf(&target, "/v1/tasks/%" PRId64 "%s%s", id, remove ? "" : "/",
                remove ? "" : action);
    add_wait(app, action, o, &target);
    er_buf_init(&body, 0);
    er_buf_add_char(&body, '{');
    add_body(o, "", &body);
    er_buf_add_char(&body, '}');
    int rc = er_daemon_post(app, remove ? "DELETE" : "POST", target.data,
                            remove ? NULL : &body, out, err);
    er_buf_fini(&body);
    er_buf_fini(&target);
    return rc;
}

/* Waits until a running task is what it is to become, when that is asked for. */
static int
await_done(struct er_app *app, const char *action, const struct act *o, er_task_id id,
           json_t **task, struct er_err *err)
{
    bool ends = strcmp(action, "cancel") == 0;
    er_await_look(app, *task);
    while (!o->no_wait && !er_task_state_is_final(er_json_state(*task)) &&
           (ends || er_json_bool(*task, "pause_requested"))) {
        json_t *now = NULL;
        if (er_await_seconds(er_await_until(app, deadline(app))) <= 0.0) {
            return er_fail(err, ER_ETIMEOUT, "%" PRId64 " is still %s, being %s", id,
                           er_task_state_word(er_json_state(*task)),
                           ends ? "cancelled" : "paused");
        }
        unsigned how = ER_AWAIT_ANSWERED | (o->json ? ER_AWAIT_WHOLE : 0);
        int rc = ends ? er_await_task(app, id, how, deadline(app), &now, err)
                      : post_one(app, action, o, id, &now, err);
        if (rc && !now) {
            return rc;
        }
        json_decref(*task);
        *task = now;
        er_await_look(app, now);
    }
    return 0;
}

/* Says what became of it. */
static int
report(const char *action, const struct act *o, const json_t *task)
{
    struct er_buf b;
    if (o->json) {
        return er_show_json(task);
    }
    int64_t cancelled = er_json_int(task, "dependents_cancelled", 0);
    er_buf_init(&b, 0);
    if (strcmp(action, "resume") == 0 && er_json_state(task) == ER_TASK_PAUSED) {
        er_buf_add_str(&b, "goes on as soon as its worker lets it");
    } else {
        er_show_outcome(task, &b);
    }
    er_buf_add_str(&b, er_json_bool(task, "cancel_requested")  ? ", being cancelled"
                       : er_json_bool(task, "pause_requested") ? ", being paused"
                                                               : "");
    if (strcmp(action, "retry") == 0) {
        (void)er_show_add_unmet(task, ", without waiting for ", ", which ", true, &b);
    }
    if (cancelled > 0) {
        er_buf_addf(&b, "; %" PRId64 " %s because of it %s cancelled", cancelled,
                    cancelled == 1 ? "task that was cancelled"
                                   : "tasks that were cancelled",
                    cancelled == 1 ? "stays" : "stay");
    }
    er_app_note("%" PRId64 " %s", er_json_int(task, "id", 0), b.data ? b.data : "");
    er_buf_fini(&b);
    return 0;
}

static int
act_on_one(struct er_app *app, const char *action, const struct act *o, er_task_id id)
{
    struct er_err err;
    json_t *task = NULL;
    int rc = post_one(app, action, o, id, &task, &err);
    if (!rc && task) {
        rc = await_done(app, action, o, id, &task, &err);
    }
    int code = rc     ? refuse(action, id, app->problem, rc, &err)
               : task ? report(action, o, task)
                      : 0;
    json_decref(task);
    return code;
}

/* What became of many tasks: each is told when they are few. */
struct tally {
    size_t lines, done, refused;
    int code; /* of the first that was refused */
};

/* One line of the answer to a request for many. */
static void
take_answer(struct er_app *app, const char *action, const struct act *o, const char *text,
            size_t n, struct tally *tally)
{
    struct er_err err = {""};
    json_t *v = json_loadb(text, n, 0, NULL);
    er_task_id id = er_json_int(v, "id", 0);
    int code = 0;
    if (!v) {
        code = er_app_failf(ER_EIO, "the daemon's answer is not JSON");
    } else if (er_json_text(v, "code")) {
        int rc = er_daemon_words(v, &err);
        rc = rc ? rc : ER_EIO;
        code = tally->refused < FEW ? refuse(action, id, v, rc, &err) : er_error_exit(rc);
    } else {
        int rc = await_done(app, action, o, id, &v, &err);
        code = rc ? refuse(action, id, app->problem, rc, &err)
               : o->json || tally->lines <= FEW ? report(action, o, v)
                                                : 0;
    }
    tally->done += code == 0;
    tally->refused += code != 0;
    tally->code = tally->code ? tally->code : code;
    json_decref(v);
}

static int
take_answers(struct er_app *app, const char *action, const struct act *o,
             const struct er_buf *body)
{
    struct tally tally = {0};
    const char *line;
    size_t at = 0, n;
    while (er_daemon_line(body, &at, &line, &n)) {
        tally.lines++;
    }
    at = 0;
    while (er_daemon_line(body, &at, &line, &n)) {
        take_answer(app, action, o, line, n, &tally);
    }
    if (tally.lines == 0) {
        er_app_note("No tasks match.");
    } else if (tally.lines > FEW && !o->json) {
        er_app_note("%s: %zu tasks done, %zu refused", action, tally.done, tally.refused);
    }
    return tally.code;
}

static int
act_on_many(struct er_app *app, const char *action, const struct act *o,
            const struct er_idlist *ids)
{
    char target[64];
    struct er_buf body;
    struct er_err err;
    struct er_response r;
    (void)snprintf(target, sizeof target, "/v1/actions/%s", action);
    er_buf_init(&body, 0);
    er_buf_add_str(&body, ids->n > 0 ? "{\"ids\":[" : "{\"all\":true");
    for (size_t i = 0; i < ids->n; i++) {
        er_buf_addf(&body, "%s%" PRId64, i > 0 ? "," : "", ids->ids[i]);
    }
    er_buf_add_str(&body, ids->n > 0 ? "]" : "");
    if (o->queue) {
        er_buf_add_str(&body, ",\"queue\":");
        er_buf_add_json_str(&body, o->queue);
    }
    if (o->tag) {
        er_buf_add_str(&body, ",\"tag\":");
        er_buf_add_json_str(&body, o->tag);
    }
    add_body(o, ",", &body);
    er_buf_add_char(&body, '}');
    struct er_daemon_request request = {
        .method = "POST", .target = target, .body = &body};
    int rc = er_daemon_call(app, &request, &r, &err);
    er_buf_fini(&body);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = take_answers(app, action, o, &r.body);
    er_response_fini(&r);
    return code;
}

/* ---- the switch of a queue, or of everything ---- */

static int
report_switch(const struct act *o, bool pause, const json_t *answer)
{
    char what[320] = "everything";
    int64_t told = er_json_int(answer, "told", 0);
    if (o->json) {
        return er_show_json(answer);
    }
    if (o->queue) {
        (void)snprintf(what, sizeof what, "queue '%.300s'", o->queue);
    }
    if (told == 0) {
        er_app_note("%s %s", what, pause ? "is paused" : "goes on");
    } else {
        er_app_note("%s %s, with %" PRId64 " %s", what, pause ? "is paused" : "goes on",
                    told, told == 1 ? "task that runs" : "tasks that run");
    }
    return 0;
}

/* How many tasks of the queue (NULL = of any) run, and are on their way to be paused. */
static int
count_pausing(struct er_app *app, const char *queue, size_t *out, struct er_err *err)
{
    struct er_buf target;
    json_t *page;
    size_t i;
    const json_t *task;
    er_buf_init(&target, 0);
    er_buf_add_str(&target, "/v1/tasks?state=running&limit=1000");
    if (queue) {
        er_daemon_param(&target, "queue", queue);
    }
    int rc = er_daemon_get(app, target.data, &page, err);
    er_buf_fini(&target);
    if (rc) {
        return rc;
    }
    *out = 0;
    json_array_foreach(json_object_get(page, "tasks"), i, task)
    {
        *out += er_json_bool(task, "pause_requested");
    }
    json_decref(page);
    return 0;
}

/* Waits until what ran is stopped, or has ended. */
static int
await_paused(struct er_app *app, const char *queue, struct er_err *err)
{
    size_t left = 1;
    int rc = 0;
    for (long ms = 10; rc == 0; ms = ms < 320 ? ms * 2 : ms) {
        struct timespec ts = {0, ms * 1000000L};
        rc = count_pausing(app, queue, &left, err);
        if (rc || left == 0) {
            break;
        }
        if (app->until && er_await_seconds(app->until) <= 0.0) {
            return er_fail(err, ER_ETIMEOUT, "%zu %s still being paused", left,
                           left == 1 ? "task is" : "tasks are");
        }
        (void)nanosleep(&ts, NULL);
    }
    return rc;
}

static int
act_on_switch(struct er_app *app, const char *action, const struct act *o)
{
    struct er_err err;
    json_t *answer = NULL;
    json_t *body = json_object();
    (void)json_object_set_new(body, o->queue ? "queue" : "all",
                              o->queue ? json_string(o->queue) : json_true());
    if (o->free_slot) {
        (void)json_object_set_new(body, "free_slot", json_true());
    }
    bool pause = strcmp(action, "pause") == 0;
    int rc = er_daemon_json(app, "POST", pause ? "/v1/pause" : "/v1/resume", body,
                            &answer, &err);
    if (!rc && pause && !o->no_wait && er_json_int(answer, "told", 0) > 0) {
        rc = await_paused(app, o->queue, &err);
    }
    if (rc) {
        json_decref(answer);
        return er_app_fail(rc, &err);
    }
    rc = report_switch(o, pause, answer);
    json_decref(answer);
    return rc;
}

static int
act_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct act *o = data;
    const char *action = app->cmd->name;
    bool filter = o->all || o->queue || o->tag;
    struct er_idlist ids;
    struct er_err err;
    if (filter == (n > 0)) {
        return er_app_failf(ER_EINVALID,
                            filter
                                ? "give ids or a filter (--all, --queue, --tag), not both"
                                : "%s what? errand %s %s",
                            action, action, app->cmd->operands);
    }
    app->until = o->timeout.set ? er_clock_mono(er_clock_system()) + o->timeout.value : 0;
    bool both = strcmp(action, "pause") == 0 || strcmp(action, "resume") == 0;
    if (both && filter && !o->tag) {
        return o->all && o->queue
                   ? er_app_failf(ER_EINVALID, "--queue and --all: give one of them")
                   : act_on_switch(app, action, o);
    }
    int rc = er_targets_read(app, n, (const char *const *)args, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = ids.n == 1 ? act_on_one(app, action, o, ids.ids[0])
                          : act_on_many(app, action, o, &ids);
    er_idlist_fini(&ids);
    return code;
}

#define ACT(word, table, heading, what, more)                                            \
    const struct er_cmd er_cmd_##word = {                                                \
        .name = #word,                                                                   \
        .operands = "ID...",                                                             \
        .summary = what,                                                                 \
        .text = more,                                                                    \
        .group = heading,                                                                \
        .opts = {table},                                                                 \
        .data_size = sizeof(struct act),                                                 \
        .max = -1,                                                                       \
        .exec = act_exec,                                                                \
    }
ACT(cancel, cancel_opts, "Change", "end tasks that run, call off those that wait",
    "Its whole process tree is ended: TERM, the grace, KILL; the command returns when "
    "nothing\n"
    "of it is left. A worker that does not answer is waited for a minute (exit code "
    "124).");
ACT(pause, pause_opts, NULL, "hold back what waits, stop what runs where it is",
    "A command's whole process tree is stopped, its clocks stand still, and it keeps its "
    "slot.\n"
    "--queue alone, and --all, also hold back what comes later, until they are resumed.");
ACT(resume, act_opts, NULL, "let paused tasks go on",
    "Also what a rate limit has paused, before it is due. --queue alone, and --all, undo "
    "the same\n"
    "of errand pause; tasks that were paused one by one stay so.");
ACT(retry, act_opts, NULL, "run finished tasks again, as a new run",
    "Tasks that were cancelled because of it stay cancelled; it says how many.");
ACT(remove, act_opts, NULL, "forget finished tasks and their output", NULL);
ACT(requeue, requeue_opts, NULL, "stop running tasks and put them back", NULL);
