/* SPDX-License-Identifier: MIT */
/* One attempt in this process, as the loop sees it.
 *
 * Happy path: made of its run line, queued; when its handler has returned the loop adds what it
 * knows to the finished line, and it is freed when the report is answered. Items and
 * checkpoints are collected at once, samples of progress and output at most each 100 ms, the
 * last one with the end.
 *
 * Failure modes: no thread within 100 ms: given back; its time is over, or it is silent: asked
 * to stop, and waited for; no memory for the end: it failed for that. */
#include "lib/hands_priv.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/duration.h"

#define TELL_AFTER    (5 * ER_USEC_PER_MS)   /* a shorter one is only told as finished */
#define BACK_AFTER    (100 * ER_USEC_PER_MS) /* without a thread */
#define ESTIMATE_EACH ER_USEC_PER_SEC

/* ---- life ---- */

static er_usec
read_span(const json_t *run, const char *name)
{
    double s = json_number_value(json_object_get(run, name));
    return s > 0 && s < 1e12 ? (er_usec)(s * 1e6) : 0;
}

struct er_hand *
er_hands_run_new(struct er_hands *h, json_t *run, char *done,
                 const struct er_handler *handler)
{
    bool is_system = h->clock == er_clock_system();
    struct er_hand *hand = er_xzalloc(sizeof *hand);
    if (er_attempt_open(&hand->base, run, done, er_hands_mouth(!is_system), h->clock)) {
        er_free(hand);
        return NULL;
    }
    hand->hands = h;
    hand->handler = *handler;
    hand->begun = -1;
    hand->given_at = er_hands_now(h);
    hand->timeout_for = read_span(run, "timeout_s");
    hand->heartbeat_for = read_span(run, "heartbeat_s");
    hand->grace_for = read_span(run, "grace_s");
    hand->expected_for = read_span(run, "expected_s");
    er_lock_init(&hand->writing);
    er_buf_init(&hand->tail, 0);
    er_buf_init(&hand->error, 0);
    TAILQ_INSERT_TAIL(&h->all, hand, in_all);
    h->n_all++;
    HASH_ADD(hh, h->by_task, base.task, sizeof hand->base.task, hand);
    hand->is_known = true;
    er_hands_run_arm(hand);
    return hand;
}

struct er_hand *
er_hands_run_find(struct er_hands *h, er_task_id task)
{
    struct er_hand *hand;
    HASH_FIND(hh, h->by_task, &task, sizeof task, hand);
    return hand;
}

static void
forget(struct er_hand *hand)
{
    if (hand->is_known) {
        hand->is_known = false;
        HASH_DEL(hand->hands->by_task, hand);
    }
}

/* Nothing of it is used any more, but who it was. */
static void
close_hand(struct er_hand *hand)
{
    struct er_hands *h = hand->hands;
    forget(hand);
    if (hand->is_said) {
        TAILQ_REMOVE(&h->said, hand, in_said);
        hand->is_said = false;
    }
    er_heap_remove(&h->due, &hand->due_node);
    hand->is_over = true;
    er_hands_report_give_room(h, hand->notes_cost);
    er_buf_fini(&hand->notes);
    er_buf_fini(&hand->checkpoint);
    er_buf_fini(&hand->tail);
    er_buf_fini(&hand->error);
    er_hands_told_fini(&hand->told);
    er_free(hand->after);
    hand->after = NULL;
    er_outlog_close(&hand->log);
    er_lock_fini(&hand->writing);
    er_attempt_close(&hand->base);
}

void
er_hands_run_free(struct er_hand *hand)
{
    struct er_hands *h = hand->hands;
    if (!hand->is_over) {
        close_hand(hand);
    }
    TAILQ_REMOVE(&h->all, hand, in_all);
    h->n_all--;
    er_hands_pool_forget(hand);
    er_free(hand);
}

/* ---- progress ---- */

static struct er_progress *
progress_of(struct er_hand *hand)
{
    if (!hand->has_progress) {
        hand->has_progress = true;
        bool is_queued = er_hands_pool_state(hand) == ER_HAND_QUEUED;
        er_progress_init(&hand->progress, is_queued ? hand->given_at : hand->begin_at);
    }
    return &hand->progress;
}

