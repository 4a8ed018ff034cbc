/* SPDX-License-Identifier: MIT */
/* The lines of the stream (docs/PROTOCOL.md, "POST /v1/work/claim"), each with its
 * function. An attempt that is told of is queued with the others of the same piece
 * (er_handlers_pool_add).
 *
 * Failure modes: a line that is no order is logged and passed over; a type that is not
 * served (any more), or an order while all stops: it is given back. */
#include "lib/handlers_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/json.h"

/* What handlers ask for of what is given, and how much it may be: the engine's bounds,
 * and for results what JSON makes of 16 MiB. */
static const struct {
    const char *env;
    size_t max;
} givens[ER_HANDLERS_GIVEN_KINDS] = {
    [ER_HANDLERS_ITEMS] = {"ERRAND_ITEMS_DONE", (size_t)40 << 20},
    [ER_HANDLERS_RESULTS] = {"ERRAND_AFTER_RESULTS", ER_ATTEMPT_AFTER_MAX},
};

typedef void order_fn(struct er_handlers *h, json_t *v);

static er_task_id
task_of(const json_t *v)
{
    return json_integer_value(json_object_get(v, "task"));
}

static int
attempt_of(const json_t *v)
{
    return (int)json_integer_value(json_object_get(v, "attempt"));
}

/* The one that is queued or runs. */
static struct er_handler_attempt *
find(struct er_handlers *h, const json_t *v)
{
    struct er_handler_attempt *attempt = er_handlers_run_find(h, task_of(v));
    return attempt && attempt->base.number == attempt_of(v) ? attempt : NULL;
}

