/* SPDX-License-Identifier: MIT */
/* What a dead worker left. On the thread for files: kill what is left of the session's
 * trees (all carry its token in their cookie), verify, then look into each attempt's log:
 *   no log          never spawned: refunded
 *   an exit frame   it ended and the worker could not say so any more: its report counts
 *   else            lost: --on-lost decides
 * Handlers need no log: their program keeps a table of those that it has begun
 * (wire/begun.h). One that does not stand there, or whose line was never sent, is
 * refunded; where there is no such table (after another boot, say) it is lost, since one
 * that had begun must not pass for one that had not.
 * Then all of it and the end of the session go as one operation. When the store refuses,
 * the operation waits until it is well. No attempt starts again before its tree is gone:
 * as long as something of it is left (a process that sleeps in the kernel), and when
 * /proc or a log cannot be read for want of descriptors or memory, all is looked at again
 * after a second, and the runs stay what they are.
 */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/proctree.h"
#include "wire/begun.h"
#include "wire/outlog.h"

#define KILL_TRIES  50 /* rounds; each waits up to 100 ms for the killed to go */
#define AGAIN_TRIES 2  /* of those that are left after that */
#define AGAIN_AFTER ER_USEC_PER_SEC
#define PIDS_TOLD   10

enum evidence { NO_LOG, NO_EXIT, EXIT_FRAME };

struct body {
    er_task_id task;
    int attempt;
    enum evidence evidence;
    struct er_buf exit; /* JSON of the exit frame */
    int pid;
};
struct er_autopsy {
    struct er_job job;
    struct er_op op;
    struct er_engine *engine;
    int64_t session;
    char token[33];
    bool lost;
    const char *logs;
    struct er_arena arena;
    struct body *bodies;
    struct er_outcome *rows;
    size_t n;
    int left;                /* processes that could not be killed; or an error */
    struct er_proctree tree; /* those */
    bool told;               /* that something is left */
    TAILQ_ENTRY(er_autopsy) in_later;
    struct er_begun_list begun; /* of a session of handlers */
};

/* Those of the first n. */
static void
forget_exits(struct er_autopsy *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        er_buf_fini(&a->bodies[i].exit);
    }
}

static void
run_autopsy(struct er_job *job, void *thread_ctx)
{
    (void)thread_ctx;
    struct er_autopsy *a = (struct er_autopsy *)(void *)job;
    a->left =
        ER_MUTANT(13)
            ? 0
            : er_proctree_kill(a->token, 0, a->told ? AGAIN_TRIES : KILL_TRIES, &a->tree);
    if (a->left != 0) {
        return;
    }
    er_free(a->begun.entries);
    a->begun = (struct er_begun_list){0};
    a->left = er_begun_read(a->logs, a->session, &a->begun);
    if (a->left != 0) {
        return; /* what never began must not pass for lost */
    }
    for (size_t i = 0; i < a->n; i++) {
        struct body *b = &a->bodies[i];
        er_buf_init(&b->exit, 0);
        int rc = er_outlog_exit(a->logs, b->task, b->attempt, &b->exit, &b->pid);
        if (rc == ER_EBUSY || rc == ER_ENOMEM) {
            forget_exits(a, i + 1);
            a->left = rc; /* who has ended must not pass for lost */
            return;
        }
        b->evidence = rc == 1 ? EXIT_FRAME : rc == ER_ENOTFOUND ? NO_LOG : NO_EXIT;
    }
}

static int
run_end(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_autopsy *a = ER_CONTAINER(op, struct er_autopsy, op);
    int rc = er_outcome_write(s, now, &a->arena, a->rows, a->n);
    return rc ? rc : er_store_session_close(s, now, a->session, a->lost);
}

static void
forget(struct er_autopsy *a)
{
    forget_exits(a, a->n);
    er_arena_free(&a->arena);
    er_proctree_fini(&a->tree);
    er_free(a->begun.entries);
    er_free(a->bodies);
    er_free(a->rows);
    er_free(a);
}

