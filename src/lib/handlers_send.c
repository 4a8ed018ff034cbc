/* SPDX-License-Identifier: MIT */
/* What a handler in this process says, on its threads, and the call of the handler
 * itself.
 *
 * Happy path: items and the checkpoint wait in the attempt until the loop collects them,
 * of progress and output the loop is only told that there is news. Output goes into the
 * attempt's log, which is made with the first of it: under a lock of its own, which
 * nobody else needs. The large part of the finished line is written here, so that it
 * costs the loop nothing.
 *
 * Failure modes: no memory (the code comes back, nothing was said); too many items that
 * are not answered: the thread waits; the log cannot be written: output is lost, and the
 * report has a warning. */
#include "lib/handlers_priv.h"

#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/mem.h"
#include "lib/embedded.h"

#define NOTE_COST ((size_t)64) /* bytes of an item's line beside its name */

static struct er_handler_attempt *
attempt_in(struct errand_attempt *a)
{
    return (struct er_handler_attempt *)(void *)a;
}

/* ---- what the handler says (its threads) ---- */

/* With the lock taken. */
static int
add_note(struct er_handler_attempt *attempt, const char *name, bool failed, size_t cost)
{
    struct er_buf *b = &attempt->notes;
    size_t before = b->len;
    er_buf_addf(b, "{\"item\":{\"task\":%lld,\"attempt\":%d,\"name\":",
                (long long)attempt->base.task, attempt->base.number);
    er_buf_add_json_str(b, name);
    er_buf_addf(b, ",\"failed\":%s}}\n", failed ? "true" : "false");
    if (b->failed) {
        b->failed = 0;
        b->len = before;
        return ER_ENOMEM;
    }
    attempt->notes_cost += cost;
    attempt->items_completed += failed ? 0 : 1;
    attempt->items_failed += failed ? 1 : 0;
    (void)strcpy(attempt->last_item, name); /* at most ER_MAX_NAME, was checked */
    return 0;
}

/* Room for it was taken. */
static int
keep_item(struct er_handler_attempt *attempt, const char *name, bool failed, size_t cost)
{
    er_lock_take(&attempt->base.lock);
    int rc = add_note(attempt, name, failed, cost);
    er_lock_give(&attempt->base.lock);
    if (rc) {
        er_handlers_report_give_room(attempt->handlers, cost);
    }
    return rc;
}

static int
say_item(struct errand_attempt *a, const char *name, bool failed)
{
    struct er_handler_attempt *attempt = attempt_in(a);
    size_t cost = strlen(name) + NOTE_COST;
    er_handlers_report_make_room(attempt, cost);
    int rc = keep_item(attempt, name, failed, cost);
    if (rc == 0) {
        er_handlers_pool_stir(attempt);
    }
    return rc;
}

int
er_handlers_mouth_item(struct er_handler_attempt *attempt, const char *name, bool failed)
{
    size_t cost = strlen(name) + NOTE_COST;
    er_handlers_report_take_room(attempt->handlers, cost);
    return keep_item(attempt, name, failed, cost);
}

int
er_handlers_mouth_checkpoint(struct er_handler_attempt *attempt, const char *json)
{
    struct errand_attempt *a = &attempt->base;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, json);
    int rc = b.failed;
    if (rc == 0) {
        er_lock_take(&a->lock);
        struct er_buf old = attempt->checkpoint;
        attempt->checkpoint = b;
        er_lock_give(&a->lock);
        b = old;
    }
    er_buf_fini(&b);
    return rc;
}

static int
say_checkpoint(struct errand_attempt *a, const char *json)
{
    int rc = er_handlers_mouth_checkpoint(attempt_in(a), json);
    if (rc == 0) {
        er_handlers_pool_stir(attempt_in(a));
    }
    return rc;
}

static void
say_there_is_news(struct errand_attempt *a)
{
    er_handlers_pool_stir(attempt_in(a));
}

struct find_logs {
    struct er_wait wait; /* first */
    struct er_handlers *handlers;
    char *path;
};

static void
find_logs(struct er_wait *wait)
{
    struct find_logs *f = (struct find_logs *)(void *)wait;
    struct errand *e = f->handlers->e;
    f->path = er_strdup(e->embedded ? er_embedded_logs(e->embedded) : f->handlers->logs);
    er_handle_done(wait, f->path ? 0 : ER_EIO);
}

