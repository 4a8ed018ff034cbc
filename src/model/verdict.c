/* SPDX-License-Identifier: MIT */
/* er_verdict: what was never spawned is given back. Of the rest `decide` makes what the
 * table says, in its order: put back, lost, overran, else `itself`, which reads error,
 * rate limit, exit code and items. Each case is one function that sets state, cost,
 * event and words, and holds what follows where a pause asked for it. A cancel then
 * replaces all that came out but `completed`.
 *
 * It cannot fail: an unknown class counts as retryable. It is called inside a
 * transaction, so it changes nothing but *out. */
#include "model/verdict.h"

#include <string.h>

#include "model/retry.h"

#include "base/mutant.h"

static const char RETRYABLE[] = "retryable";
static const char FATAL[] = "fatal";
static const char USER_ACTIONABLE[] = "user-actionable";

enum er_end_why
er_end_why_find(const char *word)
{
    static const char *const words[] = {
        [ER_END_CANCEL] = "cancel",
        [ER_END_REQUEUE] = "requeue",
        [ER_END_TIMEOUT] = "timeout",
        [ER_END_HEARTBEAT] = "heartbeat",
    };
    if (word && strcmp(word, "pause") == 0) {
        return ER_END_REQUEUE; /* of a handler: it was asked to stop, and goes back */
    }
    for (size_t i = ER_END_CANCEL; word && i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i]) == 0) {
            return (enum er_end_why)i;
        }
    }
    return ER_END_ITSELF;
}

/* ---- where it may go ---- */

static void
cancelled(struct er_verdict *v)
{
    v->state = ER_TASK_CANCELLED;
    v->outcome = ER_OUTCOME_CANCELLED;
    v->event = ER_EVENT_TASK_CANCELLED;
}

static void
put_back(const struct er_end *end, const char *outcome, const char *reason,
         struct er_verdict *v)
{
    v->state = ER_TASK_QUEUED;
    v->held = end->hold;
    v->outcome = outcome;
    v->event = end->hold ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_QUEUED;
    v->reason = end->hold ? "user" : reason;
}

static void
failed(struct er_verdict *v)
{
    v->state = ER_TASK_FAILED;
    v->event = ER_EVENT_TASK_FAILED;
}

/* The worker died; what was asked for meanwhile has been looked at. */
static void
lost(const struct er_end *end, struct er_verdict *v)
{
    enum er_on_lost then =
        er_retry_decide_lost(end->on_lost, end->losses + 1, end->max_losses);
    v->add_losses = 1;
    v->add_failures = ER_MUTANT(1);
    v->outcome = ER_OUTCOME_LOST;
    if (then == ER_ON_LOST_FAIL) {
        v->class = RETRYABLE;
        v->code = "worker-lost";
        v->action = "look into the daemon's log for why, then retry";
        failed(v);
        return;
    }
    struct er_end held = {.hold = then == ER_ON_LOST_HOLD};
    put_back(&held, ER_OUTCOME_LOST, "worker-lost", v);
    v->reason = "worker-lost";
}

static void
limited(const struct er_end *end, er_usec wait_for, er_usec now, struct er_verdict *v)
{
    v->state = ER_TASK_PAUSED;
    v->at = now < ER_NEVER - 1 - wait_for ? now + wait_for : ER_NEVER - 1;
    v->held = end->hold;
    v->outcome = ER_OUTCOME_LIMITED;
    v->event = ER_EVENT_TASK_PAUSED;
    v->reason = "rate-limit";
    v->class = RETRYABLE;
    v->code = "rate-limit";
    v->wait_for = wait_for;
}

static void
failure(const struct er_end *end, const char *class, const char *code, er_usec now,
        struct er_verdict *v)
{
    v->class = class;
    v->code = code;
    v->outcome = ER_OUTCOME_FAILED;
    v->add_failures = 1;
    struct er_retry_failure f = {.failures = end->failures + 1,
                                 .retries = end->retries,
                                 .backoff_for = end->backoff_for,
                                 .cap_for = end->backoff_cap,
                                 .error_class = class,
                                 .random = end->random};
    if (!er_retry_decide(&f, now, &v->at)) {
        failed(v);
        return;
    }
    v->state = ER_TASK_SCHEDULED;
    v->held = end->hold;
    v->event = ER_EVENT_TASK_RETRYING;
}

/* One of its clocks has run out; its worker may say more about it. */
static void
overran(const struct er_end *end, const char *code, er_usec now, struct er_verdict *v)
{
    failure(end, RETRYABLE, code, now, v);
    v->reported = end->error_code && strcmp(end->error_code, code) == 0;
}

/* ---- what it says ---- */

