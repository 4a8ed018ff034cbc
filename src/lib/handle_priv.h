/* SPDX-License-Identifier: MIT */
/* The inside of a handle:
 *   handle.c        whose the loop is, waiting for it, turning it
 *   handle_life.c   opening and closing
 *   options.c       what errand_open was given */
#ifndef ER_LIB_HANDLE_PRIV_H
#define ER_LIB_HANDLE_PRIV_H

#include <uv.h>

#include "base/log.h"
#include "lib/handle.h"

enum er_handle_step { OPEN, CALLERS, HANDLERS, HOUSE, OVER };

struct er_wheels {
    struct errand *e;
    uv_async_t async;     /* the inbox has something */
    uv_prepare_t prepare; /* the end of the turn, before the engine's own */
    uv_idle_t idle;       /* runs while something is stirred: the loop does not sleep */
    uv_timer_t bounds;    /* runs while asks with a bound are under way */
    int outer, timer_fd;  /* ERRAND_TURN; -1 = none */
    er_usec armed_at;     /* mono; ER_NEVER = the timerfd is not set */
    /* ERRAND_TURN: the mark of the thread that has the loop now, so that no two have; 0 =
     * none. Changed under `gate`, for who closes to wait. */
    struct er_count inside;
    struct er_lock gate;
    int depth;       /* how often it has taken it */
    bool turning;    /* blocking functions are refused on the loop's thread */
    bool is_running; /* within uv_run */
    bool has_thread;
    struct er_count is_closed; /* the inbox: ERRAND_THREAD */
    enum er_handle_step step;
    struct er_lock log_lock;
};

/* handle.c; any thread */

/* Names the calling thread while it lives: no two have this at the same address. */
int64_t er_handle_mark(void);
/* Whether a function of the application that this handle has called is under way on this
 * thread. */
bool er_handle_is_inside(const struct errand *e);
/* ERRAND_TURN: whether this thread is inside the loop. */
bool er_handle_has_loop(const struct errand *e);
/* ERRAND_TURN: the loop is this thread's from now on, unless another is inside; that is
 * waited for, or not. */
bool er_handle_claim_loop(struct errand *e, bool waits);
/* A sink of the log: to options.log. */
void er_handle_to_log(void *ctx, enum er_log_level level, const char *src,
                      const char *text);
/* The inbox has something. */
void er_handle_wake(void *ctx);

/* handle.c; loop */

void er_handle_start_wheels(struct errand *e);
void er_handle_take_letters(struct er_wheels *w);
/* Within uv_run: it returns at the end of this round. */
void er_handle_do_not_sleep(struct errand *e);
/* Turns it, as an application does. */
void er_handle_run(struct er_wheels *w, uv_run_mode mode);

/* handle_life.c; loop. The inbox is closed: all ends, step by step. */
void er_handle_begin_close(struct errand *e);

#endif
