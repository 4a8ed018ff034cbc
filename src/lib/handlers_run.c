/* SPDX-License-Identifier: MIT */
/* One attempt in this process, as the loop sees it.
 *
 * Happy path: made of its run line, queued; when its handler has returned the loop adds
 * what it knows to the finished line, and it is freed when the report is answered. Items
 * and checkpoints are collected at once, samples of progress and output at most each 100
 * ms, the last one with the end.
 *
 * Failure modes: no thread within 100 ms: given back; its time is over, or it is silent:
 * asked to stop, and waited for; no memory for the end: it failed for that. */
#include "lib/handlers_priv.h"

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

struct er_handler_attempt *
er_handlers_run_new(struct er_handlers *h, json_t *run, char *done,
                    const struct er_handler *handler)
{
    bool is_system = h->clock == er_clock_system();
    struct er_handler_attempt *attempt = er_xzalloc(sizeof *attempt);
    if (er_attempt_open(&attempt->base, run, done, er_handlers_mouth(!is_system),
                        h->clock)) {
        er_free(attempt);
        return NULL;
    }
    attempt->handlers = h;
    attempt->handler = *handler;
    attempt->begun = -1;
    attempt->given_at = er_handlers_now(h);
    attempt->timeout_for = read_span(run, "timeout_s");
    attempt->heartbeat_for = read_span(run, "heartbeat_s");
    attempt->grace_for = read_span(run, "grace_s");
    attempt->expected_for = read_span(run, "expected_s");
    er_lock_init(&attempt->writing);
    er_buf_init(&attempt->tail, 0);
    er_buf_init(&attempt->error, 0);
    TAILQ_INSERT_TAIL(&h->all, attempt, in_all);
    h->n_all++;
    HASH_ADD(hh, h->by_task, base.task, sizeof attempt->base.task, attempt);
    attempt->is_known = true;
    er_handlers_run_arm(attempt);
    return attempt;
}

struct er_handler_attempt *
er_handlers_run_find(struct er_handlers *h, er_task_id task)
{
    struct er_handler_attempt *attempt;
    HASH_FIND(hh, h->by_task, &task, sizeof task, attempt);
    return attempt;
}

static void
forget(struct er_handler_attempt *attempt)
{
    if (attempt->is_known) {
        attempt->is_known = false;
        HASH_DEL(attempt->handlers->by_task, attempt);
    }
}

/* Nothing of it is used any more, but who it was. */
static void
close_hand(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    forget(attempt);
    if (attempt->is_said) {
        TAILQ_REMOVE(&h->said, attempt, in_said);
        attempt->is_said = false;
    }
    er_heap_remove(&h->due, &attempt->due_node);
    attempt->is_over = true;
    er_handlers_report_give_room(h, attempt->notes_cost);
    er_buf_fini(&attempt->notes);
    er_buf_fini(&attempt->checkpoint);
    er_buf_fini(&attempt->tail);
    er_buf_fini(&attempt->error);
    er_handlers_told_fini(&attempt->told);
    er_free(attempt->after);
    attempt->after = NULL;
    er_outlog_close(&attempt->log);
    er_lock_fini(&attempt->writing);
    er_attempt_close(&attempt->base);
}

void
er_handlers_run_free(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    if (!attempt->is_over) {
        close_hand(attempt);
    }
    TAILQ_REMOVE(&h->all, attempt, in_all);
    h->n_all--;
    er_handlers_pool_forget(attempt);
    er_free(attempt);
}

/* ---- progress ---- */

static struct er_progress *
progress_of(struct er_handler_attempt *attempt)
{
    if (!attempt->has_progress) {
        attempt->has_progress = true;
        bool is_queued = er_handlers_pool_state(attempt) == ER_HANDLERS_QUEUED;
        er_progress_init(&attempt->progress,
                         is_queued ? attempt->given_at : attempt->begin_at);
    }
    return &attempt->progress;
}

static bool
is_known(const struct er_handler_attempt *attempt)
{
    const struct er_progress *p = &attempt->progress;
    return attempt->has_progress && (p->source != ER_PROGRESS_NONE ||
                                     p->text_source != ER_PROGRESS_NONE || p->has_items);
}

