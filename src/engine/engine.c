/* SPDX-License-Identifier: MIT */
/* The engine's opening, its threads, and what does not belong to one of its subjects. */
#include "engine/engine.h"

#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "engine/engine_priv.h"
#include "wire/outlog.h"

/* A crossing was committed: what became true is taken in before anybody is answered. */
static void
on_effects(void *ctx, struct er_effects *fx)
{
    struct er_engine *e = ctx;
    e->stats.commits++;
    e->heard = fx->ready_total;
    if (fx->written) { /* a crossing that has only looked says nothing of the disk */
        er_schedule_well(e);
    }
    er_lanes_news(e, fx);
    er_schedule_due(e, fx->next_due);
    er_observe_publish(e, fx->facts, fx->n_facts);
    er_arena_free(&fx->arena);
}

/* ---- opening ---- */

static void
load_sessions(struct er_engine *e, const struct er_store_state *st)
{
    for (size_t i = 0; i < st->n_sessions; i++) {
        (void)er_dispatch_add(e, &st->sessions[i]);
    }
    for (size_t i = 0; i < st->n_running; i++) {
        const struct er_task *t = &st->running[i];
        struct er_session_live *s;
        struct er_lane_live *lane = er_lanes_find(e, t->lane);
        HASH_FIND(hh, e->sessions, &t->session, sizeof t->session, s);
        ER_ASSERT(s && lane);
        struct er_live_attempt *run = er_live_attempt_new(e, s, lane, t->id);
        run->ready = (struct er_ready){
            .id = t->id, .lane = t->lane, .rank = t->rank, .cost = t->cost};
        run->phase = ER_LIVE_HELD;
        run->loaded = true;
        er_live_attempt_fill(run, t);
        er_pause_load(e, run, t);
        run->progress = er_xstrdup(t->progress_json);
        run->progress_at = run->paused ? 0 : er_clock_mono(e->options.clock);
        run->checkpoint = er_xstrdup(t->checkpoint_json);
        er_lanes_retake(e, lane);
    }
}

static void
load(struct er_engine *e, const struct er_store_state *st)
{
    er_limits_load(e, st);
    for (size_t i = 0; i < st->n_lanes; i++) {
        (void)er_lanes_add(e, &st->lanes[i]);
    }
    load_sessions(e, st);
    e->next_due = ER_NEVER;
    e->clock_base = er_clock_wall(e->options.clock) - er_clock_boot(e->options.clock);
    e->last_seq = st->last_seq;
    e->first_seq = st->first_seq;
}

static int
start_threads(struct er_engine *e, struct er_err *err)
{
    struct er_loop *loop = e->options.loop;
    if (e->options.inline_store) {
        int code =
            er_ferry_start_inline(e->store, e->options.clock, on_effects, e, &e->ferry);
        return code ? er_fail(err, code, "out of memory") : 0;
    }
    int rc = er_ferry_start(loop, e->store, e->options.clock, on_effects, e, &e->ferry);
    if (rc == 0) {
        rc = er_crew_start(loop, e->reader, &e->read_crew);
    }
    if (rc == 0) {
        rc = er_crew_start(loop, NULL, &e->file_crew);
    }
    return rc ? er_fail(err, rc, "cannot start a thread") : 0;
}