/* What somebody can do about a command that could not be started. */
static const struct spawn_fault {
    const char *code, *action;
} spawn_faults[] = {
    {"not-found", "install the command, or name it by its path or a PATH that has it"},
    {"not-executable", "make the command executable (chmod +x), or name what runs it"},
    {"no-cwd", "make the folder, or name another one with --cwd"},
    {"stdin-missing", "make the file, or name another one with --stdin"},
};

static const struct spawn_fault *
find_spawn_fault(const struct er_end *end)
{
    for (size_t i = 0; i < sizeof spawn_faults / sizeof *spawn_faults; i++) {
        if (!end->spawned && end->error_code &&
            strcmp(end->error_code, spawn_faults[i].code) == 0) {
            return &spawn_faults[i];
        }
    }
    return NULL;
}

static void
reported(const struct er_end *end, er_usec now, struct er_verdict *v)
{
    const struct spawn_fault *fault = find_spawn_fault(end);
    v->reported = true;
    if (fault) {
        v->action = fault->action;
        failure(end, USER_ACTIONABLE, fault->code, now, v);
        return;
    }
    int class = end->error_class ? er_retry_class_find(end->error_class) : -1;
    if (class == ER_RETRY_USER_ACTIONABLE) {
        v->action = "mend what the message names, then retry";
    }
    failure(end, er_retry_class_word(class < 0 ? ER_RETRY_RETRYABLE : class),
            end->error_code ? end->error_code : "reported", now, v);
}

/* It did its work, as far as its exit code knows; its items have a say. */
static void
worked(const struct er_end *end, er_usec now, struct er_verdict *v)
{
    int64_t n = end->items_completed + end->items_failed;
    if (end->items_failed > 0 && (double)end->items_completed * 100 <
                                     (double)end->type->success_percent * (double)n) {
        failure(end, RETRYABLE, "items-failed", now, v);
        return;
    }
    v->state = ER_TASK_COMPLETED;
    v->outcome = ER_OUTCOME_COMPLETED;
    v->event = ER_EVENT_TASK_COMPLETED;
    v->items_warning = end->items_failed > 0;
}

static void
exited(const struct er_end *end, er_usec now, struct er_verdict *v)
{
    switch (er_type_exit(end->type, end->exit_code)) {
    case ER_EXIT_COMPLETED:
        worked(end, now, v);
        return;
    case ER_EXIT_RATE_LIMIT:
        limited(end, end->type->rate_limit_for, now, v);
        return;
    case ER_EXIT_FATAL:
        failure(end, FATAL, "exit", now, v);
        return;
    case ER_EXIT_USER_ACTIONABLE:
        v->action = "see its output for what it asks for, then retry";
        failure(end, USER_ACTIONABLE, "exit", now, v);
        return;
    case ER_EXIT_DEFAULT:
    case ER_EXIT_RETRYABLE:
        break;
    }
    failure(end, RETRYABLE, "exit", now, v);
}

/* The end of one that nobody asked to end. */
static void
itself(const struct er_end *end, er_usec now, struct er_verdict *v)
{
    if (end->retry_after_for > 0) {
        limited(end, end->retry_after_for, now, v);
    } else if (end->has_error) {
        reported(end, now, v);
    } else if (end->signal) {
        failure(end, RETRYABLE, "signal", now, v);
    } else if (!end->has_exit_code) {
        failure(end, RETRYABLE, "exit", now, v);
    } else {
        exited(end, now, v);
    }
}

/* Cancel was not asked for. */
static void
decide(const struct er_end *end, er_usec now, struct er_verdict *v)
{
    if (end->why == ER_END_REQUEUE || (end->why == ER_END_LOST && end->requeue)) {
        put_back(end, ER_OUTCOME_REQUEUED, "requeue", v);
    } else if (end->why == ER_END_LOST) {
        lost(end, v);
    } else if (end->why == ER_END_TIMEOUT) {
        overran(end, "timeout", now, v);
    } else if (end->why == ER_END_HEARTBEAT) {
        overran(end, "heartbeat", now, v);
    } else {
        itself(end, now, v);
    }
}

void
er_verdict(const struct er_end *end, er_usec now, struct er_verdict *out)
{
    *out = (struct er_verdict){.at = ER_NEVER};
    bool cancel = end->cancel || end->why == ER_END_CANCEL;
    if (!end->spawned && !end->has_error && end->why != ER_END_LOST) {
        if (cancel) {
            cancelled(out);
        } else {
            put_back(end, ER_OUTCOME_REFUNDED, "refunded", out);
        }
        out->refund = true;
        return;
    }
    if (end->why != ER_END_CANCEL) {
        decide(end, now, out);
    }
    if (cancel && out->state != ER_TASK_COMPLETED) {
        *out = (struct er_verdict){
            .at = ER_NEVER, .add_losses = end->why == ER_END_LOST && !end->requeue};
        cancelled(out);
    }
}
