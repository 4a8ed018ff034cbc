/* SPDX-License-Identifier: MIT */
/* The loop of a process: a private libuv loop with three things the engine needs and that
 * a simulator can give in another way: letters from other threads, a hook at the end of
 * each turn (so that what one turn caused goes to the store together), and one alarm on
 * the wall clock. Loop thread, but for er_loop_post. */
#ifndef ER_ENGINE_LOOP_H
#define ER_ENGINE_LOOP_H

#include "base/clock.h"
#include "base/mailbox.h"

struct uv_loop_s;
struct er_loop;

/* A message to the loop: `deliver` is called on the loop's thread and owns it then. */
struct er_letter {
    struct er_mail mail;
    void (*deliver)(struct er_letter *letter);
};

int er_loop_new(struct er_loop **out, struct er_err *err) ER_MUSTCHECK;
/* A loop on virtual time: its alarm is no timer, but rings from inside
 * er_loop_ring_if_due (and at the end of a turn, when it was set to a moment that has
 * come already). Who moves the clock goes from moment to moment, so that things happen in
 * order:
 *
 *     while (er_loop_alarm_at(loop) <= target) {
 *         clock = max(clock, er_loop_alarm_at(loop));
 *         er_loop_ring_if_due(loop);
 *         run the uv loop until nothing is under way
 *     }
 *     clock = target;
 *
 * wall and boot of that clock move together. The clock outlives the loop. */
int er_loop_new_virtual(const struct er_clock *clock, struct er_loop **out,
                        struct er_err *err) ER_MUSTCHECK;
/* Rings (once) when the clock has reached what the alarm is set to, and returns whether
 * it did. Loops with a clock of their own only; loop thread. What follows from it happens
 * in the next turn, which does not sleep before. */
bool er_loop_ring_if_due(struct er_loop *loop);
/* What the alarm is set to (wall); ER_NEVER = it will not ring. Any kind of loop. */
er_usec er_loop_alarm_at(const struct er_loop *loop);
void
er_loop_free(struct er_loop *loop); /* closes what is its own; the loop must be idle */
struct uv_loop_s *er_loop_uv(struct er_loop *loop);

/* Any thread. Letters arrive in the order posted by one thread. */
void er_loop_post(struct er_loop *loop, struct er_letter *letter);
/* `fn` is called at the end of each turn of the loop, before it sleeps. */
void er_loop_on_turn(struct er_loop *loop, void (*fn)(void *ctx), void *ctx);
/* Calls it now: for who turns the loop in pieces (uv_run without waiting) and will not
 * turn it again before something happens. */
void er_loop_settle(struct er_loop *loop);
/* `fn` is called when the wall clock has reached `at`, also after it was set (timerfd
 * with TFD_TIMER_CANCEL_ON_SET); one alarm a loop. With ER_NEVER, which is how it begins
 * once it was set, it rings when the clock is set only. */
void er_loop_on_alarm(struct er_loop *loop, void (*fn)(void *ctx), void *ctx);
void er_loop_set_alarm(struct er_loop *loop, er_usec wall_at);

/* A crew is a thread that works on what is posted to it. This one is handed all that was
 * posted since it last looked, in order, as a chain by `next`. */
struct er_crew;
typedef void er_crew_take_fn(void *ctx, struct er_mail *first);
int er_crew_start_taking(struct er_loop *loop, er_crew_take_fn *take, void *ctx,
                         struct er_crew **out) ER_MUSTCHECK;
/* From inside `take`: what was posted since, NULL when there is nothing. */
struct er_mail *er_crew_take_more(struct er_crew *crew);
void er_crew_post_mail(struct er_crew *crew, struct er_mail *mail);

/* And this one runs jobs one after the other and hands each back to the loop. */
struct er_job {
    struct er_letter letter;                           /* private while it is away */
    struct er_loop *loop;                              /* private */
    void (*run)(struct er_job *job, void *thread_ctx); /* on the thread */
    void (*done)(struct er_job *job);                  /* on the loop; owns it */
};
int er_crew_start(struct er_loop *loop, void *thread_ctx,
                  struct er_crew **out) ER_MUSTCHECK;
void er_crew_post(struct er_crew *crew, struct er_job *job);
/* Either kind: works off what was posted, ends the thread and frees the crew. Jobs that
 * are done by then arrive as letters still. */
void er_crew_stop(struct er_crew *crew);

#endif