static bool
is_known(const struct er_hand *hand)
{
    const struct er_progress *p = &hand->progress;
    return hand->has_progress && (p->source != ER_PROGRESS_NONE ||
                                  p->text_source != ER_PROGRESS_NONE || p->has_items);
}

static void
update(struct er_hand *hand, const struct er_progress_update *u)
{
    if (er_progress_update(progress_of(hand), u, er_hands_now(hand->hands)) == 1) {
        hand->news_progress = true;
    }
}

static void
add_progress(struct er_hand *hand, const char *checkpoint, struct er_buf *b)
{
    er_buf_addf(b, "{\"progress\":{\"task\":%lld,\"attempt\":%d,\"progress\":",
                (long long)hand->base.task, hand->base.number);
    if (is_known(hand)) {
        er_progress_encode(&hand->progress, er_hands_now(hand->hands), b);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_addf(b, ",\"checkpoint\":%s}}\n", checkpoint ? checkpoint : "null");
}

/* Items and checkpoint become facts. */
static void
collect_notes(struct er_hand *hand)
{
    struct errand_attempt *a = &hand->base;
    struct er_buf notes, checkpoint;
    char item[sizeof hand->last_item];
    er_lock_take(&a->lock);
    notes = hand->notes;
    checkpoint = hand->checkpoint;
    hand->notes = hand->checkpoint = (struct er_buf){0};
    size_t cost = hand->notes_cost;
    hand->notes_cost = 0;
    int64_t completed = hand->items_completed, failed = hand->items_failed;
    hand->items_completed = hand->items_failed = 0;
    memcpy(item, hand->last_item, notes.len ? sizeof item : 1);
    er_lock_give(&a->lock);
    for (int64_t i = 0; i < completed + failed; i++) {
        bool last = i + 1 == completed + failed;
        er_progress_add_item(progress_of(hand), last ? item : NULL, i >= completed);
        hand->news_progress = true;
    }
    if (notes.len > 0 || checkpoint.len > 0) {
        struct er_hands_chunk *c = er_hands_report_chunk(hand->hands);
        er_buf_add(&c->lines, notes.data ? notes.data : "", notes.len);
        c->notes_bytes += cost;
        if (checkpoint.len > 0) {
            add_progress(hand, checkpoint.data, &c->lines);
        }
    }
    er_buf_fini(&notes);
    er_buf_fini(&checkpoint);
}

/* What was said of progress and output becomes news. */
static void
take_samples(struct er_hand *hand)
{
    struct er_attempt_news n;
    hand->has_pending = false;
    if (er_attempt_take_news(&hand->base, &n)) {
        struct er_progress_update u = er_attempt_update(&n);
        update(hand, &u);
    }
    if (er_count_get(&hand->output_bytes) != hand->told_bytes) {
        hand->told_bytes = er_count_get(&hand->output_bytes);
        hand->news_output = true;
    }
}

static bool
may_say(const struct er_hand *hand)
{
    const struct er_hands *h = hand->hands;
    return hand->told_at == 0 || er_hands_now(h) >= hand->told_at + h->interval_for;
}

/* Into the next report, if there is news and the last was long enough ago. */
static void
list_samples(struct er_hand *hand)
{
    if (!may_say(hand)) {
        return;
    }
    if (hand->has_pending) {
        take_samples(hand);
    }
    if ((hand->news_progress || hand->news_output) && !hand->is_said) {
        hand->is_said = true;
        TAILQ_INSERT_TAIL(&hand->hands->said, hand, in_said);
    }
}

void
er_hands_run_say(struct er_hand *hand, struct er_buf *b)
{
    if (hand->news_progress) {
        add_progress(hand, NULL, b);
    }
    if (hand->news_output) {
        er_buf_addf(b, "{\"output\":{\"task\":%lld,\"attempt\":%d,\"bytes\":%lld}}\n",
                    (long long)hand->base.task, hand->base.number,
                    (long long)hand->told_bytes);
    }
    hand->news_progress = hand->news_output = false;
    hand->told_at = er_hands_now(hand->hands);
}

void
er_hands_run_stirred(struct er_hand *hand)
{
    if (hand->dropped) {
        return;
    }
    collect_notes(hand);
    hand->has_pending = true;
    list_samples(hand);
    er_hands_run_arm(hand);
}

void
er_hands_run_update(struct er_hand *hand, const struct er_progress_update *u)
{
    update(hand, u);
    er_hands_run_stirred(hand);
}

/* ---- its end ---- */

static void
add_why(struct er_hand *hand, struct er_buf *b)
{
    bool late = hand->why && (strcmp(hand->why, "timeout") == 0 ||
                              strcmp(hand->why, "heartbeat") == 0);
    if (hand->why &&
        (hand->end == ER_ATTEMPT_STOPPED || (late && hand->end == ER_ATTEMPT_FAILED))) {
        er_buf_addf(b, ",\"why\":\"%s\"", hand->why);
    }
    if (hand->why && hand->end == ER_ATTEMPT_STOPPED &&
        strcmp(hand->why, "timeout") == 0) {
        er_buf_add_str(b, ",\"error\":{\"class\":\"retryable\",\"code\":\"timeout\","
                          "\"message\":\"ran longer than ");
        er_duration_encode(hand->timeout_for, b);
        er_buf_add_str(b, "\"}");
    }
}

static void
add_warnings(const struct er_hand *hand, struct er_buf *b)
{
    const struct er_buf *told = &hand->told.warnings;
    const char *comma = "";
    if (!hand->has_complained && !hand->log_rc && told->len == 0) {
        return;
    }
    er_buf_add_str(b, ",\"warnings\":[");
    if (hand->has_complained) {
        er_buf_addf(
            b, "\"it was asked to stop (%s), and went on for longer than its grace\"",
            hand->why ? hand->why : "");
        comma = ",";
    }
    if (hand->log_rc) {
        er_buf_addf(b, "%s\"some of the output was lost: %s\"", comma,
                    er_error_meaning(hand->log_rc));
        comma = ",";
    }
    if (told->len > 0) {
        er_buf_add_str(b, comma);
        er_buf_add(b, told->data, told->len);
    }
    er_buf_add_char(b, ']');
}

static void
add_rest(struct er_hand *hand, struct er_buf *b)
{
    if (is_known(hand)) {
        er_usec now = er_hands_now(hand->hands);
        er_progress_finish(
            &hand->progress,
            hand->end == ER_ATTEMPT_COMPLETED && !er_hands_told_fails(hand), now);
        er_buf_add_str(b, ",\"progress\":");
        er_progress_encode(&hand->progress, now, b);
    }
    add_warnings(hand, b);
    if (er_count_get(&hand->output_bytes) > 0) {
        er_buf_addf(b, ",\"output_bytes\":%lld",
                    (long long)er_count_get(&hand->output_bytes));
    }
}

/* Adds the object of its finished line. */
static void
encode(struct er_hand *hand, struct er_buf *b)
{
    er_buf_addf(b, "{\"task\":%lld,\"attempt\":%d,\"spawned\":true",
                (long long)hand->base.task, hand->base.number);
    add_why(hand, b);
    if (hand->tail.failed || hand->error.failed) {
        er_buf_add_str(b,
                       ",\"error\":{\"class\":\"retryable\",\"code\":\"out-of-memory\","
                       "\"message\":\"no memory for its report\"}");
    } else {
        er_buf_add(b, hand->tail.data ? hand->tail.data : "", hand->tail.len);
        er_hands_told_add(hand, b);
    }
    add_rest(hand, b);
    er_buf_add_char(b, '}');
}

/* It outlives this process in the log, when there is one. */
static void
note_exit(struct er_hand *hand, const char *json, size_t n)
{
    char *copy = hand->log.base ? er_strndup(json, n) : NULL;
    if (copy && er_outlog_note(&hand->log, ER_OUTLOG_EXIT,
                               er_clock_wall(hand->hands->clock), copy) != 0) {
        er_handle_log(hand->hands->e, ERRAND_LOG_WARN,
                      "task %lld attempt %d: its end could not be written to its log",
                      (long long)hand->base.task, hand->base.number);
    }
    er_free(copy);
}

static void
add_to(struct er_hands_chunk *c, struct er_hand *hand)
{
    c->n_ends++;
    TAILQ_INSERT_TAIL(&c->ended, hand, in_incoming);
    close_hand(hand);
}

void
er_hands_run_ended(struct er_hand *hand)
{
    struct er_hands_chunk *c;
    if (hand->dropped) {
        er_hands_run_free(hand);
        return;
    }
    collect_notes(hand);
    take_samples(hand);
    er_hands_told_settle(hand);
    c = er_hands_report_chunk(hand->hands);
    if (hand->news_progress) { /* the last progress arrives before the final event */
        add_progress(hand, NULL, &c->lines);
    }
    er_buf_add_str(&c->lines, "{\"finished\":");
    size_t at = c->lines.len;
    encode(hand, &c->lines);
    if (!c->lines.failed) {
        note_exit(hand, c->lines.data + at, c->lines.len - at);
    }
    er_buf_add_str(&c->lines, "}\n");
    add_to(c, hand);
}

/* It was never begun. */
static void
give_back(struct er_hand *hand, const char *why)
{
    struct er_hands_chunk *c = er_hands_report_chunk(hand->hands);
    er_buf_addf(&c->lines,
                "{\"finished\":{\"task\":%lld,\"attempt\":%d,\"spawned\":false,"
                "\"why\":\"%s\"}}\n",
                (long long)hand->base.task, hand->base.number, why);
    add_to(c, hand);
}

static const struct {
    const char *word;
    enum errand_stop stop;
} whys[] = {{"cancel", ERRAND_STOP_CANCEL},
            {"pause", ERRAND_STOP_PAUSE},
            {"timeout", ERRAND_STOP_TIMEOUT},
            {"heartbeat", ERRAND_STOP_TIMEOUT},
            {"requeue", ERRAND_STOP_SHUTDOWN}};

/* Wakes those of its threads that wait for room, or sleep by another clock. */
static void
ask_stop(struct er_hand *hand, enum errand_stop why)
{
    er_attempt_ask_stop(&hand->base, why);
    er_lock_take(&hand->hands->room);
    er_lock_wake(&hand->hands->room);
    er_lock_give(&hand->hands->room);
}

void
er_hands_run_stop(struct er_hand *hand, const char *why, er_usec grace_for)
{
    size_t i = 0;
    while (i + 1 < sizeof whys / sizeof *whys && strcmp(whys[i].word, why) != 0) {
        i++; /* the last is the default */
    }
    if (hand->is_over || hand->dropped || hand->why) {
        return;
    }
    if (er_hands_pool_take_out(hand)) {
        give_back(hand, whys[i].word);
        return;
    }
    hand->why = whys[i].word;
    hand->complain_at = er_hands_now(hand->hands) + grace_for;
    ask_stop(hand, whys[i].stop);
    er_hands_run_arm(hand);
}

void
er_hands_run_drop(struct er_hand *hand)
{
    if (hand->is_over || hand->dropped) {
        return;
    }
    hand->dropped = true;
    forget(hand);
    if (er_hands_pool_take_out(hand)) {
        er_hands_run_free(hand);
        return;
    }
    if (hand->is_said) {
        TAILQ_REMOVE(&hand->hands->said, hand, in_said);
        hand->is_said = false;
    }
    er_heap_remove(&hand->hands->due, &hand->due_node);
    ask_stop(hand, ERRAND_STOP_LOST);
}

/* ---- its clocks ---- */

static void
tell_started(struct er_hand *hand)
{
    char at[ER_RFC3339_SIZE];
    struct er_hands_chunk *c = er_hands_report_chunk(hand->hands);
    er_time_format(hand->started_at, at);
    er_buf_addf(&c->lines,
                "{\"started\":{\"task\":%lld,\"attempt\":%d,\"pid\":%d,"
                "\"started_at\":\"%s\"}}\n",
                (long long)hand->base.task, hand->base.number, (int)getpid(), at);
    hand->told_started = true;
}

static void
complain(struct er_hand *hand)
{
    hand->complain_at = 0;
    hand->has_complained = true;
    er_handle_log(hand->hands->e, ERRAND_LOG_WARN,
                  "task %lld (%s): its handler was asked to stop (%s) and has not within "
                  "its grace; it cannot be killed, and keeps its thread",
                  (long long)hand->base.task, hand->base.type, hand->why);
}

static bool
is_estimated(const struct er_hand *hand)
{
    return hand->expected_for > 0 && hand->told_started &&
           (!hand->has_progress || hand->progress.source <= ER_PROGRESS_ESTIMATE);
}

static void
estimate(struct er_hand *hand, er_usec now)
{
    struct er_progress_update u = {
        .source = ER_PROGRESS_ESTIMATE,
        .has_percent = true,
        .percent = er_progress_estimate(now - hand->begin_at, hand->expected_for),
    };
    update(hand, &u);
}

static er_usec
silent_till(const struct er_hand *hand)
{
    er_usec alive_at = er_count_get(&hand->base.alive_at);
    return (alive_at > hand->begin_at ? alive_at : hand->begin_at) + hand->heartbeat_for;
}

static void
look_at_clocks(struct er_hand *hand, er_usec now)
{
    if (hand->why) {
        if (hand->complain_at && now >= hand->complain_at) {
            complain(hand);
        }
    } else if (hand->timeout_for && now >= hand->begin_at + hand->timeout_for) {
        er_hands_run_stop(hand, "timeout", hand->grace_for);
    } else if (hand->heartbeat_for && now >= silent_till(hand)) {
        er_hands_run_stop(hand, "heartbeat", hand->grace_for);
    }
}

void
er_hands_run_due(struct er_hand *hand)
{
    struct er_hands *h = hand->hands;
    er_usec now = er_hands_now(h);
    enum er_hand_state s = er_hands_pool_state(hand);
    if (s == ER_HAND_QUEUED && !h->is_inline && now >= hand->given_at + BACK_AFTER &&
        er_hands_pool_take_out(hand)) {
        give_back(hand, "requeue");
        return;
    }
    if (s == ER_HAND_RUNNING) {
        if (!hand->told_started) {
            tell_started(hand);
        }
        look_at_clocks(hand, now);
        if (is_estimated(hand)) {
            estimate(hand, now);
        }
        list_samples(hand);
    }
    er_hands_run_arm(hand);
}

static er_usec
sooner(er_usec a, er_usec b)
{
    return a < b ? a : b;
}

/* When it is to be looked at next: first whether it has begun at all. */
static er_usec
next_due(const struct er_hand *hand, er_usec now)
{
    const struct er_hands *h = hand->hands;
    er_usec at = ER_NEVER;
    if (!hand->told_started) {
        er_usec first = hand->given_at + TELL_AFTER, back = hand->given_at + BACK_AFTER;
        return first > now ? first : back > now ? back : now + BACK_AFTER;
    }
    if (hand->why) {
        at = hand->complain_at ? hand->complain_at : ER_NEVER;
    } else {
        at = hand->timeout_for ? sooner(at, hand->begin_at + hand->timeout_for) : at;
        at = hand->heartbeat_for ? sooner(at, silent_till(hand)) : at;
    }
    if (is_estimated(hand)) {
        at = sooner(at, now + ESTIMATE_EACH);
    }
    if (hand->has_pending || hand->news_progress || hand->news_output) {
        at = hand->is_said ? at : sooner(at, hand->told_at + h->interval_for);
    }
    return at;
}

void
er_hands_run_arm(struct er_hand *hand)
{
    struct er_hands *h = hand->hands;
    if (hand->is_over || hand->dropped) {
        return;
    }
    hand->due_at = next_due(hand, er_hands_now(h));
    if (hand->due_node.pos > 0) {
        er_heap_move(&h->due, &hand->due_node);
    } else if (er_heap_push(&h->due, &hand->due_node) != 0) {
        er_handle_log(h->e, ERRAND_LOG_WARN, "task %lld: no memory to watch its clocks",
                      (long long)hand->base.task);
    }
}
