/* SPDX-License-Identifier: MIT */
/* Workers that are there and do nothing: stopped (SIGSTOP), or stuck. Their process lives
 * and their link stands, so nothing else tells.
 *
 * Happy path: an order goes out -> a look is due in PING_AFTER; by then what it asked for
 * has been reported, and nothing more is looked at. Else the worker is pinged on the same
 * stream: when it answers it has read all that went before, however long that takes to be
 * done.
 * Failure modes: a report waits for a store that is slow or refuses: so does the answer,
 * and it is not the worker's fault. No answer within ANSWER_FOR: it is silent, which is
 * logged once and told (er_engine_silent); nothing is killed, and nothing is looked at
 * until it speaks. We may have been stopped ourselves, with its answer unread: a look
 * that comes late is made once more. When nothing was ordered there is no alarm. */
#include "engine/engine_priv.h"

#include "base/log.h"
#include "model/duration.h"

#define PING_AFTER (5 * ER_USEC_PER_SEC)
#define ANSWER_FOR (5 * ER_USEC_PER_SEC)
#define LATE       ER_USEC_PER_SEC

static void
look_in(struct er_engine *e, er_usec span_for)
{
    er_usec at = er_clock_wall(e->options.clock) + span_for;
    if (at < e->silence_at) {
        e->silence_at = at;
        er_schedule_rearm(e);
    }
}

void
er_silence_forget(struct er_session_live *s)
{
    s->asked_at = s->pinged_at = ER_NEVER;
    s->silent = false;
}

void
er_silence_asked(struct er_session_live *s)
{
    if (!s->pings || !s->link || s->engine->options.is_steady) {
        return; /* a test's clock says nothing about a process */
    }
    s->ordered_at = er_clock_mono(s->engine->options.clock);
    if (s->asked_at == ER_NEVER) {
        s->asked_at = s->ordered_at;
        look_in(s->engine, PING_AFTER);
    }
}

void
er_silence_heard(struct er_session_live *s)
{
    if (s->pinged_at != ER_NEVER && !s->silent) {
        s->pinged_at = er_clock_mono(s->engine->options.clock);
    }
}

void
er_silence_waits(struct er_engine *e, int64_t session, bool waits)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (s) {
        s->n_waits += waits ? 1 : -1;
    }
}

void
er_silence_answered(struct er_engine *e, int64_t session)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (!s || s->pinged_at == ER_NEVER) {
        return;
    }
    bool again = s->ordered_at > s->pinged_at;
    if (s->silent) {
        er_log(ER_LOG_INFO, "silence", "worker %s (pid %d) answers again", s->worker,
               s->pid);
    }
    er_silence_forget(s);
    if (again) {
        s->asked_at = s->ordered_at;
        look_in(e, PING_AFTER);
    }
}

/* Whether something was ordered that it has not said to have done. */
static bool
owes(const struct er_session_live *s)
{
    const struct er_live_attempt *run;
    TAILQ_FOREACH (run, &s->runs, in_session) {
        if (run->phase == ER_LIVE_HELD && run->told &&
            (run->started_at == ER_NEVER || run->cancel || run->requeue ||
             run->want_pause != run->paused)) {
            return true;
        }
    }
    return false;
}

er_usec
er_silence_for(const struct er_session_live *s)
{
    return s->silent ? er_clock_mono(s->engine->options.clock) - s->asked_at : 0;
}

static void
add_words(const struct er_session_live *s, struct er_buf *b)
{
    char since[ER_DURATION_SIZE];
    er_duration_format(er_silence_for(s) / ER_USEC_PER_SEC * ER_USEC_PER_SEC, since);
    er_buf_addf(
        b,
        "worker %s (pid %d) has not answered for %s (it may be stopped or stuck: "
        "'kill -CONT %d' lets a stopped one go on, 'kill -KILL %d' has another one "
        "take over what it runs)",
        s->worker, s->pid, since, s->pid, s->pid);
}

static void
fall_silent(struct er_session_live *s)
{
    struct er_buf b;
    const struct er_live_attempt *run;
    s->silent = true;
    er_buf_init(&b, 0);
    add_words(s, &b);
    er_log(ER_LOG_WARN, "silence", "%s", b.data);
    er_buf_fini(&b);
    TAILQ_FOREACH (run, &s->runs, in_session) {
        er_observe_silence(s->engine, run->id);
    }
}

/* How long until it is to be looked at again; ER_NEVER = not before it is asked for
 * something, or answers. */
static er_usec
look_at(struct er_session_live *s, er_usec now)
{
    if (s->asked_at == ER_NEVER || s->silent || !s->link) {
        return ER_NEVER;
    }
    bool pinged = s->pinged_at != ER_NEVER;
    er_usec over_for =
        now - (pinged ? s->pinged_at + ANSWER_FOR : s->asked_at + PING_AFTER);
    if (over_for < 0) {
        return -over_for;
    }
    if (!pinged && !owes(s)) {
        er_silence_forget(s);
        return ER_NEVER;
    }
    if (!pinged) {
        er_buf_add_str(&s->link->out, "{\"ping\":{}}\n");
        s->link->wake(s->link);
        s->pinged_at = now;
        return ANSWER_FOR;
    }
    if (s->n_waits > 0 || s->engine->sick) {
        s->pinged_at = now;
        return ANSWER_FOR;
    }
    if (over_for > LATE) {
        s->pinged_at = now - ANSWER_FOR + LATE;
        return LATE;
    }
    fall_silent(s);
    return ER_NEVER;
}

void
er_silence_tick(struct er_engine *e)
{
    struct er_session_live *s, *next;
    if (e->silence_at > er_clock_wall(e->options.clock)) {
        return;
    }
    e->silence_at = ER_NEVER;
    er_usec now = er_clock_mono(e->options.clock);
    HASH_ITER (hh, e->sessions, s, next) {
        er_usec span_for = look_at(s, now);
        if (span_for != ER_NEVER) {
            look_in(e, span_for);
        }
    }
}

bool
er_engine_silent(const struct er_engine *e, er_task_id id, struct er_buf *b)
{
    struct er_session_live *s, *next;
    const struct er_live_attempt *run = id ? er_live_attempt_find(e, id) : NULL;
    HASH_ITER (hh, e->sessions, s, next) {
        if (s->silent && (id == 0 || (run && run->session == s))) {
            add_words(s, b);
            return true;
        }
    }
    return false;
}
