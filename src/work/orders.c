/* SPDX-License-Identifier: MIT */
/* A line is an object with one member, which names the order; the table finds its
 * function. An order about an attempt that we do not have is late, and nothing is done;
 * what is malformed is logged. Nothing here fails the stream. */
#include "work/orders.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "wire/json_dump.h"
#include "work/worker.h"

typedef void order_fn(struct er_worker *w, json_t *v);

/* The attempt a line names; NULL when it is not ours (any more): a late word. */
static struct er_work_attempt *
find_named(struct er_worker *w, const json_t *v)
{
    return er_worker_find(w, json_integer_value(json_object_get(v, "task")),
                          (int)json_integer_value(json_object_get(v, "attempt")));
}

static void
take_welcome(struct er_worker *w, json_t *v)
{
    er_worker_on_welcome(w, v);
}

static void
take_env(struct er_worker *w, json_t *v)
{
    er_worker_add_env(w, json_object_get(v, "id"), json_object_get(v, "vars"));
}

static void
take_forget_env(struct er_worker *w, json_t *v)
{
    er_worker_forget_env(w, json_object_get(v, "id"));
}

static void
take_run(struct er_worker *w, json_t *v)
{
    er_worker_add(w, v);
}

static void
take_cancel(struct er_worker *w, json_t *v)
{
    struct er_work_attempt *a = find_named(w, v);
    if (!a) {
        return;
    }
    const json_t *grace = json_object_get(v, "grace_s");
    const char *word = json_string_value(json_object_get(v, "why"));
    enum er_attempt_why why =
        word && strcmp(word, "requeue") == 0 ? ER_WHY_REQUEUE : ER_WHY_CANCEL;
    double s = json_number_value(grace);
    bool given = json_is_number(grace) && s >= 0.0 && s < 1e9;
    const char *stop = json_string_value(json_object_get(v, "stop"));
    a->to_pause = a->to_pause || (!a->end_wanted && stop && strcmp(stop, "pause") == 0);
    er_attempt_end(a, why, given ? (er_usec)(s * 1e6) : a->grace_for);
}

static void
take_drop(struct er_worker *w, json_t *v)
{
    er_worker_drop(w, json_integer_value(json_object_get(v, "task")),
                   (int)json_integer_value(json_object_get(v, "attempt")));
}

static void
take_input(struct er_worker *w, json_t *v)
{
    struct er_work_attempt *a = find_named(w, v);
    const json_t *text = json_object_get(v, "base64");
    struct er_buf b;
    if (!a) {
        return;
    }
    er_buf_init(&b, 0);
    int rc = json_is_string(text)
                 ? er_base64_decode(&b, json_string_value(text), json_string_length(text))
                 : 0;
    if (rc == 0) {
        er_stdin_send(a, b.data, b.len, json_is_true(json_object_get(v, "eof")));
    } else {
        er_attempt_warn(a, "input was dropped: it is not base64");
    }
    er_buf_fini(&b);
}

static void
take_slots(struct er_worker *w, json_t *v)
{
    er_worker_set_slots(w, json_integer_value(v));
}

/* A progress line that came to the daemon by HTTP. */
static void
take_tell(struct er_worker *w, json_t *v)
{
    struct er_work_attempt *a = find_named(w, v);
    char *line = er_json_dumps(json_object_get(v, "line"), JSON_COMPACT);
    if (a && line) {
        er_progress_fd_line(a, line, strlen(line));
    }
    free(line);
}

static void
take_drain(struct er_worker *w, json_t *v)
{
    (void)v;
    er_worker_drain(w);
}

static void
take_stop(struct er_worker *w, json_t *v)
{
    (void)v;
    er_worker_stop(w);
}

static void
take_pause(struct er_worker *w, json_t *v)
{
    struct er_work_attempt *a = find_named(w, v);
    if (a) {
        er_pause_order(a);
    }
}

static void
take_resume(struct er_worker *w, json_t *v)
{
    struct er_work_attempt *a = find_named(w, v);
    if (a) {
        er_pause_resume(a);
    }
}

static void
take_given(struct er_worker *w, json_t *v)
{
    er_task_id task = json_integer_value(json_object_get(v, "task"));
    int attempt = (int)json_integer_value(json_object_get(v, "attempt"));
    const char *name = json_string_value(json_object_get(v, "env"));
    const json_t *text = json_object_get(v, "text");
    if (!name || !json_is_string(text) || !er_given_is_name(name)) {
        er_log(ER_LOG_ERROR, "orders",
               "task %lld: a file for the variable '%.80s' was dropped: its name must be "
               "ERRAND_... in capitals, and its text a string",
               (long long)task, name ? name : "");
        return;
    }
    if (!er_worker_find(w, task, attempt)) { /* else told twice: it has them */
        er_given_add(&w->given, task, attempt, name, json_string_value(text),
                     json_string_length(text));
    }
}

/* What came before it has been read. */
static void
take_ping(struct er_worker *w, json_t *v)
{
    (void)v;
    er_report_add_pong(&w->report);
}

static const struct {
    const char *name;
    order_fn *take;
} orders[] = {
    {"run", take_run},       {"env", take_env},
    {"cancel", take_cancel}, {"input", take_input},
    {"drop", take_drop},     {"slots", take_slots},
    {"drain", take_drain},   {"welcome", take_welcome},
    {"stop", take_stop},     {"tell", take_tell},
    {"pause", take_pause},   {"resume", take_resume},
    {"given", take_given},   {"forget_env", take_forget_env},
    {"ping", take_ping},
};

void
er_orders_take(struct er_worker *w, json_t *line)
{
    const char *name = json_object_iter_key(json_object_iter(line));
    json_t *v = name ? json_object_get(line, name) : NULL;
    for (size_t i = 0; v && i < sizeof orders / sizeof *orders; i++) {
        if (strcmp(orders[i].name, name) == 0) {
            orders[i].take(w, v);
            return;
        }
    }
    er_log(ER_LOG_ERROR, "orders", "an order is not understood: '%.60s'",
           name ? name : "");
}
