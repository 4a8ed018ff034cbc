/* SPDX-License-Identifier: MIT */
/* errand events: facts as they were written down, and with -f what comes, samples too.
 *
 * Without -f it ends at the number that is the newest when it begins. With -f it goes on
 * over a restart of the daemon, from the last number seen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/render.h"
#include "app/sse.h"
#include "app/targets.h"
#include "model/suggest.h"
#include "wire/json_dump.h"

#define EVENTS_MAX 32

struct events {
    bool follow, json;
    struct er_opt_int since;
    const char *task, *correlation, *event;
};

#define AT(field) offsetof(struct events, field)
static const struct er_opt events_opts[] = {
    {'f', "follow", NULL, ER_OPT_FLAG, AT(follow), "go on with what comes", 0, 0, NULL},
    {0, "since", "SEQ", ER_OPT_INT, AT(since), "those after that number (0 = all kept)",
     0, INT64_MAX, NULL},
    {0, "task", "ID", ER_OPT_TEXT, AT(task), "only about that task", 0, 0, NULL},
    {0, "correlation", "X", ER_OPT_TEXT, AT(correlation), "only with that correlation id",
     0, 0, NULL},
    {0, "event", "NAME[,...]", ER_OPT_TEXT, AT(event), "only those events", 0, 0,
     "task-queued task-scheduled task-blocked task-started task-paused task-resumed "
     "task-retrying task-completed task-failed task-cancelled task-changed task-removed "
     "worker-started worker-lost queue-changed task-progress task-output"},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "one JSON object a line", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* Each name must be an event: 0, or ER_EINVALID with a suggestion. */
static int
check_names(const char *list, struct er_err *err)
{
    static const char *const names[] = {
#define ER_EVENT(name, number, word, kind, meaning) word,
#include "model/events.def"
#undef ER_EVENT
    };
    while (list) {
        char word[ER_SUGGEST_MAX];
        size_t n = strcspn(list, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), list);
        if (er_event_find(word) < 0) {
            return er_suggest_fail_list(err, ER_EINVALID, "event", word, names,
                                        sizeof names / sizeof names[0]);
        }
        list = list[n] ? list + n + 1 : NULL;
    }
    return 0;
}

struct stream {
    const struct events *o;
    struct er_term term;
    er_task_id task; /* 0 = any */
    int64_t last;    /* number of the last fact seen; -1 = none, and none asked for */
    int64_t until;   /* end there; -1 = never */
    struct er_buf out;
};

/* Adds one event in words: time, number, name, task, and what there is to say. */
static void
add_words(struct stream *s, const json_t *event)
{
    const struct er_term *t = &s->term;
    struct er_buf *b = &s->out;
    const json_t *data = json_object_get(event, "data");
    const char *time = er_json_text(event, "time");
    const char *word = er_json_text(event, "event");
    int64_t seq = er_json_int(event, "seq", -1);
    int64_t task = er_json_int(event, "task", 0);
    er_term_style(t, b, ER_STYLE_DIM);
    er_buf_addf(b, "%s", time ? time : "");
    er_term_plain(t, b, ER_STYLE_DIM);
    if (seq >= 0) {
        er_buf_addf(b, "  %6" PRId64 "  ", seq);
    } else {
        er_buf_add_str(b, "       -  ");
    }
    er_buf_addf(b, "%-15s", word ? word : "?");
    if (task > 0) {
        er_buf_addf(b, "  %" PRId64, task);
    }
    if (json_object_size(data) > 0) {
        char *text = er_json_dumps(data, JSON_COMPACT);
        er_buf_add_str(b, "  ");
        (void)er_term_text(t, b, text ? text : "", text ? strlen(text) : 0, 0);
        free(text);
    }
    er_buf_add_char(b, '\n');
}

/* Whether the event is one that was asked for. */
static bool
is_wanted(const struct stream *s, const json_t *event)
{
    const char *word = er_json_text(event, "event");
    const char *correlation = er_json_text(event, "correlation_id");
    if (s->task > 0 && er_json_int(event, "task", 0) != s->task) {
        return false;
    }
    if (s->o->correlation &&
        (!correlation || strcmp(correlation, s->o->correlation) != 0)) {
        return false;
    }
    for (const char *p = s->o->event; p && word;) {
        size_t n = strcspn(p, ",");
        if (strlen(word) == n && memcmp(word, p, n) == 0) {
            return true;
        }
        p = p[n] ? p + n + 1 : NULL;
    }
    return !s->o->event;
}