static void
done_end(struct er_op *op, int rc)
{
    struct er_autopsy *a = ER_CONTAINER(op, struct er_autopsy, op);
    struct er_engine *e = a->engine;
    if (rc && e->stopping) {
        forget(a);
        return;
    }
    if (rc) {
        er_schedule_later(e, op, rc);
        return;
    }
    for (size_t i = 0; i < a->n; i++) {
        struct er_live_attempt *run = er_live_attempt_find(e, a->rows[i].row.id);
        if (run) {
            er_live_attempt_end_done(e, run, &a->rows[i]);
        }
    }
    struct er_session_live *s = er_dispatch_find(e, a->session, a->token);
    er_dispatch_remove(e, s);
    er_begun_delete(a->logs, a->session);
    forget(a);
}

/* Of an attempt without a log. */
static bool
never_began(const struct er_autopsy *a, const struct er_live_attempt *run)
{
    bool handler =
        run->session->handlers || !er_limits_is_process(a->engine, run->lane->type->name);
    return !handler || (!run->told && !run->loaded) || ER_MUTANT(14) ||
           (a->begun.known && !er_begun_has(&a->begun, run->id, run->attempt));
}

/* Turns what was found about one attempt into what ends it: 0 or ER_ENOMEM. */
static int
conclude(struct er_autopsy *a, const struct body *b, struct er_live_attempt *run,
         struct er_outcome *row)
{
    struct er_engine *e = a->engine;
    int rc = ER_EINVALID;
    if (b->evidence == EXIT_FRAME) {
        rc = er_outcome_parse(e, run, &a->arena, b->exit.data, b->exit.len, row, NULL);
    } else if (b->evidence == NO_LOG && never_began(a, run)) {
        rc = er_outcome_unspawned(e, run, &a->arena, row);
    }
    if (rc) {
        rc = er_outcome_lost(e, run, &a->arena, row);
    }
    row->look = true; /* it may wait, and a cancel come meanwhile */
    return rc;
}

/* ---- again ---- */

static void
look_again(struct er_autopsy *a)
{
    struct er_engine *e = a->engine;
    er_usec at = er_clock_wall(e->options.clock) + AGAIN_AFTER;
    TAILQ_INSERT_TAIL(&e->autopsies, a, in_later);
    e->autopsies_at = at < e->autopsies_at ? at : e->autopsies_at;
    er_schedule_rearm(e);
}

/* Says once what is left. */
static void
tell_left(struct er_autopsy *a)
{
    struct er_buf pids;
    if (a->told) {
        return;
    }
    a->told = true;
    if (a->left < 0) {
        er_log(ER_LOG_WARN, "recover",
               "what session %lld has left cannot be seen (%s): its tasks stay as they "
               "are until it can",
               (long long)a->session, er_error_meaning(a->left));
        return;
    }
    er_buf_init(&pids, 0);
    for (size_t i = 0; i < a->tree.n && i < PIDS_TOLD; i++) {
        er_buf_addf(&pids, " %d", (int)a->tree.pids[i]);
    }
    er_log(ER_LOG_WARN, "recover",
           "%d processes of session %lld cannot be killed (pid%s%s): its tasks stay as "
           "they are until those are gone",
           a->left, (long long)a->session, pids.data ? pids.data : "",
           a->tree.n > PIDS_TOLD ? " ..." : "");
    er_buf_fini(&pids);
}

void
er_recover_tick(struct er_engine *e)
{
    struct er_autopsy *a;
    if (e->stopping || er_clock_wall(e->options.clock) < e->autopsies_at) {
        return;
    }
    e->autopsies_at = ER_NEVER;
    while ((a = TAILQ_FIRST(&e->autopsies)) != NULL) {
        TAILQ_REMOVE(&e->autopsies, a, in_later);
        er_engine_files(e, &a->job);
    }
}

void
er_recover_fini(struct er_engine *e)
{
    struct er_autopsy *a;
    while ((a = TAILQ_FIRST(&e->autopsies)) != NULL) {
        TAILQ_REMOVE(&e->autopsies, a, in_later);
        forget(a);
    }
}

/* ---- the end ---- */

