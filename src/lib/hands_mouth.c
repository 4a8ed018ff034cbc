/* SPDX-License-Identifier: MIT */
/* What a handler in this process says, on its threads, and the call of the handler itself.
 *
 * Happy path: items and the checkpoint wait in the attempt until the loop collects them, of
 * progress and output the loop is only told that there is news. Output goes into the attempt's
 * log, which is made with the first of it: under a lock of its own, which nobody else needs.
 * The large part of the finished line is written here, so that it costs the loop nothing.
 *
 * Failure modes: no memory (the code comes back, nothing was said); too many items that are
 * not answered: the thread waits; the log cannot be written: output is lost, and the report
 * has a warning. */
#include "lib/hands_priv.h"

#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/mem.h"
#include "lib/house.h"

#define NOTE_COST ((size_t)64) /* bytes of an item's line beside its name */

static struct er_hand *
hand_of(struct errand_attempt *a)
{
    return (struct er_hand *)(void *)a;
}

/* ---- what the handler says (its threads) ---- */

/* With the lock taken. */
static int
add_note(struct er_hand *hand, const char *name, bool failed, size_t cost)
{
    struct er_buf *b = &hand->notes;
    size_t before = b->len;
    er_buf_addf(b, "{\"item\":{\"task\":%lld,\"attempt\":%d,\"name\":",
                (long long)hand->base.task, hand->base.number);
    er_buf_add_json_str(b, name);
    er_buf_addf(b, ",\"failed\":%s}}\n", failed ? "true" : "false");
    if (b->failed) {
        b->failed = 0;
        b->len = before;
        return ER_ENOMEM;
    }
    hand->notes_cost += cost;
    hand->items_completed += failed ? 0 : 1;
    hand->items_failed += failed ? 1 : 0;
    (void)strcpy(hand->last_item, name); /* at most ER_MAX_NAME, was checked */
    return 0;
}

/* Room for it was taken. */
static int
keep_item(struct er_hand *hand, const char *name, bool failed, size_t cost)
{
    er_lock_take(&hand->base.lock);
    int rc = add_note(hand, name, failed, cost);
    er_lock_give(&hand->base.lock);
    if (rc) {
        er_hands_report_give_room(hand->hands, cost);
    }
    return rc;
}

static int
say_item(struct errand_attempt *a, const char *name, bool failed)
{
    struct er_hand *hand = hand_of(a);
    size_t cost = strlen(name) + NOTE_COST;
    er_hands_report_make_room(hand, cost);
    int rc = keep_item(hand, name, failed, cost);
    if (rc == 0) {
        er_hands_pool_stir(hand);
    }
    return rc;
}

int
er_hands_mouth_item(struct er_hand *hand, const char *name, bool failed)
{
    size_t cost = strlen(name) + NOTE_COST;
    er_hands_report_take_room(hand->hands, cost);
    return keep_item(hand, name, failed, cost);
}

int
er_hands_mouth_checkpoint(struct er_hand *hand, const char *json)
{
    struct errand_attempt *a = &hand->base;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, json);
    int rc = b.failed;
    if (rc == 0) {
        er_lock_take(&a->lock);
        struct er_buf old = hand->checkpoint;
        hand->checkpoint = b;
        er_lock_give(&a->lock);
        b = old;
    }
    er_buf_fini(&b);
    return rc;
}

static int
say_checkpoint(struct errand_attempt *a, const char *json)
{
    int rc = er_hands_mouth_checkpoint(hand_of(a), json);
    if (rc == 0) {
        er_hands_pool_stir(hand_of(a));
    }
    return rc;
}

static void
say_there_is_news(struct errand_attempt *a)
{
    er_hands_pool_stir(hand_of(a));
}

struct find_logs {
    struct er_wait wait; /* first */
    struct er_hands *hands;
    char *path;
};

static void
find_logs(struct er_wait *wait)
{
    struct find_logs *f = (struct find_logs *)(void *)wait;
    struct errand *e = f->hands->e;
    f->path = er_strdup(e->house ? er_house_logs(e->house) : f->hands->logs);
    er_handle_done(wait, f->path ? 0 : ER_EIO);
}