/* Shows what has come: true when the end is reached. */
static bool
take(struct stream *s, struct er_buf *in, struct er_buf *data)
{
    int64_t seq = s->last;
    while (er_sse_next(in, data, &seq)) {
        json_t *event = json_loadb(data->data, data->len, 0, NULL);
        const char *word = er_json_text(event, "event");
        bool gap = word && strcmp(word, "gap") == 0;
        bool beyond = s->until >= 0 && er_json_int(event, "seq", -1) > s->until;
        bool sample = s->until >= 0 && !gap && er_json_int(event, "seq", -1) < 0;
        if (!beyond && !sample && (gap || is_wanted(s, event))) {
            if (s->o->json) {
                er_buf_add(&s->out, data->data, data->len);
                er_buf_add_char(&s->out, '\n');
            } else {
                add_words(s, event);
            }
        }
        json_decref(event);
        s->last = seq;
        if (s->until >= 0 && seq >= s->until) {
            return true;
        }
    }
    return false;
}

static void
make_target(const struct stream *s, struct er_buf *b)
{
    er_buf_add_str(b, "/v1/events");
    if (s->last >= 0) {
        er_daemon_param_int(b, "since", s->last);
    }
    if (s->until >= 0) {
        return; /* without filters, so that the last number is certain to come */
    }
    if (s->task > 0) {
        er_daemon_param_int(b, "task", s->task);
    }
    if (s->o->correlation) {
        er_daemon_param(b, "correlation", s->o->correlation);
    }
    if (s->o->event) {
        er_daemon_param(b, "event", s->o->event);
    }
}

/* Reads one stream: 0 at the end that was asked for, ER_ENODAEMON when it broke, ER_EIO
 * when our own output cannot be written (that is said already). */
static int
read_stream(struct er_app *app, struct stream *s, struct er_err *err)
{
    struct er_buf target, in, data;
    er_buf_init(&target, 0);
    er_buf_init(&in, 0);
    er_buf_init(&data, 0);
    make_target(s, &target);
    int rc = er_daemon_stream(app, target.data, NULL, err);
    bool over = false;
    while (!rc && !over) {
        rc = er_client_stream_read(app->client, &in, 0, err);
        rc = rc > 0 ? 0 : rc == 0 ? ER_ENODAEMON : rc;
        over = rc ? false : take(s, &in, &data);
        if (er_app_out(&s->out)) {
            rc = er_fail(err, ER_EIO, "the events cannot be shown");
        }
        er_buf_clear(&s->out);
    }
    er_buf_fini(&target);
    er_buf_fini(&in);
    er_buf_fini(&data);
    er_daemon_close(app);
    return rc;
}

/* The number of the newest fact. */
static int
find_last(struct er_app *app, int64_t *out, struct er_err *err)
{
    json_t *stats;
    int rc = er_daemon_get(app, "/v1/stats", &stats, err);
    if (!rc) {
        *out = er_json_int(json_object_get(stats, "events"), "last", 0);
        json_decref(stats);
    }
    return rc;
}

/* One that never was has no events; of one that was removed some may be kept. */
static int
check_task(struct er_app *app, er_task_id id, struct er_err *err)
{
    char target[48];
    json_t *task = NULL;
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64, id);
    int rc = er_daemon_get(app, target, &task, err);
    json_decref(task);
    return rc == ER_ENOTFOUND && strstr(err->text, "there is no task") == NULL ? 0 : rc;
}

static int
events_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct events *o = data;
    struct stream s = {.o = o, .last = o->since.set ? o->since.value : -1, .until = -1};
    struct er_err err;
    (void)n;
    (void)args;
    int rc = o->event ? check_names(o->event, &err) : 0;
    rc = rc || !o->task ? rc : er_targets_one(app, o->task, &s.task, &err);
    rc = rc || !o->task ? rc : check_task(app, s.task, &err);
    if (!rc && !o->follow) {
        rc = find_last(app, &s.until, &err);
        s.last = s.last < 0 ? 0 : s.last;
        if (!rc && s.last >= s.until) {
            return 0;
        }
    }
    er_term_init(&s.term, STDOUT_FILENO);
    er_buf_init(&s.out, 0);
    rc = rc ? rc : read_stream(app, &s, &err);
    while (rc == ER_ENODAEMON && app->connected_once) {
        rc = er_daemon_again(app, er_clock_mono(er_clock_system()), &err);
        rc = rc ? rc : read_stream(app, &s, &err);
    }
    er_buf_fini(&s.out);
    return rc ? er_app_fail(rc, &err) : 0;
}

const struct er_cmd er_cmd_events = {
    .name = "events",
    .operands = "",
    .summary = "what happened, and with -f what happens",
    .opts = {events_opts},
    .data_size = sizeof(struct events),
    .exec = events_exec,
};