/* The flock by which others see that this process lives. Inside, they see it anyway. */
static void
take_lock(struct er_handlers *h, const char *path)
{
    if (!h->e->socket || !path || h->lock_fd >= 0) {
        return;
    }
    h->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (h->lock_fd < 0 || flock(h->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        er_handle_log(h->e, ERRAND_LOG_WARN, "cannot lock %s", path);
        er_close(&h->lock_fd);
    }
}

static void
take_welcome(struct er_handlers *h, json_t *v)
{
    const char *token = json_string_value(json_object_get(v, "token"));
    const char *logs = json_string_value(json_object_get(v, "logs"));
    json_int_t interval_ms =
        json_integer_value(json_object_get(v, "progress_interval_ms"));
    json_int_t session = json_integer_value(json_object_get(v, "session"));
    bool is_new = session != h->session;
    h->session = session;
    (void)snprintf(h->token, sizeof h->token, "%s", token ? token : "");
    if (logs && (!h->logs || strcmp(h->logs, logs) != 0)) {
        er_free(h->logs);
        h->logs = er_xstrdup(logs);
    }
    h->output_head = (uint64_t)json_integer_value(json_object_get(v, "output_head"));
    h->output_tail = (uint64_t)json_integer_value(json_object_get(v, "output_tail"));
    h->interval_for =
        interval_ms > 0 ? interval_ms * ER_USEC_PER_MS : ER_HANDLERS_INTERVAL_FOR;
    take_lock(h, json_string_value(json_object_get(v, "lock")));
    if (is_new) {
        er_handlers_pool_begin(h);
    }
    h->link = ER_HANDLERS_UP;
    h->connect_for = 0;
    h->is_complained = false;
}

static struct er_handlers_given *
find_given(struct er_handlers *h, const json_t *v, enum er_handlers_given_kind kind)
{
    struct er_handlers_given *g;
    STAILQ_FOREACH (g, &h->given, link) {
        if (g->task == task_of(v) && g->attempt == attempt_of(v) && g->kind == kind) {
            break;
        }
    }
    return g;
}

/* NULL = there is none; *out_lost (or NULL): there was no memory for it. */
static char *
take_given_text(struct er_handlers *h, const json_t *run,
                enum er_handlers_given_kind kind, bool *out_lost)
{
    struct er_handlers_given *g = find_given(h, run, kind);
    char *text = NULL;
    if (g) {
        STAILQ_REMOVE(&h->given, g, er_handlers_given, link);
        text = g->text.failed ? NULL : er_buf_take(&g->text);
        er_buf_fini(&g->text);
        er_free(g);
    }
    if (out_lost) {
        *out_lost = g && !text;
    }
    return text;
}

static void
refuse_run(struct er_handlers *h, const json_t *run)
{
    struct er_handlers_chunk *c = er_handlers_report_chunk(h);
    c->n_ends++;
    er_buf_addf(&c->lines,
                "{\"finished\":{\"task\":%lld,\"attempt\":%d,\"spawned\":false,"
                "\"why\":\"requeue\"}}\n",
                (long long)task_of(run), attempt_of(run));
}

static void
take_run(struct er_handlers *h, json_t *v)
{
    const char *name = json_string_value(json_object_get(v, "type"));
    struct er_handlers_type *t = NULL;
    bool after_lost;
    char *done = take_given_text(h, v, ER_HANDLERS_ITEMS, NULL);
    char *after = take_given_text(h, v, ER_HANDLERS_RESULTS, &after_lost);
    if (name) {
        HASH_FIND_STR(h->types, name, t);
    }
    bool known = find(h, v) != NULL; /* told twice */
    bool served = t && !h->is_stopping;
    struct er_handler_attempt *attempt =
        !known && served ? er_handlers_run_new(h, v, done, &t->handler) : NULL;
    if (attempt) {
        attempt->after = er_attempt_after_trim(after);
        attempt->after_lost = after_lost;
        TAILQ_INSERT_TAIL(&h->incoming, attempt, in_incoming);
        return;
    }
    er_free(done);
    er_free(after);
    if (!known && !served) {
        refuse_run(h, v);
    } else if (!known) {
        er_handle_log(h->e, ERRAND_LOG_ERROR, "an order has no task or attempt");
    }
}

static void
take_given(struct er_handlers *h, json_t *v)
{
    const char *env = json_string_value(json_object_get(v, "env"));
    const json_t *text = json_object_get(v, "text");
    int kind = 0;
    while (kind < ER_HANDLERS_GIVEN_KINDS && env && strcmp(env, givens[kind].env) != 0) {
        kind++;
    }
    if (!env || kind == ER_HANDLERS_GIVEN_KINDS || !json_is_string(text)) {
        return; /* nothing that a handler would ask for */
    }
    struct er_handlers_given *g = find_given(h, v, (enum er_handlers_given_kind)kind);
    if (!g) {
        g = er_xzalloc(sizeof *g);
        g->task = task_of(v);
        g->attempt = attempt_of(v);
        g->kind = (enum er_handlers_given_kind)kind;
        er_buf_init(&g->text, givens[kind].max);
        STAILQ_INSERT_TAIL(&h->given, g, link);
    }
    er_buf_add(&g->text, json_string_value(text), json_string_length(text));
}

static void
take_stop_task(struct er_handlers *h, json_t *v)
{
    struct er_handler_attempt *attempt = find(h, v);
    const char *why = json_string_value(json_object_get(v, "why"));
    double grace = json_number_value(json_object_get(v, "grace_s"));
    if (attempt) {
        er_handlers_pool_add(h);
        er_handlers_run_stop(attempt, why ? why : "requeue",
                             grace > 0 && grace < 1e9 ? (er_usec)(grace * 1e6) : 0);
    }
}

static void
take_drop(struct er_handlers *h, json_t *v)
{
    struct er_handler_attempt *attempt = find(h, v);
    if (attempt) {
        er_handlers_pool_add(h);
        er_handlers_run_drop(attempt);
    }
}

static void
take_tell(struct er_handlers *h, json_t *v)
{
    struct er_handler_attempt *attempt = find(h, v);
    if (attempt) {
        er_handlers_pool_add(h);
        er_handlers_told_take(attempt, json_object_get(v, "line"));
    }
}

/* The last first: those that wait for a thread must not get one of those that stop. */
void
er_handlers_orders_stop_all(struct er_handlers *h)
{
    struct er_handler_attempt *attempt, *before;
    er_handlers_pool_add(h);
    for (attempt = TAILQ_LAST(&h->all, er_handler_attempt_list); attempt;
         attempt = before) {
        before = TAILQ_PREV(attempt, er_handler_attempt_list, in_all);
        er_handlers_run_stop(attempt, "requeue", attempt->grace_for);
    }
}

static void
take_stop(struct er_handlers *h, json_t *v)
{
    (void)v;
    er_handlers_orders_stop_all(h);
}

/* What is for others: environments and slots (the engine counts them), input, drain
 * (nothing more comes), a pause in place. */
static void
pass_over(struct er_handlers *h, json_t *v)
{
    (void)h;
    (void)v;
}

static const struct {
    const char *name;
    order_fn *take;
} orders[] = {
    {"run", take_run},         {"stop_task", take_stop_task}, {"cancel", take_stop_task},
    {"given", take_given},     {"welcome", take_welcome},     {"drop", take_drop},
    {"tell", take_tell},       {"stop", take_stop},           {"env", pass_over},
    {"forget_env", pass_over}, {"slots", pass_over},          {"input", pass_over},
    {"drain", pass_over},      {"pause", pass_over},          {"resume", pass_over},
};

int
er_handlers_orders_take(struct er_handlers *h, const char *line, size_t n)
{
    json_error_t why;
    json_t *o = er_json_load(line, n, 0, &why);
    if (!o && er_json_lacks_memory(&why)) {
        return ER_ENOMEM;
    }
    const char *name = json_object_iter_key(json_object_iter(o));
    json_t *v = name ? json_object_get(o, name) : NULL;
    size_t i = 0;
    while (i < sizeof orders / sizeof *orders && name &&
           strcmp(orders[i].name, name) != 0) {
        i++;
    }
    if (v && i < sizeof orders / sizeof *orders) {
        orders[i].take(h, v);
    } else {
        er_handle_log(h->e, ERRAND_LOG_ERROR, "an order is not understood: %.80s",
                      o ? name : why.text);
    }
    json_decref(o);
    return 0;
}

void
er_handlers_orders_drop_given(struct er_handlers *h)
{
    struct er_handlers_given *g;
    while ((g = STAILQ_FIRST(&h->given))) {
        STAILQ_REMOVE_HEAD(&h->given, link);
        er_buf_fini(&g->text);
        er_free(g);
    }
}