static int
make_log(struct er_hand *hand)
{
    struct er_hands *h = hand->hands;
    struct find_logs f = {.wait = {.fn = find_logs}, .hands = h};
    char json[100], at[ER_RFC3339_SIZE];
    int rc = er_handle_wait(h->e, &f.wait);
    if (rc == 0) {
        rc = er_outlog_create(&hand->log, f.path, hand->base.task, hand->base.number,
                              h->output_head, h->output_tail, NULL);
    }
    if (rc == 0) {
        er_time_format(hand->started_at, at);
        (void)snprintf(json, sizeof json, "{\"pid\":%d,\"started_at\":\"%s\"}",
                       (int)getpid(), at);
        rc = er_outlog_note(&hand->log, ER_OUTLOG_START, hand->started_at, json);
    }
    er_free(f.path);
    return rc;
}

static int
say_output(struct errand_attempt *a, const void *p, size_t n)
{
    struct er_hand *hand = hand_of(a);
    int rc = 0;
    er_lock_take(&hand->writing);
    if (!hand->log_tried) {
        hand->log_tried = true;
        hand->log_rc = make_log(hand);
    }
    rc = hand->log_rc;
    if (rc == 0) {
        er_outlog_write(&hand->log, ER_OUTLOG_STDOUT, er_clock_wall(a->clock), p, n);
        rc = hand->log_rc = hand->log.failed;
        er_count_set(&hand->output_bytes, (int64_t)hand->log.bytes);
    }
    er_lock_give(&hand->writing);
    er_hands_pool_stir(hand);
    return rc;
}

static errand *
get_handle(struct errand_attempt *a)
{
    return hand_of(a)->hands->e;
}

static const char *
get_after(struct errand_attempt *a)
{
    const struct er_hand *hand = hand_of(a);
    return hand->after_lost ? NULL : hand->after ? hand->after : "{}";
}

/* By a clock that tests move. */
static void
sleep_by_clock(struct errand_attempt *a, int64_t ms)
{
    struct er_hand *hand = hand_of(a);
    struct er_hands *h = hand->hands;
    er_lock_take(&h->room);
    er_usec now = er_hands_now(h);
    er_usec till = ms < INT64_MAX / 2000 ? now + ms * ER_USEC_PER_MS : ER_NEVER;
    hand->sleeping_till = till;
    if (h->move) {
        er_lock_give(&h->room);
        h->move(h->move_ctx, a, till);
        er_lock_take(&h->room);
    }
    while (er_hands_now(h) < till && !errand_should_stop(a)) {
        er_lock_wait(&h->room);
    }
    hand->sleeping_till = 0;
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
write_tail(struct er_hand *hand)
{
    const struct errand_attempt *a = &hand->base;
    struct er_buf *b = &hand->tail;
    add_time(b, "started_at", hand->started_at);
    add_time(b, "finished_at", er_clock_wall(a->clock));
    if (hand->end == ER_ATTEMPT_COMPLETED) {
        er_buf_add_str(b, ",\"exit_code\":0");
    }
    if (hand->end == ER_ATTEMPT_COMPLETED || hand->end == ER_ATTEMPT_FAILED) {
        add_result(a, b);
    }
    if (hand->end == ER_ATTEMPT_LIMITED) {
        er_buf_addf(b, ",\"retry_after_s\":%.3f",
                    (double)a->fault.retry_after_ms / 1000.0);
    }
}

void
er_hands_mouth_run(struct er_hand *hand)
{
    int returned = er_attempt_run(&hand->base, &hand->handler);
    hand->end = er_attempt_judge(&hand->base, returned, &hand->error);
    write_tail(hand);
}

const struct er_mouth *
er_hands_mouth(bool by_clock)
{
    static const struct er_mouth mouths[] = {
        {say_item, say_checkpoint, say_output, say_there_is_news, get_handle, get_after,
         NULL},
        {say_item, say_checkpoint, say_output, say_there_is_news, get_handle, get_after,
         sleep_by_clock}};
    return &mouths[by_clock ? 1 : 0];
}