/* Forgets what was concluded, but not which attempts there are. */
static void
begin_again(struct er_autopsy *a)
{
    er_log(ER_LOG_ERROR, "recover", "what session %lld left cannot be ended: %s",
           (long long)a->session, er_error_meaning(ER_ENOMEM));
    forget_exits(a, a->n);
    er_arena_free(&a->arena);
    a->arena = (struct er_arena){0};
    er_free(a->rows);
    a->rows = NULL;
    look_again(a);
}

static void
done_autopsy(struct er_job *job)
{
    struct er_autopsy *a = (struct er_autopsy *)(void *)job;
    struct er_engine *e = a->engine;
    if (e->stopping) {
        forget(a);
        return;
    }
    if (a->left != 0) {
        tell_left(a);
        look_again(a);
        return;
    }
    a->rows = er_xrealloc_array(NULL, a->n + 1, sizeof *a->rows);
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < a->n; i++) {
        struct er_live_attempt *run = er_live_attempt_find(e, a->bodies[i].task);
        if (!run || run->session->id != a->session ||
            run->attempt != a->bodies[i].attempt || run->phase != ER_LIVE_HELD) {
            er_buf_fini(&a->bodies[i].exit);
            continue;
        }
        a->bodies[n] = a->bodies[i];
        rc = rc ? rc : conclude(a, &a->bodies[n], run, &a->rows[n]);
        n++;
    }
    a->n = n;
    if (rc) {
        begin_again(a);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        er_live_attempt_end_begin(e, er_live_attempt_find(e, a->bodies[i].task));
    }
    a->op.run = run_end;
    a->op.done = done_end;
    er_ferry_post(e->ferry, &a->op);
}

/* Claims and ends of this session that are on their way must arrive first: the autopsy is
 * posted from the end of an empty operation that travels behind them. */
static int
run_nothing(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)op;
    (void)s;
    (void)now;
    return 0;
}

static void
begin_autopsy(struct er_op *op, int rc)
{
    struct er_autopsy *a = ER_CONTAINER(op, struct er_autopsy, op);
    struct er_engine *e = a->engine;
    (void)rc;          /* what was on its way has come back, one way or the other */
    if (e->stopping) { /* the session stays open in the store: the next daemon does it */
        forget(a);
        return;
    }
    struct er_session_live *s = er_dispatch_find(e, a->session, a->token);
    struct er_live_attempt *run;
    size_t n = 0;
    bool ending = false;
    TAILQ_FOREACH (run, &s->runs, in_session) {
        n++;
        ending = ending || run->phase == ER_LIVE_ENDING;
    }
    if (ending && e->sick) { /* a refund that waits until the store is well */
        er_schedule_later(e, op, e->sick_code);
        return;
    }
    if (ending) { /* ... and is on its way */
        er_ferry_post(e->ferry, op);
        return;
    }
    a->bodies = er_xrealloc_array(NULL, n + 1, sizeof *a->bodies);
    TAILQ_FOREACH (run, &s->runs, in_session) {
        a->bodies[a->n++] = (struct body){.task = run->id, .attempt = run->attempt};
    }
    a->job.run = run_autopsy;
    a->job.done = done_autopsy;
    er_engine_files(e, &a->job);
}

void
er_engine_session_dead(struct er_engine *e, int64_t session, bool lost)
{
    struct er_session_live *s;
    HASH_FIND(hh, e->sessions, &session, sizeof session, s);
    if (!s || s->dying) {
        return;
    }
    er_log(lost ? ER_LOG_WARN : ER_LOG_INFO, "recover",
           "worker %s (session %lld, pid %d) is gone", s->worker, (long long)s->id,
           s->pid);
    s->dying = true;
    s->link = NULL;
    er_pools_update(e);
    er_report_worker_died(e, session);
    struct er_autopsy *a = er_xzalloc(sizeof *a);
    a->engine = e;
    a->session = session;
    a->lost = lost;
    a->logs = e->logs;
    memcpy(a->token, s->token, sizeof a->token);
    a->op.run = run_nothing;
    a->op.done = begin_autopsy;
    er_ferry_post(e->ferry, &a->op);
}
