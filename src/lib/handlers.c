/* SPDX-License-Identifier: MIT */
/* The session of this process's handlers.
 *
 * Happy path: the first type that is served opens the stream (a hello with `types`); the
 * lines that come are orders; those of one piece are queued together. er_handlers_look is
 * the one place where the loop looks at what its threads have done: it takes what ended
 * and what has news, sends a report if it may, and sets the timer.
 *
 * Failure modes: the stream ends: the daemon is gone; attempts go on, and a hello with
 * the session, what is held and what is owed is sent again, at once, then after 0.1 s
 * doubling to 5 s. A line of it for which there is no memory ends it likewise. The
 * session is not known any more: all attempts are told so (ERRAND_STOP_LOST), and a new
 * one is begun. Stopping with nobody there: reports are given up after 5 s. */
#include "lib/handlers_priv.h"

#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define PROTOCOL   1
#define ORDER_MAX  ((size_t)64 << 20)
#define RETRY_MIN  (100 * ER_USEC_PER_MS)
#define RETRY_MAX  (5 * ER_USEC_PER_SEC)
#define GIVE_UP    (5 * ER_USEC_PER_SEC)
#define OUTPUT_MAX ((uint64_t)8 << 20)

/* ---- hello ---- */

/* None while it stops: what is given back must not come again. */
static void
add_types(const struct er_handlers *h, struct er_buf *b)
{
    const char *comma = "";
    er_buf_add_char(b, '[');
    for (const struct er_handlers_type *t = h->is_stopping ? NULL : h->types; t;
         t = t->hh.next) {
        er_buf_add_str(b, comma);
        er_buf_add_json_str(b, t->name);
        comma = ",";
    }
    er_buf_add_char(b, ']');
}

/* Those it has, or those whose end is not answered yet. */
static void
add_hands(const struct er_handlers *h, bool owed, struct er_buf *b)
{
    struct er_handler_attempt *attempt;
    const char *comma = "";
    TAILQ_FOREACH (attempt, &h->all, in_all) {
        if (attempt->dropped || attempt->is_over != owed) {
            continue;
        }
        er_buf_addf(b, "%s{\"task\":%lld,\"attempt\":%d", comma,
                    (long long)attempt->base.task, attempt->base.number);
        if (!owed && er_handlers_pool_state(attempt) != ER_HANDLERS_QUEUED) {
            char at[ER_RFC3339_SIZE];
            er_time_format(attempt->started_at, at);
            er_buf_addf(b, ",\"pid\":%d,\"started_at\":\"%s\"", (int)getpid(), at);
        }
        er_buf_add_char(b, '}');
        comma = ",";
    }
}

static void
add_hello(const struct er_handlers *h, struct er_buf *b)
{
    er_buf_addf(b, "{\"protocol\":%d,\"version\":\"%s\",\"pid\":%d,\"slots\":%d,",
                PROTOCOL, ER_VERSION, (int)getpid(), h->max_threads);
    if (h->session > 0) {
        er_buf_addf(b, "\"session\":%lld,\"token\":\"%s\"", (long long)h->session,
                    h->token);
    } else {
        er_buf_add_str(b, "\"session\":null,\"token\":null");
    }
    er_buf_add_str(b, ",\"types\":");
    add_types(h, b);
    er_buf_add_str(b, ",\"held\":[");
    add_hands(h, false, b);
    er_buf_add_str(b, "],\"owed\":[");
    add_hands(h, true, b);
    er_buf_add_str(b, "]}");
}

/* ---- the stream ---- */

static void
go_down(struct er_handlers *h)
{
    h->link = ER_HANDLERS_OFF;
    h->claim = NULL;
    er_buf_fini(&h->line);
    er_buf_init(&h->line, ORDER_MAX);
    er_handlers_orders_drop_given(h);
    er_handlers_report_disconnect(h);
}

/* The engine takes a line for heard that is lost: the next hello says what is not here,
 * and it is told again; not at once, as that may happen again. */
static void
lose_line(struct er_handlers *h, int code)
{
    struct er_ask *ask = h->claim;
    er_handle_log(h->e, ERRAND_LOG_ERROR, "an order is lost (%s): connecting again",
                  er_error_meaning(code));
    go_down(h);
    er_ask_cancel(ask);
    h->connect_for = RETRY_MIN;
    h->connect_at = er_handlers_now(h) + h->connect_for;
}