static void
update(struct er_handler_attempt *attempt, const struct er_progress_update *u)
{
    if (er_progress_update(progress_of(attempt), u, er_handlers_now(attempt->handlers)) ==
        1) {
        attempt->news_progress = true;
    }
}

static void
add_progress(struct er_handler_attempt *attempt, const char *checkpoint, struct er_buf *b)
{
    er_buf_addf(b, "{\"progress\":{\"task\":%lld,\"attempt\":%d,\"progress\":",
                (long long)attempt->base.task, attempt->base.number);
    if (is_known(attempt)) {
        er_progress_encode(&attempt->progress, er_handlers_now(attempt->handlers), b);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_addf(b, ",\"checkpoint\":%s}}\n", checkpoint ? checkpoint : "null");
}

/* Items and checkpoint become facts. */
static void
collect_notes(struct er_handler_attempt *attempt)
{
    struct errand_attempt *a = &attempt->base;
    struct er_buf notes, checkpoint;
    char item[sizeof attempt->last_item];
    er_lock_take(&a->lock);
    notes = attempt->notes;
    checkpoint = attempt->checkpoint;
    attempt->notes = attempt->checkpoint = (struct er_buf){0};
    size_t cost = attempt->notes_cost;
    attempt->notes_cost = 0;
    int64_t completed = attempt->items_completed, failed = attempt->items_failed;
    attempt->items_completed = attempt->items_failed = 0;
    memcpy(item, attempt->last_item, notes.len ? sizeof item : 1);
    er_lock_give(&a->lock);
    for (int64_t i = 0; i < completed + failed; i++) {
        bool last = i + 1 == completed + failed;
        er_progress_add_item(progress_of(attempt), last ? item : NULL, i >= completed);
        attempt->news_progress = true;
    }
    if (notes.len > 0 || checkpoint.len > 0) {
        struct er_handlers_chunk *c = er_handlers_report_chunk(attempt->handlers);
        er_buf_add(&c->lines, notes.data ? notes.data : "", notes.len);
        c->notes_bytes += cost;
        if (checkpoint.len > 0) {
            add_progress(attempt, checkpoint.data, &c->lines);
        }
    }
    er_buf_fini(&notes);
    er_buf_fini(&checkpoint);
}

/* What was said of progress and output becomes news. */
static void
take_samples(struct er_handler_attempt *attempt)
{
    struct er_attempt_news n;
    attempt->has_pending = false;
    if (er_attempt_take_news(&attempt->base, &n)) {
        struct er_progress_update u = er_attempt_update(&n);
        update(attempt, &u);
    }
    if (er_count_get(&attempt->output_bytes) != attempt->told_bytes) {
        attempt->told_bytes = er_count_get(&attempt->output_bytes);
        attempt->news_output = true;
    }
}

static bool
may_say(const struct er_handler_attempt *attempt)
{
    const struct er_handlers *h = attempt->handlers;
    return attempt->told_at == 0 ||
           er_handlers_now(h) >= attempt->told_at + h->interval_for;
}

/* Into the next report, if there is news and the last was long enough ago. */
static void
list_samples(struct er_handler_attempt *attempt)
{
    if (!may_say(attempt)) {
        return;
    }
    if (attempt->has_pending) {
        take_samples(attempt);
    }
    if ((attempt->news_progress || attempt->news_output) && !attempt->is_said) {
        attempt->is_said = true;
        TAILQ_INSERT_TAIL(&attempt->handlers->said, attempt, in_said);
    }
}

void
er_handlers_run_say(struct er_handler_attempt *attempt, struct er_buf *b)
{
    if (attempt->news_progress) {
        add_progress(attempt, NULL, b);
    }
    if (attempt->news_output) {
        er_buf_addf(b, "{\"output\":{\"task\":%lld,\"attempt\":%d,\"bytes\":%lld}}\n",
                    (long long)attempt->base.task, attempt->base.number,
                    (long long)attempt->told_bytes);
    }
    attempt->news_progress = attempt->news_output = false;
    attempt->told_at = er_handlers_now(attempt->handlers);
}

static void
tell_started(struct er_handler_attempt *attempt)
{
    char at[ER_RFC3339_SIZE];
    struct er_handlers_chunk *c = er_handlers_report_chunk(attempt->handlers);
    er_time_format(attempt->started_at, at);
    er_buf_addf(&c->lines,
                "{\"started\":{\"task\":%lld,\"attempt\":%d,\"pid\":%d,"
                "\"started_at\":\"%s\"%s}}\n",
                (long long)attempt->base.task, attempt->base.number, (int)getpid(), at,
                attempt->has_complained ? ",\"late\":true" : "");
    attempt->told_started = true;
}

void
er_handlers_run_stirred(struct er_handler_attempt *attempt)
{
    if (attempt->dropped) {
        return;
    }
    bool may_stand = attempt->handlers->clock != er_clock_system();
    if (may_stand && !attempt->told_started &&
        er_handlers_pool_state(attempt) == ER_HANDLERS_RUNNING) {
        tell_started(attempt); /* its time to be told might never come */
    }
    collect_notes(attempt);
    attempt->has_pending = true;
    list_samples(attempt);
    er_handlers_run_arm(attempt);
}

void
er_handlers_run_update(struct er_handler_attempt *attempt,
                       const struct er_progress_update *u)
{
    update(attempt, u);
    er_handlers_run_stirred(attempt);
}

/* ---- its end ---- */

static void
add_why(struct er_handler_attempt *attempt, struct er_buf *b)
{
    bool late = attempt->why && (strcmp(attempt->why, "timeout") == 0 ||
                                 strcmp(attempt->why, "heartbeat") == 0);
    if (attempt->why && (attempt->end == ER_ATTEMPT_STOPPED ||
                         (late && attempt->end == ER_ATTEMPT_FAILED))) {
        er_buf_addf(b, ",\"why\":\"%s\"", attempt->why);
    }
    if (attempt->why && attempt->end == ER_ATTEMPT_STOPPED &&
        strcmp(attempt->why, "timeout") == 0) {
        er_buf_add_str(b, ",\"error\":{\"class\":\"retryable\",\"code\":\"timeout\","
                          "\"message\":\"ran longer than ");
        er_duration_encode(attempt->timeout_for, b);
        er_buf_add_str(b, "\"}");
    }
}

static void
add_warnings(const struct er_handler_attempt *attempt, struct er_buf *b)
{
    const struct er_buf *told = &attempt->told.warnings;
    const char *comma = "";
    if (!attempt->has_complained && !attempt->log_rc && told->len == 0) {
        return;
    }
    er_buf_add_str(b, ",\"warnings\":[");
    if (attempt->has_complained) {
        er_buf_addf(
            b, "\"it was asked to stop (%s), and went on for longer than its grace\"",
            attempt->why ? attempt->why : "");
        comma = ",";
    }
    if (attempt->log_rc) {
        er_buf_addf(b, "%s\"some of the output was lost: %s\"", comma,
                    er_error_meaning(attempt->log_rc));
        comma = ",";
    }
    if (told->len > 0) {
        er_buf_add_str(b, comma);
        er_buf_add(b, told->data, told->len);
    }
    er_buf_add_char(b, ']');
}

static void
add_rest(struct er_handler_attempt *attempt, struct er_buf *b)
{
    if (is_known(attempt)) {
        er_usec now = er_handlers_now(attempt->handlers);
        er_progress_finish(&attempt->progress,
                           attempt->end == ER_ATTEMPT_COMPLETED &&
                               !er_handlers_told_fails(attempt),
                           now);
        er_buf_add_str(b, ",\"progress\":");
        er_progress_encode(&attempt->progress, now, b);
    }
    add_warnings(attempt, b);
    if (er_count_get(&attempt->output_bytes) > 0) {
        er_buf_addf(b, ",\"output_bytes\":%lld",
                    (long long)er_count_get(&attempt->output_bytes));
    }
}

/* Adds the object of its finished line. */
static void
encode(struct er_handler_attempt *attempt, struct er_buf *b)
{
    er_buf_addf(b, "{\"task\":%lld,\"attempt\":%d,\"spawned\":true",
                (long long)attempt->base.task, attempt->base.number);
    add_why(attempt, b);
    if (attempt->tail.failed || attempt->error.failed) {
        er_buf_add_str(b,
                       ",\"error\":{\"class\":\"retryable\",\"code\":\"out-of-memory\","
                       "\"message\":\"no memory for its report\"}");
    } else {
        er_buf_add(b, attempt->tail.data ? attempt->tail.data : "", attempt->tail.len);
        er_handlers_told_add(attempt, b);
    }
    add_rest(attempt, b);
    er_buf_add_char(b, '}');
}

/* It outlives this process in the log, when there is one. */
static void
note_exit(struct er_handler_attempt *attempt, const char *json, size_t n)
{
    char *copy = attempt->log.base ? er_strndup(json, n) : NULL;
    if (copy && er_outlog_note(&attempt->log, ER_OUTLOG_EXIT,
                               er_clock_wall(attempt->handlers->clock), copy) != 0) {
        er_handle_log(attempt->handlers->e, ERRAND_LOG_WARN,
                      "task %lld attempt %d: its end could not be written to its log",
                      (long long)attempt->base.task, attempt->base.number);
    }
    er_free(copy);
}

static void
add_to(struct er_handlers_chunk *c, struct er_handler_attempt *attempt)
{
    c->n_ends++;
    TAILQ_INSERT_TAIL(&c->ended, attempt, in_incoming);
    close_hand(attempt);
}

void
er_handlers_run_ended(struct er_handler_attempt *attempt)
{
    struct er_handlers_chunk *c;
    if (attempt->dropped) {
        er_handlers_run_free(attempt);
        return;
    }
    collect_notes(attempt);
    take_samples(attempt);
    er_handlers_told_settle(attempt);
    c = er_handlers_report_chunk(attempt->handlers);
    if (attempt->news_progress) { /* the last progress arrives before the final event */
        add_progress(attempt, NULL, &c->lines);
    }
    er_buf_add_str(&c->lines, "{\"finished\":");
    size_t at = c->lines.len;
    encode(attempt, &c->lines);
    if (!c->lines.failed) {
        note_exit(attempt, c->lines.data + at, c->lines.len - at);
    }
    er_buf_add_str(&c->lines, "}\n");
    add_to(c, attempt);
}

/* It was never begun. */
static void
give_back(struct er_handler_attempt *attempt, const char *why)
{
    struct er_handlers_chunk *c = er_handlers_report_chunk(attempt->handlers);
    er_buf_addf(&c->lines,
                "{\"finished\":{\"task\":%lld,\"attempt\":%d,\"spawned\":false,"
                "\"why\":\"%s\"}}\n",
                (long long)attempt->base.task, attempt->base.number, why);
    add_to(c, attempt);
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
ask_stop(struct er_handler_attempt *attempt, enum errand_stop why)
{
    er_attempt_ask_stop(&attempt->base, why);
    er_lock_take(&attempt->handlers->room);
    er_lock_wake(&attempt->handlers->room);
    er_lock_give(&attempt->handlers->room);
}

void
er_handlers_run_stop(struct er_handler_attempt *attempt, const char *why,
                     er_usec grace_for)
{
    size_t i = 0;
    while (i + 1 < sizeof whys / sizeof *whys && strcmp(whys[i].word, why) != 0) {
        i++; /* the last is the default */
    }
    if (attempt->is_over || attempt->dropped || attempt->why) {
        return;
    }
    if (er_handlers_pool_take_out(attempt)) {
        give_back(attempt, whys[i].word);
        return;
    }
    attempt->why = whys[i].word;
    attempt->complain_at = er_handlers_now(attempt->handlers) + grace_for;
    ask_stop(attempt, whys[i].stop);
    er_handlers_run_arm(attempt);
}

void
er_handlers_run_drop(struct er_handler_attempt *attempt)
{
    if (attempt->is_over || attempt->dropped) {
        return;
    }
    attempt->dropped = true;
    forget(attempt);
    if (er_handlers_pool_take_out(attempt)) {
        er_handlers_run_free(attempt);
        return;
    }
    if (attempt->is_said) {
        TAILQ_REMOVE(&attempt->handlers->said, attempt, in_said);
        attempt->is_said = false;
    }
    er_heap_remove(&attempt->handlers->due, &attempt->due_node);
    ask_stop(attempt, ERRAND_STOP_LOST);
}

/* ---- its clocks ---- */

static void
complain(struct er_handler_attempt *attempt)
{
    attempt->complain_at = 0;
    attempt->has_complained = true;
    tell_started(attempt); /* once more, as one that is late */
    er_handle_log(attempt->handlers->e, ERRAND_LOG_WARN,
                  "task %lld (%s): its handler was asked to stop (%s) and has not within "
                  "its grace; it cannot be killed, and keeps its thread",
                  (long long)attempt->base.task, attempt->base.type, attempt->why);
}

static bool
is_estimated(const struct er_handler_attempt *attempt)
{
    return attempt->expected_for > 0 && attempt->told_started &&
           (!attempt->has_progress || attempt->progress.source <= ER_PROGRESS_ESTIMATE);
}

static void
estimate(struct er_handler_attempt *attempt, er_usec now)
{
    struct er_progress_update u = {
        .source = ER_PROGRESS_ESTIMATE,
        .has_percent = true,
        .percent = er_progress_estimate(now - attempt->begin_at, attempt->expected_for),
    };
    update(attempt, &u);
}

static er_usec
silent_till(const struct er_handler_attempt *attempt)
{
    er_usec alive_at = er_count_get(&attempt->base.alive_at);
    return (alive_at > attempt->begin_at ? alive_at : attempt->begin_at) +
           attempt->heartbeat_for;
}

static void
look_at_clocks(struct er_handler_attempt *attempt, er_usec now)
{
    if (attempt->why) {
        if (attempt->complain_at && now >= attempt->complain_at) {
            complain(attempt);
        }
    } else if (attempt->timeout_for && now >= attempt->begin_at + attempt->timeout_for) {
        er_handlers_run_stop(attempt, "timeout", attempt->grace_for);
    } else if (attempt->heartbeat_for && now >= silent_till(attempt)) {
        er_handlers_run_stop(attempt, "heartbeat", attempt->grace_for);
    }
}

void
er_handlers_run_due(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    er_usec now = er_handlers_now(h);
    enum er_handler_attempt_state s = er_handlers_pool_state(attempt);
    if (s == ER_HANDLERS_QUEUED && !h->is_inline &&
        now >= attempt->given_at + BACK_AFTER && er_handlers_pool_take_out(attempt)) {
        give_back(attempt, "requeue");
        return;
    }
    if (s == ER_HANDLERS_RUNNING) {
        if (!attempt->told_started) {
            tell_started(attempt);
        }
        look_at_clocks(attempt, now);
        if (is_estimated(attempt)) {
            estimate(attempt, now);
        }
        list_samples(attempt);
    }
    er_handlers_run_arm(attempt);
}

static er_usec
sooner(er_usec a, er_usec b)
{
    return a < b ? a : b;
}

/* When it is to be looked at next: first whether it has begun at all. */
static er_usec
next_due(const struct er_handler_attempt *attempt, er_usec now)
{
    const struct er_handlers *h = attempt->handlers;
    er_usec at = ER_NEVER;
    if (!attempt->told_started) {
        er_usec first = attempt->given_at + TELL_AFTER,
                back = attempt->given_at + BACK_AFTER;
        return first > now ? first : back > now ? back : now + BACK_AFTER;
    }
    if (attempt->why) {
        at = attempt->complain_at ? attempt->complain_at : ER_NEVER;
    } else {
        at = attempt->timeout_for ? sooner(at, attempt->begin_at + attempt->timeout_for)
                                  : at;
        at = attempt->heartbeat_for ? sooner(at, silent_till(attempt)) : at;
    }
    if (is_estimated(attempt)) {
        at = sooner(at, now + ESTIMATE_EACH);
    }
    if (attempt->has_pending || attempt->news_progress || attempt->news_output) {
        at = attempt->is_said ? at : sooner(at, attempt->told_at + h->interval_for);
    }
    return at;
}

void
er_handlers_run_arm(struct er_handler_attempt *attempt)
{
    struct er_handlers *h = attempt->handlers;
    if (attempt->is_over || attempt->dropped) {
        return;
    }
    attempt->due_at = next_due(attempt, er_handlers_now(h));
    if (attempt->due_node.pos > 0) {
        er_heap_move(&h->due, &attempt->due_node);
    } else if (er_heap_push(&h->due, &attempt->due_node) != 0) {
        er_handle_log(h->e, ERRAND_LOG_WARN, "task %lld: no memory to watch its clocks",
                      (long long)attempt->base.task);
    }
}
