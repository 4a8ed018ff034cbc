/* SPDX-License-Identifier: MIT */
/* News hangs the sample into the next report, or, when the last was told just now, sets
 * a timer for it; more news meanwhile costs nothing. The report reads what is true when
 * it goes out. */
#include "work/sample.h"

#include "work/worker.h"

#define TICK_FIRST ER_USEC_PER_SEC
#define TICK_LAST  (10 * ER_USEC_PER_SEC)

static void
on_due(struct er_timer *t)
{
    struct er_usage_sampler *s = ER_CONTAINER(t, struct er_usage_sampler, timer);
    er_report_add_sample(&s->attempt->worker->report, s);
}

/* There is news: into the next report, or later when the last was just told. */
static void
mark(struct er_work_attempt *a)
{
    struct er_usage_sampler *s = &a->sample;
    struct er_worker *w = a->worker;
    if (s->listed || er_timer_is_on(&s->timer) || a->dropped) {
        return;
    }
    er_usec due = s->told_at + w->progress_interval;
    if (er_clock_mono(w->clock) >= due) {
        er_report_add_sample(&w->report, s);
    } else {
        er_timer_start(&w->timers, &s->timer, due, on_due);
    }
}

void
er_sample_progress(struct er_work_attempt *a)
{
    a->sample.has_progress = true;
    mark(a);
}

void
er_sample_output(struct er_work_attempt *a)
{
    a->sample.has_output = true;
    mark(a);
}

void
er_sample_update(struct er_work_attempt *a, const struct er_progress_update *u)
{
    if (er_progress_update(&a->progress, u, er_clock_mono(a->worker->clock)) == 1) {
        er_sample_progress(a);
    }
}

bool
er_sample_is_known(const struct er_progress *p)
{
    return p->source != ER_PROGRESS_NONE || p->text_source != ER_PROGRESS_NONE ||
           p->has_items;
}

static void
estimate(struct er_work_attempt *a)
{
    struct er_progress_update u = {
        .source = ER_PROGRESS_ESTIMATE,
        .has_percent = true,
        .percent = er_progress_estimate(er_clocks_active_for(a), a->expected_for),
    };
    er_sample_update(a, &u);
}

static void
on_tick(struct er_timer *t)
{
    struct er_usage_sampler *s = ER_CONTAINER(t, struct er_usage_sampler, tick);
    struct er_work_attempt *a = s->attempt;
    struct er_worker *w = a->worker;
    if (a->progress.source >= ER_PROGRESS_OUTPUT) {
        return;
    }
    er_probe_start(a);
    if (a->expected_for > 0) {
        estimate(a);
    }
    bool found = a->progress.source != ER_PROGRESS_NONE;
    er_usec now = er_clock_mono(w->clock);
    if (found || er_clocks_active_for(a) < 2 * TICK_FIRST) {
        s->tick_for = TICK_FIRST;
    } else if (s->tick_for < TICK_LAST) {
        s->tick_for = s->tick_for * 2 < TICK_LAST ? s->tick_for * 2 : TICK_LAST;
    }
    er_timer_start(&w->timers, &s->tick, now + s->tick_for, on_tick);
}

void
er_sample_start(struct er_work_attempt *a)
{
    struct er_usage_sampler *s = &a->sample;
    s->tick_for = TICK_FIRST;
    er_timer_start(&a->worker->timers, &s->tick, a->clocks.begin_at + TICK_FIRST,
                   on_tick);
}

void
er_sample_pause(struct er_work_attempt *a)
{
    er_progress_pause(&a->progress, er_clock_mono(a->worker->clock));
    er_timer_stop(&a->worker->timers, &a->sample.tick);
}

void
er_sample_resume(struct er_work_attempt *a)
{
    struct er_worker *w = a->worker;
    er_usec now = er_clock_mono(w->clock);
    er_progress_resume(&a->progress, now);
    er_timer_start(&w->timers, &a->sample.tick, now + a->sample.tick_for, on_tick);
}

void
er_sample_encode_progress(const struct er_work_attempt *a, const char *checkpoint,
                          struct er_buf *b)
{
    er_buf_addf(b, "{\"progress\":{\"task\":%lld,\"attempt\":%d,\"progress\":",
                (long long)a->task, a->attempt);
    if (er_sample_is_known(&a->progress)) {
        er_progress_encode(&a->progress, er_clock_mono(a->worker->clock), b);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_addf(b, ",\"checkpoint\":%s}}\n", checkpoint ? checkpoint : "null");
}

void
er_sample_encode(struct er_usage_sampler *s, struct er_buf *b)
{
    struct er_work_attempt *a = s->attempt;
    er_usec now = er_clock_mono(a->worker->clock);
    if (s->has_progress) {
        er_sample_encode_progress(a, NULL, b); /* the checkpoint goes with the notes */
    }
    if (s->has_output) {
        er_buf_addf(b, "{\"output\":{\"task\":%lld,\"attempt\":%d,\"bytes\":%llu}}\n",
                    (long long)a->task, a->attempt, (unsigned long long)a->log.bytes);
    }
    s->has_progress = false;
    s->has_output = false;
    s->told_at = now;
}

void
er_sample_stop(struct er_work_attempt *a)
{
    er_timer_stop(&a->worker->timers, &a->sample.timer);
    er_timer_stop(&a->worker->timers, &a->sample.tick);
}