int
er_engine_open(const struct er_engine_options *options, struct er_engine **out,
               struct er_err *err)
{
    struct er_engine *e = er_xzalloc(sizeof *e);
    struct er_arena arena = {0};
    struct er_store_state st;
    e->options = *options;
    e->logs = er_xstrdup(options->logs);
    er_rand_bytes(&e->rand, sizeof e->rand);
    er_lanes_init(e);
    TAILQ_INIT(&e->autopsies);
    e->autopsies_at = ER_NEVER;
    e->silence_at = ER_NEVER;
    TAILQ_INIT(&e->batches);
    int rc = er_store_open(options->store_path, &e->store, err);
    if (rc == 0) {
        er_store_set_ageing(e->store, options->ageing ? options->ageing : ER_AGEING);
        rc = er_store_reader_open(e->store, &e->reader, err);
    }
    if (rc == 0) {
        rc = er_store_load(e->store, &arena, &st);
        if (rc) {
            (void)er_fail(err, rc, "cannot read store '%s': %s", options->store_path,
                          er_error_meaning(rc));
        }
    }
    if (rc == 0) {
        load(e, &st);
        er_observe_init(e);
        rc = start_threads(e, err);
    }
    if (rc) {
        er_arena_free(&arena);
        er_ferry_stop(e->ferry);
        er_crew_stop(e->read_crew);
        er_crew_stop(e->file_crew);
        er_engine_free(e);
        return rc;
    }
    er_loop_on_turn(options->loop, er_schedule_turn, e);
    er_loop_on_alarm(options->loop, er_schedule_alarm, e);
    for (size_t i = 0; i < st.n_open_lanes; i++) {
        struct er_lane_live *lane = er_lanes_find(e, st.open_lanes[i]);
        lane->more = true;
        er_lanes_mark_more(e, lane);
    }
    er_schedule_due(e, st.next_due);
    er_schedule_rearm(e); /* also when nothing is due: the alarm tells of set clocks */
    er_ballast_start(e);
    er_arena_free(&arena);
    er_ferry_flush(e->ferry);
    *out = e;
    return 0;
}

static void
run_query(struct er_job *job, void *thread_ctx)
{
    struct er_query *q = (struct er_query *)(void *)job;
    q->run(q, thread_ctx);
}

static void
done_query(struct er_job *job)
{
    struct er_query *q = (struct er_query *)(void *)job;
    q->done(q);
}

/* A job waits for the end of the turn. */
static void
post_inline(struct er_engine *e, struct er_job *job)
{
    job->letter.mail.next = NULL;
    if (!e->jobs) {
        e->jobs_end = &e->jobs;
    }
    *e->jobs_end = &job->letter.mail;
    e->jobs_end = &job->letter.mail.next;
}

/* Runs what waits by now; false when nothing did. */
static bool
run_jobs(struct er_engine *e)
{
    struct er_mail *mail = e->jobs;
    bool any = mail != NULL;
    e->jobs = NULL;
    while (mail) {
        struct er_mail *next = mail->next;
        struct er_job *job = (struct er_job *)(void *)mail;
        job->run(job, job->run == run_query ? e->reader : NULL);
        job->done(job);
        mail = next;
    }
    return any;
}

bool
er_engine_turn_inline(struct er_engine *e)
{
    bool crossed = er_ferry_cross(e->ferry);
    return run_jobs(e) || crossed;
}

void
er_engine_stop(struct er_engine *e)
{
    er_schedule_post_later(e);
    e->stopping = true;
    er_loop_set_alarm(e->options.loop, ER_NEVER);
    er_ferry_stop(e->ferry);
    while (run_jobs(e)) {
        /* and what they have caused */
    }
    er_crew_stop(e->read_crew);
    er_crew_stop(e->file_crew);
    e->read_crew = e->file_crew = NULL;
}

static void
free_sessions(struct er_engine *e)
{
    struct er_live_attempt *run, *run_next;
    HASH_ITER (hh, e->runs, run, run_next) {
        er_live_attempt_free(e, run);
    }
    struct er_session_live *s, *next;
    HASH_ITER (hh, e->sessions, s, next) {
        er_dispatch_remove(e, s);
    }
}

void
er_engine_free(struct er_engine *e)
{
    er_loop_on_turn(e->options.loop, NULL, NULL);
    er_loop_on_alarm(e->options.loop, NULL, NULL);
    er_ferry_free(e->ferry);
    er_store_reader_close(e->reader);
    er_store_close(e->store);
    er_recover_fini(e);
    free_sessions(e);
    er_lanes_fini(e);
    er_limits_fini(e);
    er_observe_fini(e);
    er_free(e->ballast);
    er_free(e->logs);
    er_free(e);
}

/* ---- small things ---- */