static int
make_log(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    struct find_logs f = {.wait = {.fn = find_logs}, .handlers = h};
    char json[100], at[ER_RFC3339_SIZE];
    int rc = er_handle_wait(h->e, &f.wait);
    if (rc == 0) {
        rc = er_outlog_create(&attempt->log, f.path, attempt->base.task,
                              attempt->base.number, h->output_head, h->output_tail, NULL);
    }
    if (rc == 0) {
        er_time_format(attempt->started_at, at);
        (void)snprintf(json, sizeof json, "{\"pid\":%d,\"started_at\":\"%s\"}",
                       (int)getpid(), at);
        rc = er_outlog_note(&attempt->log, ER_OUTLOG_START, attempt->started_at, json);
    }
    er_free(f.path);
    return rc;
}

static int
say_output(struct errand_attempt *a, const void *p, size_t n)
{
    struct er_handler_attempt *attempt = attempt_in(a);
    int rc = 0;
    er_lock_take(&attempt->writing);
    if (!attempt->log_tried) {
        attempt->log_tried = true;
        attempt->log_rc = make_log(attempt);
    }
    rc = attempt->log_rc;
    if (rc == 0) {
        er_outlog_write(&attempt->log, ER_OUTLOG_STDOUT, er_clock_wall(a->clock), p, n);
        rc = attempt->log_rc = attempt->log.failed;
        er_count_set(&attempt->output_bytes, (int64_t)attempt->log.bytes);
    }
    er_lock_give(&attempt->writing);
    er_handlers_pool_stir(attempt);
    return rc;
}

static errand *
get_handle(struct errand_attempt *a)
{
    return attempt_in(a)->handlers->e;
}

static const char *
get_after(struct errand_attempt *a)
{
    const struct er_handler_attempt *attempt = attempt_in(a);
    return attempt->after_lost ? NULL : attempt->after ? attempt->after : "{}";
}

/* By a clock that tests move. */
static void
sleep_by_clock(struct errand_attempt *a, int64_t ms)
{
    struct er_handler_attempt *attempt = attempt_in(a);
    struct er_handlers *h = attempt->handlers;
    if (!h->is_inline) {
        er_handlers_pool_stir(
            attempt); /* that it has begun is told before the clock moves */
    }
    er_lock_take(&h->room);
    er_usec now = er_handlers_now(h);
    er_usec till = ms < INT64_MAX / 2000 ? now + ms * ER_USEC_PER_MS : ER_NEVER;
    attempt->sleeping_till = till;
    if (h->move) {
        er_lock_give(&h->room);
        h->move(h->move_ctx, a, till);
        er_lock_take(&h->room);
    }
    while (er_handlers_now(h) < till && !errand_should_stop(a)) {
        er_lock_wait(&h->room);
    }
    attempt->sleeping_till = 0;
    er_lock_give(&h->room);
}

/* ---- the handler ---- */

static void
add_result(const struct errand_attempt *a, struct er_buf *b)
{
    if (a->result) {
        er_buf_add_str(b, ",\"result\":\"");
        er_base64_encode(b, a->result, a->result_len);
        er_buf_add_char(b, '"');
    }
}

static void
add_time(struct er_buf *b, const char *name, er_usec at)
{
    char text[ER_RFC3339_SIZE];
    er_time_format(at, text);
    er_buf_addf(b, ",\"%s\":\"%s\"", name, text);
}

/* The part of the finished line that the thread can write. */
static void
write_tail(struct er_handler_attempt *attempt)
{
    const struct errand_attempt *a = &attempt->base;
    struct er_buf *b = &attempt->tail;
    add_time(b, "started_at", attempt->started_at);
    add_time(b, "finished_at", er_clock_wall(a->clock));
    if (attempt->end == ER_ATTEMPT_COMPLETED) {
        er_buf_add_str(b, ",\"exit_code\":0");
    }
    if (attempt->end == ER_ATTEMPT_COMPLETED || attempt->end == ER_ATTEMPT_FAILED) {
        add_result(a, b);
    }
    if (attempt->end == ER_ATTEMPT_LIMITED) {
        er_buf_addf(b, ",\"retry_after_s\":%.3f",
                    (double)a->fault.retry_after_ms / 1000.0);
    }
}

void
er_handlers_mouth_run(struct er_handler_attempt *attempt)
{
    int returned = er_attempt_run(&attempt->base, &attempt->handler);
    attempt->end = er_attempt_judge(&attempt->base, returned, &attempt->error);
    write_tail(attempt);
}

const struct er_attempt_ops *
er_handlers_mouth(bool by_clock)
{
    static const struct er_attempt_ops mouths[] = {
        {say_item, say_checkpoint, say_output, say_there_is_news, get_handle, get_after,
         NULL},
        {say_item, say_checkpoint, say_output, say_there_is_news, get_handle, get_after,
         sleep_by_clock}};
    return &mouths[by_clock ? 1 : 0];
}