/* Takes one piece of the stream, at most to the end of a line. */
static int
take_piece(struct er_handlers *h, const char *data, size_t n)
{
    bool is_end = data[n - 1] == '\n';
    if (is_end && h->line.len == 0 && !h->line.failed) {
        return er_handlers_orders_take(h, data, n - 1);
    }
    er_buf_add(&h->line, data, n);
    int rc = h->line.failed;
    if (is_end && rc == 0) {
        rc = er_handlers_orders_take(h, h->line.data, h->line.len);
        er_buf_fini(&h->line);
        er_buf_init(&h->line, ORDER_MAX);
    }
    return rc;
}

static void
on_data(struct er_ask *ask, const char *data, size_t len)
{
    struct er_handlers *h = ask->ctx;
    while (len > 0 && h->claim == ask) {
        const char *nl = memchr(data, '\n', len);
        size_t part = nl ? (size_t)(nl - data) + 1 : len;
        int rc = take_piece(h, data, part);
        if (rc) {
            lose_line(h, rc);
        }
        data += part;
        len -= part;
    }
    er_handlers_look(h);
}

static void
connect_later(struct er_handlers *h, int status, const struct er_buf *body)
{
    if (!h->is_complained && !h->is_stopping) {
        h->is_complained = true;
        er_handle_log(h->e, ERRAND_LOG_WARN,
                      "handlers have no session (%d: %.300s); trying again", status,
                      body->data ? body->data : "");
    }
    h->connect_for = h->connect_for == 0              ? RETRY_MIN
                     : h->connect_for * 2 < RETRY_MAX ? h->connect_for * 2
                                                      : RETRY_MAX;
    h->connect_at = er_handlers_now(h) + h->connect_for;
}

static void
on_end(struct er_ask *ask, int status, const struct er_buf *body)
{
    struct er_handlers *h = ask->ctx;
    bool was_up = h->link == ER_HANDLERS_UP;
    go_down(h);
    if (status == 409) {
        er_handlers_lost(h);
    } else if (was_up && status != ER_ECLOSED) {
        h->connect_at = er_handlers_now(h);
    } else {
        connect_later(h, status, body);
    }
    er_handlers_look(h);
}

void
er_handlers_lost(struct er_handlers *h)
{
    struct er_handler_attempt *attempt, *next;
    if (h->claim) {
        struct er_ask *ask = h->claim;
        go_down(h);
        er_ask_cancel(ask);
    }
    er_handlers_report_clear(h);
    er_handlers_pool_add(h);
    for (attempt = TAILQ_FIRST(&h->all); attempt; attempt = next) {
        next = TAILQ_NEXT(attempt, in_all);
        er_handlers_run_drop(attempt);
    }
    er_close(&h->lock_fd);
    h->session = 0;
    h->token[0] = '\0';
    h->connect_at = er_handlers_now(h) + h->connect_for;
}

static void
connect_now(struct er_handlers *h)
{
    bool wanted = h->types || h->n_all > 0;
    if (h->link != ER_HANDLERS_OFF || h->is_done || !wanted ||
        er_handlers_now(h) < h->connect_at) {
        return;
    }
    if (h->is_stopping && er_handlers_report_is_empty(h)) {
        return;
    }
    struct er_ask *ask = er_ask_new(h->e, "POST", "/v1/work/claim");
    add_hello(h, &ask->body);
    ask->alone = true;
    ask->data = on_data;
    ask->done = on_end;
    ask->ctx = h;
    h->claim = ask;
    h->link = ER_HANDLERS_HELLO;
    er_ask_send(ask);
}

/* ---- looking ---- */

static er_usec
sooner(er_usec a, er_usec b)
{
    return a < b ? a : b;
}

static er_usec
next_due(const struct er_handlers *h)
{
    struct er_heap_node *first = er_heap_get(&h->due);
    er_usec at = first ? ER_CONTAINER(first, struct er_handler_attempt, due_node)->due_at
                       : ER_NEVER;
    if (h->retry_at && !h->report) {
        at = sooner(at, h->retry_at);
    }
    if (h->link == ER_HANDLERS_OFF && (h->types || h->n_all > 0)) {
        at = sooner(at, h->connect_at);
    }
    return h->give_up_at ? sooner(at, h->give_up_at) : at;
}

static void
on_timer(uv_timer_t *t)
{
    struct er_handlers *h = t->data;
    h->armed_at = ER_NEVER;
    er_handlers_look(h);
}

