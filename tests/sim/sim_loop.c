/* SPDX-License-Identifier: MIT */
/* The loop and the crews of the simulator: boxes of mail. Nothing happens in them by
 * itself; the driver says when a crew works and when a letter is delivered. Letters of
 * one crew keep their order, those of two may overtake each other. */
#include "engine/loop.h"

#include "base/mem.h"
#include "sim.h"

#define MAX_CREWS 4

struct box {
    struct er_mail *first, **last;
};
struct er_crew {
    struct er_loop *loop;
    struct box inbox;
    struct box letters; /* what it has sent to the loop */
    er_crew_take_fn *take;
    void *ctx, *job_ctx;
    bool stopped; /* stays until its letters are delivered */
};
struct er_loop {
    struct er_crew *crews[MAX_CREWS];
    size_t n_crews;
    struct er_crew *working; /* whose thread we are on; NULL = the loop's */
    struct box own;          /* letters that the loop posts to itself */
    void (*on_turn)(void *ctx);
    void *turn_ctx;
    void (*on_alarm)(void *ctx);
    void *alarm_ctx;
    er_usec alarm_at;
    bool armed; /* it was set once: from then on it tells when the clock is set */
};

static void
put(struct box *b, struct er_mail *mail)
{
    mail->next = NULL;
    if (!b->first) {
        b->last = &b->first;
    }
    *b->last = mail;
    b->last = &mail->next;
}

int
er_loop_new(struct er_loop **out, struct er_err *err)
{
    (void)err;
    *out = er_xzalloc(sizeof **out);
    (*out)->alarm_at = ER_NEVER;
    return 0;
}

void
er_loop_free(struct er_loop *loop)
{
    while (sim_loop_letters(loop) > 0) {
        sim_loop_deliver(loop);
    }
    for (size_t i = 0; i < loop->n_crews; i++) {
        ER_ASSERT(loop->crews[i]->stopped);
        er_free(loop->crews[i]);
    }
    er_free(loop);
}

void
er_loop_post(struct er_loop *loop, struct er_letter *letter)
{
    put(loop->working ? &loop->working->letters : &loop->own, &letter->mail);
}

void
er_loop_on_turn(struct er_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    loop->on_turn = fn;
    loop->turn_ctx = ctx;
}

void
er_loop_on_alarm(struct er_loop *loop, void (*fn)(void *ctx), void *ctx)
{
    loop->on_alarm = fn;
    loop->alarm_ctx = ctx;
}

void
er_loop_set_alarm(struct er_loop *loop, er_usec wall_at)
{
    loop->alarm_at = wall_at;
    loop->armed = true;
}

/* ---- crews ---- */

int
er_crew_start_taking(struct er_loop *loop, er_crew_take_fn *take, void *ctx,
                     struct er_crew **out)
{
    ER_ASSERT(loop->n_crews < MAX_CREWS);
    struct er_crew *crew = er_xzalloc(sizeof *crew);
    crew->loop = loop;
    crew->take = take;
    crew->ctx = ctx;
    loop->crews[loop->n_crews++] = crew;
    *out = crew;
    return 0;
}

static void
deliver_job(struct er_letter *letter)
{
    struct er_job *job = (struct er_job *)(void *)letter;
    job->done(job);
}

static void
take_jobs(void *ctx, struct er_mail *mail)
{
    struct er_crew *crew = ctx;
    while (mail) {
        struct er_mail *next = mail->next;
        struct er_job *job = (struct er_job *)(void *)mail;
        job->run(job, crew->job_ctx);
        job->letter.deliver = deliver_job;
        er_loop_post(job->loop, &job->letter);
        mail = next;
    }
}

int
er_crew_start(struct er_loop *loop, void *thread_ctx, struct er_crew **out)
{
    int rc = er_crew_start_taking(loop, take_jobs, NULL, out);
    if (rc == 0) {
        (*out)->ctx = *out;
        (*out)->job_ctx = thread_ctx;
    }
    return rc;
}

void
er_crew_post_mail(struct er_crew *crew, struct er_mail *mail)
{
    ER_ASSERT(!crew->stopped);
    put(&crew->inbox, mail);
}

void
er_crew_post(struct er_crew *crew, struct er_job *job)
{
    job->loop = crew->loop;
    er_crew_post_mail(crew, &job->letter.mail);
}

/* One mail: as if the others had come just after. */
struct er_mail *
er_crew_take_more(struct er_crew *crew)
{
    struct er_mail *mail = crew->inbox.first;
    if (mail) {
        crew->inbox.first = mail->next;
        mail->next = NULL;
    }
    return mail;
}

static void
work(struct er_crew *crew)
{
    struct er_mail *mail = crew->inbox.first;
    if (crew->take == take_jobs) {
        crew->inbox.first = NULL;
    } else {
        mail = er_crew_take_more(crew); /* who takes asks for more */
    }
    crew->loop->working = crew;
    crew->take(crew->ctx, mail);
    crew->loop->working = NULL;
}

void
er_crew_stop(struct er_crew *crew)
{
    if (crew) {
        while (crew->inbox.first) {
            work(crew);
        }
        crew->stopped = true;
    }
}

/* ---- for the driver ---- */

size_t
sim_loop_letters(const struct er_loop *loop)
{
    size_t n = loop->own.first ? 1 : 0;
    for (size_t i = 0; i < loop->n_crews; i++) {
        n += loop->crews[i]->letters.first ? 1 : 0;
    }
    return n;
}

void
sim_loop_deliver(struct er_loop *loop)
{
    size_t pick = rnd(sim_loop_letters(loop));
    struct box *b = NULL;
    for (size_t i = 0; !b; i++) { /* i = 0: the loop's own */
        struct box *at = i ? &loop->crews[i - 1]->letters : &loop->own;
        if (at->first && pick-- == 0) {
            b = at;
        }
    }
    struct er_letter *letter = (struct er_letter *)(void *)b->first;
    b->first = b->first->next;
    letter->deliver(letter);
}

void
sim_loop_end_turn(struct er_loop *loop)
{
    if (loop->on_turn) {
        loop->on_turn(loop->turn_ctx);
    }
}

er_usec
sim_loop_alarm(const struct er_loop *loop)
{
    return loop->alarm_at;
}

void
sim_loop_ring(struct er_loop *loop)
{
    loop->alarm_at = ER_NEVER;
    if (loop->on_alarm) {
        loop->on_alarm(loop->alarm_ctx);
    }
}

void
sim_loop_clock_set(struct er_loop *loop)
{
    if (loop->armed) {
        sim_loop_ring(loop);
    }
}

size_t
sim_loop_busy_crews(const struct er_loop *loop)
{
    size_t n = 0;
    for (size_t i = 0; i < loop->n_crews; i++) {
        n += loop->crews[i]->inbox.first ? 1 : 0;
    }
    return n;
}

void
sim_loop_run_crew(struct er_loop *loop)
{
    size_t pick = rnd(sim_loop_busy_crews(loop));
    for (size_t i = 0; i < loop->n_crews; i++) {
        if (loop->crews[i]->inbox.first && pick-- == 0) {
            work(loop->crews[i]);
            return;
        }
    }
}
