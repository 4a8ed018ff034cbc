/* SPDX-License-Identifier: MIT */
/* errand cancel, pause, resume, retry, remove, requeue: one action on one task or many.
 *
 * One task is one request. Many, or a filter, are one request for all, with an answer a
 * task. A cancel of what runs is over when nothing of its process tree is left. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/api.h"
#include "app/await.h"
#include "app/cmd.h"
#include "app/show.h"
#include "app/targets.h"

#define FEW 10 /* so many tasks are told one by one */

struct act {
    bool all, hold, json, no_wait;
    const char *queue, *tag, *reason;
};

#define AT(field) offsetof(struct act, field)
#define FILTERS                                                                          \
    {0, "queue", "NAME", ER_OPT_TEXT, AT(queue), "all tasks of that queue", 0, 0, NULL}, \
        {0, "tag", "TAG", ER_OPT_TEXT, AT(tag), "all tasks with that tag", 0, 0, NULL},  \
    {                                                                                    \
        0, "all", NULL, ER_OPT_FLAG, AT(all), "all tasks for which it makes sense", 0,   \
            0, NULL                                                                      \
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
               : strcmp(action, "pause") == 0
                   ? "errand requeue %s --hold stops it and keeps it"
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

/* Waits until a running task that is being ended is what it is to become. */
static int
await_end(struct er_app *app, const char *action, er_task_id id, json_t **task,
          struct er_err *err)
{
    if (strcmp(action, "cancel") != 0 || er_task_state_is_final(er_json_state(*task))) {
        return 0;
    }
    json_t *final;
    int rc = er_await_task(app, id, "final", ER_NEVER, &final, err);
    if (!rc) {
        json_decref(*task);
        *task = final;
    }
    return rc;
}

/* Says what became of it. */
static int
report(const struct act *o, const json_t *task)
{
    struct er_buf b;
    if (o->json) {
        return er_show_json(task);
    }
    er_buf_init(&b, 0);
    er_show_outcome(task, &b);
    er_app_note("%" PRId64 " %s%s", er_json_int(task, "id", 0), b.data ? b.data : "",
                er_json_bool(task, "cancel_requested") ? ", being cancelled" : "");
    er_buf_fini(&b);
    return 0;
}

/* Adds the members that an action takes besides the tasks. */
static void
add_body(const struct act *o, const char *before, struct er_buf *b)
{
    if (o->hold) {
        er_buf_addf(b, "%s\"hold\":true", before);
    }
    if (o->reason) {
        er_buf_addf(b, "%s\"reason\":", before);
        er_buf_add_json_str(b, o->reason);
    }
}

static int
act_on_one(struct er_app *app, const char *action, const struct act *o, er_task_id id)
{
    char target[96];
    struct er_err err;
    struct er_buf body;
    json_t *task = NULL;
    bool remove = strcmp(action, "remove") == 0;
    bool waits = !o->no_wait && strcmp(action, "cancel") == 0;
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "%s%s%s", id,
                   remove ? "" : "/", remove ? "" : action, waits ? "?wait=3600" : "");
    er_buf_init(&body, 0);
    er_buf_add_char(&body, '{');
    add_body(o, "", &body);
    er_buf_add_char(&body, '}');
    int rc = er_api_post(app, remove ? "DELETE" : "POST", target, remove ? NULL : &body,
                         &task, &err);
    er_buf_fini(&body);
    if (!rc && task && waits) {
        rc = await_end(app, action, id, &task, &err);
    }
    int code = rc     ? refuse(action, id, app->problem, rc, &err)
               : task ? report(o, task)
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
    const char *word = er_json_text(v, "code");
    int code = 0;
    if (!v) {
        code = er_app_failf(ER_EIO, "the daemon's answer is not JSON");
    } else if (word) {
        const char *detail = er_json_text(v, "detail");
        int rc = er_error_find(word) ? er_error_find(word) : ER_EIO;
        (void)er_fail(&err, rc, "%s", detail ? detail : word);
        code = tally->refused < FEW ? refuse(action, id, v, rc, &err) : er_error_exit(rc);
    } else {
        int rc = o->no_wait ? 0 : await_end(app, action, id, &v, &err);
        code = rc                               ? er_app_fail(rc, &err)
               : o->json || tally->lines <= FEW ? report(o, v)
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
    for (size_t i = 0; i < body->len; i++) {
        tally.lines += body->data[i] == '\n';
    }
    for (size_t at = 0; at < body->len;) {
        const char *end = memchr(body->data + at, '\n', body->len - at);
        size_t n = end ? (size_t)(end - (body->data + at)) : body->len - at;
        if (n > 0) {
            take_answer(app, action, o, body->data + at, n, &tally);
        }
        at += n + 1;
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
    struct er_request request = {.method = "POST", .target = target, .body = &body};
    int rc = er_api_call(app, &request, &r, &err);
    er_buf_fini(&body);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = take_answers(app, action, o, &r.body);
    er_response_fini(&r);
    return code;
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
    int rc = er_targets_read(app, n, (const char *const *)args, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    int code = ids.n == 1 ? act_on_one(app, action, o, ids.ids[0])
                          : act_on_many(app, action, o, &ids);
    er_idlist_fini(&ids);
    return code;
}

#define ACT(word, table, what, more)                                                     \
    const struct er_cmd er_cmd_##word = {                                                \
        .name = #word,                                                                   \
        .operands = "ID...",                                                             \
        .summary = what,                                                                 \
        .text = more,                                                                    \
        .opts = table,                                                                   \
        .data_size = sizeof(struct act),                                                 \
        .max = -1,                                                                       \
        .exec = act_exec,                                                                \
    }
ACT(cancel, cancel_opts, "end tasks that run, call off those that wait",
    "Its whole process tree is ended: TERM, the grace, KILL; the command returns when "
    "nothing\n"
    "of it is left.");
ACT(pause, act_opts, "hold back tasks that wait", NULL);
ACT(resume, act_opts, "let paused tasks go on", NULL);
ACT(retry, act_opts, "run finished tasks again, as a new run", NULL);
ACT(remove, act_opts, "forget finished tasks and their output", NULL);
ACT(requeue, requeue_opts, "stop running tasks and put them back", NULL);