void
er_engine_post(struct er_engine *e, struct er_op *op)
{
    er_ferry_post(e->ferry, op);
}

void
er_engine_query(struct er_engine *e, struct er_query *q)
{
    q->job.run = run_query;
    q->job.done = done_query;
    if (e->stopping) {
        q->rc = ER_ECLOSED;
        q->done(q);
        return;
    }
    if (e->options.inline_store) {
        post_inline(e, &q->job);
    } else {
        er_crew_post(e->read_crew, &q->job);
    }
}

void
er_engine_files(struct er_engine *e, struct er_job *job)
{
    if (!e->stopping && e->options.inline_store) {
        post_inline(e, job);
    } else if (!e->stopping) {
        er_crew_post(e->file_crew, job);
    }
}

const char *
er_engine_logs(const struct er_engine *e)
{
    return e->logs;
}

struct delete_job {
    struct er_job job;
    const char *logs;
    struct er_arena arena;
    const struct er_removed *removed;
    size_t n;
};

static void
run_delete(struct er_job *job, void *thread_ctx)
{
    (void)thread_ctx;
    struct delete_job *d = (struct delete_job *)(void *)job;
    for (size_t i = 0; i < d->n; i++) {
        for (int a = 1; a <= d->removed[i].attempts; a++) {
            er_outlog_delete(d->logs, d->removed[i].id, a);
        }
    }
}

static void
done_delete(struct er_job *job)
{
    struct delete_job *d = (struct delete_job *)(void *)job;
    er_arena_free(&d->arena);
    er_free(d);
}

void
er_engine_delete_logs(struct er_engine *e, struct er_arena *arena,
                      const struct er_removed *removed, size_t n)
{
    struct delete_job *d = er_xzalloc(sizeof *d);
    d->job.run = run_delete;
    d->job.done = done_delete;
    d->logs = e->logs;
    d->arena = *arena;
    d->removed = removed;
    d->n = n;
    *arena = (struct er_arena){0};
    if (e->stopping) {
        done_delete(&d->job);
    } else {
        er_engine_files(e, &d->job);
    }
}

bool
er_engine_live(const struct er_engine *e, er_task_id id, struct er_live *out)
{
    struct er_live_attempt *run = er_live_attempt_find(e, id);
    if (!run || run->phase == ER_LIVE_CLAIMING) {
        return false;
    }
    bool asked = run->requeue && run->stop_pause && !run->cancel;
    er_usec now = er_clock_mono(e->options.clock);
    *out = (struct er_live){.attempt = run->attempt,
                            .pid = run->pid,
                            .started_at = run->started_at,
                            .progress_json = run->progress,
                            .progress_for =
                                run->paused ? run->progress_at : now - run->progress_at,
                            .output_bytes = run->output_bytes,
                            .paused = run->paused,
                            .pausing = (run->want_pause && !run->paused) || asked,
                            .resuming = !run->want_pause && run->paused,
                            .asked = asked,
                            .handler = run->session->handlers,
                            .late = run->late,
                            .ending = run->phase == ER_LIVE_ENDING,
                            .worker = run->session->worker};
    return true;
}

int64_t
er_engine_last_seq(const struct er_engine *e)
{
    return e->last_seq;
}

const struct er_clock *
er_engine_clock(const struct er_engine *e)
{
    return e->options.clock;
}

void
er_engine_stats(const struct er_engine *e, struct er_engine_stats *out)
{
    *out = e->stats;
    out->subscribers = e->n_subs;
    out->running = HASH_COUNT(e->runs);
    out->lanes = HASH_COUNT(e->lanes);
    out->sessions = HASH_COUNT(e->sessions);
    out->disk_wanted = er_ballast_wanted();
    out->sick = e->sick || e->tight;
    out->sick_code = e->sick ? e->sick_code : ER_EDISKFULL;
    struct er_session_live *s, *next;
    HASH_ITER (hh, e->sessions, s, next) {
        out->has_worker =
            out->has_worker || (er_dispatch_is_connected(s) && !s->handlers);
    }
}