/* A timer that is early does no harm: it looks, and is set again. */
static void
arm(struct er_handlers *h)
{
    er_usec at = h->is_done ? ER_NEVER : next_due(h);
    if (at >= h->armed_at) {
        return;
    }
    er_usec left = at - er_handlers_now(h);
    uint64_t ms = left > 0 ? (uint64_t)((left + ER_USEC_PER_MS - 1) / ER_USEC_PER_MS) : 0;
    h->armed_at = at;
    uv_update_time(er_loop_uv(h->e->loop));
    (void)uv_timer_start(h->timer, on_timer, ms, 0);
}

static void
run_due(struct er_handlers *h)
{
    struct er_heap_node *first;
    er_usec now = er_handlers_now(h);
    while ((first = er_heap_get(&h->due))) {
        struct er_handler_attempt *attempt =
            ER_CONTAINER(first, struct er_handler_attempt, due_node);
        if (attempt->due_at > now) {
            return;
        }
        er_handlers_run_due(attempt);
    }
}

/* Stopping: whether all is said, or nobody is there to hear it. */
static void
look_for_end(struct er_handlers *h)
{
    if (!h->is_stopping || h->is_done) {
        return;
    }
    struct er_handler_attempt *attempt;
    TAILQ_FOREACH (attempt, &h->all, in_all) {
        if (!attempt->is_over) {
            return;
        }
    }
    bool empty = er_handlers_report_is_empty(h);
    h->give_up_at =
        h->give_up_at ? h->give_up_at : er_clock_mono(er_clock_system()) + GIVE_UP;
    if (empty || er_clock_mono(er_clock_system()) >= h->give_up_at) {
        h->is_done = true;
        er_close(&h->lock_fd); /* before the link: who sees that end looks at the lock */
        if (h->claim) {
            struct er_ask *ask = h->claim;
            go_down(h);
            er_ask_cancel(ask);
        }
        er_handlers_report_clear(h);
        (void)uv_timer_stop(h->timer);
        er_handlers_pool_wake(h); /* `done` comes from there */
    }
}

void
er_handlers_look(struct er_handlers *h)
{
    struct er_handler_attempt_list ended, stirred;
    struct er_handler_attempt *attempt;
    if (h->is_done) {
        return;
    }
    er_handlers_pool_add(h);
    er_handlers_pool_collect(h, &ended, &stirred);
    while ((attempt = TAILQ_FIRST(&stirred))) {
        TAILQ_REMOVE(&stirred, attempt, in_looked);
        er_handlers_run_stirred(attempt);
    }
    while ((attempt = TAILQ_FIRST(&ended))) {
        TAILQ_REMOVE(&ended, attempt, in_pool);
        er_handlers_run_ended(attempt);
    }
    run_due(h);
    connect_now(h);
    er_handlers_report_flush(h);
    look_for_end(h);
    arm(h);
}

/* ---- types ---- */

static void
tell_types(struct er_handlers *h)
{
    if (h->link != ER_HANDLERS_OFF) { /* else the hello says it */
        struct er_handlers_chunk *c = er_handlers_report_chunk(h);
        er_buf_add_str(&c->lines, "{\"types\":");
        add_types(h, &c->lines);
        er_buf_add_str(&c->lines, "}\n");
    }
}

static void
types_changed(struct er_handlers *h)
{
    tell_types(h);
    er_handlers_look(h);
}

int
er_handlers_serve(struct er_handlers *h, const char *name,
                  const struct er_handler *handler)
{
    struct er_handlers_type *t;
    if (h->is_stopping) {
        return ER_ECLOSED;
    }
    HASH_FIND_STR(h->types, name, t);
    if (t) {
        t->handler = *handler;
        return 0;
    }
    t = er_zalloc(sizeof *t);
    char *copy = er_strdup(name);
    if (!t || !copy) {
        er_free(t);
        er_free(copy);
        return ER_ENOMEM;
    }
    t->name = copy;
    t->handler = *handler;
    HASH_ADD_KEYPTR(hh, h->types, t->name, strlen(t->name), t);
    types_changed(h);
    return 0;
}

static void
remove_type(struct er_handlers *h, struct er_handlers_type *t)
{
    HASH_DEL(h->types, t);
    er_free(t->name);
    er_free(t);
}

int
er_handlers_withdraw(struct er_handlers *h, const char *name)
{
    struct er_handlers_type *t;
    HASH_FIND_STR(h->types, name, t);
    if (!t) {
        return ER_ENOTFOUND;
    }
    remove_type(h, t);
    types_changed(h);
    return 0;
}

bool
er_handlers_serves(const struct er_handlers *h, const char *name)
{
    struct er_handlers_type *t;
    HASH_FIND_STR(h->types, name, t);
    return t != NULL;
}

int64_t
er_handlers_session(const struct er_handlers *h)
{
    return h->session;
}

