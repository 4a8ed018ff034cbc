/* SPDX-License-Identifier: MIT */
/* What a dead worker left. On the thread for files: kill what is left of the session's
 * trees (all carry its token in their cookie), verify, then look into each attempt's log:
 *   no log          never spawned: refunded
 *   an exit frame   it ended and the worker could not say so any more: its report counts
 *   else            lost: --on-lost decides
 * Handlers need no log: their program keeps a table of those that it has begun
 * (wire/begun.h). One that does not stand there, or whose line was never sent, is refunded;
 * where there is no such table (after another boot, say) it is lost, since one that had begun
 * must not pass for one that had not.
 * Then all of it and the end of the session go as one operation. When the store refuses,
 * the operation waits until it is well. No attempt starts again before its tree is gone.
 */
#include "engine/engine_priv.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/proctree.h"
#include "wire/begun.h"
#include "wire/outlog.h"

#define KILL_TRIES 50 /* rounds; each waits up to 100 ms for the killed to go */

enum evidence { NO_LOG, NO_EXIT, EXIT_FRAME };

struct body {
    er_task_id task;
    int attempt;
    enum evidence evidence;
    struct er_buf exit; /* JSON of the exit frame */
    int pid;
};
struct autopsy {
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
    int left;                   /* processes that could not be killed */
    struct er_begun_list begun; /* of a session of handlers */
};

static void
run_autopsy(struct er_job *job, void *thread_ctx)
{
    (void)thread_ctx;
    struct autopsy *a = (struct autopsy *)(void *)job;
    er_begun_read(a->logs, a->session, &a->begun);
    a->left = ER_MUTANT(13) ? 0 : er_proctree_kill(a->token, 0, KILL_TRIES, NULL);
    for (size_t i = 0; i < a->n; i++) {
        struct body *b = &a->bodies[i];
        er_buf_init(&b->exit, 0);
        int rc = er_outlog_exit(a->logs, b->task, b->attempt, &b->exit, &b->pid);
        b->evidence = rc == 1 ? EXIT_FRAME : rc == ER_ENOTFOUND ? NO_LOG : NO_EXIT;
    }
}

static int
run_end(struct er_op *op, struct er_store *s, er_usec now)
{
    struct autopsy *a = ER_CONTAINER(op, struct autopsy, op);
    int rc = er_outcome_write(s, now, &a->arena, a->rows, a->n);
    return rc ? rc : er_store_session_close(s, now, a->session, a->lost);
}

static void
forget(struct autopsy *a)
{
    for (size_t i = 0; i < a->n; i++) {
        er_buf_fini(&a->bodies[i].exit);
    }
    er_arena_free(&a->arena);
    er_free(a->begun.entries);
    er_free(a->bodies);
    er_free(a->rows);
    er_free(a);
}

static void
done_end(struct er_op *op, int rc)
{
    struct autopsy *a = ER_CONTAINER(op, struct autopsy, op);
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
        struct er_run *run = er_run_find(e, a->rows[i].row.id);
        if (run) {
            er_run_end_done(e, run, &a->rows[i]);
        }
    }
    struct er_session_live *s = er_dispatch_find(e, a->session, a->token);
    er_dispatch_remove(e, s);
    er_begun_delete(a->logs, a->session);
    forget(a);
}

/* Of an attempt without a log. */
static bool
never_began(const struct autopsy *a, const struct er_run *run)
{
    bool handler =
        run->session->handlers || !er_limits_is_process(a->engine, run->lane->type->name);
    return !handler || (!run->told && !run->loaded) || ER_MUTANT(14) ||
           (a->begun.known && !er_begun_has(&a->begun, run->id, run->attempt));
}

/* Turns what was found about one attempt into what ends it. */
static void
conclude(struct autopsy *a, const struct body *b, struct er_run *run,
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
    ER_ASSERT(rc == 0);
    row->look = true; /* it may wait, and a cancel come meanwhile */
}

static void
done_autopsy(struct er_job *job)
{
    struct autopsy *a = (struct autopsy *)(void *)job;
    struct er_engine *e = a->engine;
    if (e->stopping) {
        forget(a);
        return;
    }
    if (a->left != 0) {
        er_log(ER_LOG_WARN, "recover", "%d processes of session %lld could not be killed",
               a->left, (long long)a->session);
    }
    a->rows = er_xrealloc_array(NULL, a->n + 1, sizeof *a->rows);
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        struct er_run *run = er_run_find(e, a->bodies[i].task);
        if (!run || run->session->id != a->session ||
            run->attempt != a->bodies[i].attempt || run->phase != ER_RUN_HELD) {
            er_buf_fini(&a->bodies[i].exit);
            continue;
        }
        a->bodies[n] = a->bodies[i];
        conclude(a, &a->bodies[n], run, &a->rows[n]);
        n++;
        er_run_end_begin(e, run);
    }
    a->n = n;
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
    struct autopsy *a = ER_CONTAINER(op, struct autopsy, op);
    struct er_engine *e = a->engine;
    (void)rc;          /* what was on its way has come back, one way or the other */
    if (e->stopping) { /* the session stays open in the store: the next daemon does it */
        forget(a);
        return;
    }
    struct er_session_live *s = er_dispatch_find(e, a->session, a->token);
    struct er_run *run;
    size_t n = 0;
    bool ending = false;
    TAILQ_FOREACH (run, &s->runs, in_session) {
        n++;
        ending = ending || run->phase == ER_RUN_ENDING;
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
    struct autopsy *a = er_xzalloc(sizeof *a);
    a->engine = e;
    a->session = session;
    a->lost = lost;
    a->logs = e->logs;
    memcpy(a->token, s->token, sizeof a->token);
    a->op.run = run_nothing;
    a->op.done = begin_autopsy;
    er_ferry_post(e->ferry, &a->op);
}