/* ---- life ---- */

static bool
is_sooner(const struct er_heap_node *a, const struct er_heap_node *b)
{
    return ER_CONTAINER(a, struct er_handler_attempt, due_node)->due_at <
           ER_CONTAINER(b, struct er_handler_attempt, due_node)->due_at;
}

static void
stop(struct errand *e, void (*done)(struct errand *e))
{
    struct er_handlers *h = e->handlers;
    h->is_stopping = true;
    h->on_done = done;
    if (h->types) {
        tell_types(h);
    }
    er_handlers_orders_stop_all(h);
    er_handlers_pool_wake(h);
}

static void
on_timer_closed(uv_handle_t *timer)
{
    er_free(timer);
}

static void
free_hands(struct errand *e)
{
    struct er_handlers *h = e->handlers;
    struct er_handler_attempt *attempt;
    er_handlers_pool_fini(h);
    uv_close((uv_handle_t *)h->timer, on_timer_closed);
    while ((attempt = TAILQ_FIRST(&h->all))) {
        er_handlers_run_free(attempt);
    }
    while (h->types) {
        remove_type(h, h->types);
    }
    er_handlers_orders_drop_given(h);
    er_heap_fini(&h->due);
    er_close(&h->lock_fd);
    er_buf_fini(&h->line);
    er_free(h->logs);
    er_lock_fini(&h->pool);
    er_lock_fini(&h->room);
    er_free(h);
    e->handlers = NULL;
}

struct er_handlers *
er_handlers_get(struct errand *e)
{
    if (e->handlers) {
        return e->handlers;
    }
    struct er_handlers *h = er_zalloc(sizeof *h);
    uv_timer_t *timer = er_zalloc(sizeof *timer);
    if (!h || !timer || uv_timer_init(er_loop_uv(e->loop), timer) != 0) {
        er_free(h);
        er_free(timer);
        return NULL;
    }
    h->e = e;
    h->clock = er_clock_system();
    h->timer = timer;
    timer->data = h;
    h->lock_fd = -1;
    h->armed_at = ER_NEVER;
    h->interval_for = ER_HANDLERS_INTERVAL_FOR;
    h->output_head = h->output_tail = OUTPUT_MAX;
    STAILQ_INIT(&h->given);
    TAILQ_INIT(&h->incoming);
    TAILQ_INIT(&h->waiting);
    TAILQ_INIT(&h->sent);
    TAILQ_INIT(&h->said);
    TAILQ_INIT(&h->all);
    er_heap_init(&h->due, is_sooner);
    er_buf_init(&h->line, ORDER_MAX);
    er_lock_init(&h->room);
    er_handlers_pool_init(h);
    e->handlers = h;
    e->hands_stop = stop;
    e->hands_free = free_hands;
    return h;
}

/* ---- for tests of applications ---- */

void
er_handlers_set_inline(struct er_handlers *h)
{
    h->is_inline = true;
}

void
er_handlers_set_clock(struct er_handlers *h, const struct er_clock *clock)
{
    h->clock = clock;
}

void
er_handlers_set_mover(struct er_handlers *h,
                      void (*move)(void *ctx, const struct errand_attempt *a,
                                   er_usec till),
                      void *ctx)
{
    h->move = move;
    h->move_ctx = ctx;
}

void
er_handlers_clock_moved(struct er_handlers *h)
{
    er_lock_take(&h->room);
    er_lock_wake(&h->room);
    er_lock_give(&h->room);
    er_handlers_look(h);
}

size_t
er_handlers_busy(const struct er_handlers *h)
{
    return h->n_all;
}

size_t
er_handlers_asleep(struct er_handlers *h)
{
    const struct er_handler_attempt *attempt;
    size_t n = 0;
    er_lock_take(&h->room);
    TAILQ_FOREACH (attempt, &h->all, in_all) {
        bool wakes =
            er_handlers_now(h) >= attempt->sleeping_till ||
            er_count_get(&attempt->base.stop) != 0; /* it has only not said so yet */
        n += attempt->sleeping_till != 0 && !wakes ? 1 : 0;
    }
    er_lock_give(&h->room);
    return n;
}

er_usec
er_handlers_due(struct er_handlers *h)
{
    const struct er_handler_attempt *attempt;
    er_usec at = next_due(h);
    er_lock_take(&h->room);
    TAILQ_FOREACH (attempt, &h->all, in_all) {
        at = attempt->sleeping_till ? sooner(at, attempt->sleeping_till) : at;
    }
    er_lock_give(&h->room);
    return at;
}
