/* SPDX-License-Identifier: MIT */
/* What workers report, in batches. Lines are parsed as they come: samples take effect at
 * once, in memory; what has to be on disk before the worker may forget it (items,
 * checkpoints, stops, ends) is gathered, goes as one operation, and the batch is answered
 * when that is committed. Within it items and checkpoints go first: an end has to know
 * what is stored. What an end comes to is outcome.c's.
 *
 * When the store refuses, nothing was taken: the runs are as before and the worker sends
 * again. */
#include "engine/engine_priv.h"

#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "wire/json_dump.h"
#include "wire/task_json.h"

#define SAVE_EVERY ER_USEC_PER_SEC /* progress into the task's row at most this often */
#define REPORT_MAX ((size_t)4096)  /* ends in one batch */

struct er_report_batch {
    struct er_op op;
    struct er_engine *engine;
    int64_t session;
    struct er_arena arena;
    struct er_outcome *ends;
    size_t n_ends, ends_size;
    struct er_item_row *items;
    size_t n_items, items_size;
    struct er_change *counts;      /* of items, by task, when they are stored */
    size_t n_counts;               /* there is room for n_items */
    struct er_progress_row *saves; /* checkpoints */
    size_t n_saves, saves_size;
    struct er_suspend *suspends;
    size_t n_suspends, suspends_size;
    struct er_held *lost;
    size_t n_lost, lost_size;
    er_report_done_fn *done;
    void *ctx;
    bool over;                              /* its worker died before it was sent */
    TAILQ_ENTRY(er_report_batch) in_engine; /* until it is sent or dropped */
};

/* Room for one more. */
static void *
grow(void *rows, size_t n, size_t *size, size_t element)
{
    if (n < *size) {
        return rows;
    }
    *size = *size ? *size * 2 : 8;
    return er_xrealloc_array(rows, *size, element);
}

struct er_report_batch *
er_engine_report_new(struct er_engine *e, int64_t session, const char *token)
{
    struct er_session_live *s = er_dispatch_find(e, session, token);
    if (!s || s->dying) {
        return NULL;
    }
    struct er_report_batch *b = er_xzalloc(sizeof *b);
    b->engine = e;
    b->session = session;
    er_silence_heard(s);
    TAILQ_INSERT_TAIL(&e->batches, b, in_engine);
    return b;
}

static void
batch_undo(struct er_report_batch *b)
{
    for (size_t i = 0; i < b->n_ends; i++) {
        er_live_attempt_end_undo(b->engine,
                                 er_live_attempt_find(b->engine, b->ends[i].row.id));
    }
    b->n_ends = 0;
}

/* The ends that it has told but not sent are for the autopsy to find. */
void
er_report_worker_died(struct er_engine *e, int64_t session)
{
    struct er_report_batch *b;
    TAILQ_FOREACH (b, &e->batches, in_engine) {
        if (b->session == session) {
            batch_undo(b);
            b->over = true;
        }
    }
}

static bool
batch_has(const struct er_report_batch *b, er_task_id task)
{
    for (size_t i = 0; i < b->n_ends; i++) {
        if (b->ends[i].row.id == task) {
            return true;
        }
    }
    return false;
}

static void
batch_lost(struct er_report_batch *b, er_task_id task, int attempt)
{
    b->lost = grow(b->lost, b->n_lost, &b->lost_size, sizeof *b->lost);
    b->lost[b->n_lost++] = (struct er_held){.task = task, .attempt = attempt};
}

/* ---- lines ---- */

/* A short smoothed length of attempts: tells how much work to give ahead. */
static void
learn_length(struct er_session_live *s, const struct er_outcome *o)
{
    const struct er_finish *f = &o->row;
    if (!o->end.spawned && !o->end.has_error) {
        s->mean_for =
            ER_USEC_PER_SEC; /* it was given too much ahead: nothing ahead for now */
        return;
    }
    if (f->started_at == ER_NEVER || f->finished_at == ER_NEVER) {
        return;
    }
    er_usec d = f->finished_at - f->started_at;
    d = d < 100 ? 100 : d;
    s->mean_for = s->mean_for ? (s->mean_for * 3 + d) / 4 : d;
}

static int
line_finished(struct er_report_batch *b, struct er_live_attempt *run, const json_t *o,
              struct er_err *err)
{
    if (b->n_ends == REPORT_MAX) {
        return er_fail(err, ER_ETOOBIG, "more than %zu ends in one report", REPORT_MAX);
    }
    b->ends = grow(b->ends, b->n_ends, &b->ends_size, sizeof *b->ends);
    struct er_outcome *end = &b->ends[b->n_ends];
    int rc = er_outcome_report(b->engine, run, &b->arena, o, end, err);
    if (rc == 0) {
        learn_length(run->session, end);
        b->n_ends++;
        er_live_attempt_end_begin(b->engine, run);
    }
    return rc;
}

static int
line_item(struct er_report_batch *b, struct er_live_attempt *run, const json_t *o,
          struct er_err *err)
{
    const json_t *name = json_object_get(o, "name");
    size_t n = json_string_length(name);
    if (n == 0 || n > ER_MAX_NAME) {
        run->warn |= ER_WARN_ITEM; /* the worker must not send it for ever */
        return 0;
    }
    char *copy = er_arena_strdup(&b->arena, json_string_value(name));
    if (!copy) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    b->items = grow(b->items, b->n_items, &b->items_size, sizeof *b->items);
    b->items[b->n_items++] =
        (struct er_item_row){.id = run->id,
                             .attempt = run->attempt,
                             .session = b->session,
                             .name = copy,
                             .failed = json_is_true(json_object_get(o, "failed"))};
    run->has_items = true;
    return 0;
}

static void
line_suspended(struct er_report_batch *b, const struct er_live_attempt *run, bool paused)
{
    b->suspends =
        grow(b->suspends, b->n_suspends, &b->suspends_size, sizeof *b->suspends);
    b->suspends[b->n_suspends++] = (struct er_suspend){
        .id = run->id, .attempt = run->attempt, .session = b->session, .paused = paused};
}

static bool
replace_text(char **text, const json_t *value)
{
    if (!value || json_is_null(value)) {
        return false;
    }
    char *dump = er_json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    char *copy = er_strdup(dump);
    free(dump);
    if (copy) {
        er_free(*text);
        *text = copy;
    }
    return copy != NULL;
}

struct save_op {
    struct er_op op;
    struct er_progress_row row;
    char *progress;
};

static int
run_save(struct er_op *op, struct er_store *s, er_usec now)
{
    (void)now;
    return er_store_progress(s, &((struct save_op *)(void *)op)->row, 1);
}

static void
done_save(struct er_op *op, int rc)
{
    (void)rc; /* the next one, or the end, says more */
    struct save_op *s = (struct save_op *)(void *)op;
    er_free(s->progress);
    er_free(s);
}

static void
save_progress(struct er_engine *e, struct er_live_attempt *run)
{
    er_usec now = er_clock_mono(e->options.clock);
    if (e->sick || (run->saved_at && now - run->saved_at < SAVE_EVERY)) {
        return;
    }
    run->saved_at = now;
    struct save_op *s = er_xzalloc(sizeof *s);
    s->op.run = run_save;
    s->op.done = done_save;
    s->progress = er_xstrdup(run->progress);
    s->row = (struct er_progress_row){.id = run->id,
                                      .attempt = run->attempt,
                                      .session = run->session->id,
                                      .progress_json = s->progress};
    er_ferry_post(e->ferry, &s->op);
}

/* A checkpoint is kept with the batch, and the batch answered when it is. */
static int
save_checkpoint(struct er_report_batch *b, struct er_live_attempt *run,
                struct er_err *err)
{
    char *progress = er_arena_strdup(&b->arena, run->progress);
    char *checkpoint = er_arena_strdup(&b->arena, run->checkpoint);
    if (!checkpoint || (run->progress && !progress)) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    b->saves = grow(b->saves, b->n_saves, &b->saves_size, sizeof *b->saves);
    b->saves[b->n_saves++] = (struct er_progress_row){.id = run->id,
                                                      .attempt = run->attempt,
                                                      .session = b->session,
                                                      .progress_json = progress,
                                                      .checkpoint_json = checkpoint};
    run->saved_at = er_clock_mono(b->engine->options.clock);
    return 0;
}

static int
line_progress(struct er_report_batch *b, struct er_live_attempt *run, const json_t *o,
              struct er_err *err)
{
    struct er_engine *e = b->engine;
    char *checkpoint = NULL;
    int rc = 0;
    json_t *progress = json_object_get(o, "progress");
    er_task_json_raise_items(progress, run->items_completed, run->items_failed);
    (void)replace_text(&run->progress, progress);
    run->progress_at = run->paused ? 0 : er_clock_mono(e->options.clock);
    if (!replace_text(&checkpoint, json_object_get(o, "checkpoint"))) {
        save_progress(e, run);
    } else if (strlen(checkpoint) > ER_MAX_CHECKPOINT) {
        er_log(ER_LOG_WARN, "report",
               "a checkpoint of task %lld is not kept: %zu bytes (at most %d)",
               (long long)run->id, strlen(checkpoint), ER_MAX_CHECKPOINT);
        run->warn |= ER_WARN_CHECKPOINT;
        er_free(checkpoint);
    } else {
        er_free(run->checkpoint);
        run->checkpoint = checkpoint;
        rc = save_checkpoint(b, run, err);
    }
    er_observe_sample(e, run, ER_EVENT_TASK_PROGRESS);
    return rc;
}

/* A line about a run that is this session's, and has not ended. */
static int
own_line(struct er_report_batch *b, const char *kind, struct er_live_attempt *run,
         const json_t *o, struct er_err *err)
{
    if (strcmp(kind, "finished") == 0) {
        return line_finished(b, run, o, err);
    }
    if (strcmp(kind, "item") == 0) {
        return line_item(b, run, o, err);
    }
    if (strcmp(kind, "progress") == 0) {
        return line_progress(b, run, o, err);
    }
    if (strcmp(kind, "started") == 0) {
        run->pid = (int)json_integer_value(json_object_get(o, "pid"));
        run->started_at = er_outcome_moment(o, "started_at");
        run->late = json_is_true(json_object_get(o, "late"));
    } else if (strcmp(kind, "output") == 0) {
        run->output_bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
        er_observe_sample(b->engine, run, ER_EVENT_TASK_OUTPUT);
    } else if (strcmp(kind, "paused") == 0 || strcmp(kind, "resumed") == 0) {
        line_suspended(b, run, kind[0] == 'p');
    } else {
        return er_fail(err, ER_EINVALID,
                       "unknown report '%s' (started, progress, item, paused, resumed, "
                       "output, finished)",
                       kind);
    }
    return 0;
}

/* The end of this run is on its way. */
static int
line_of_ending(struct er_report_batch *b, const char *kind, struct er_live_attempt *run,
               const json_t *o, struct er_err *err)
{
    bool here = batch_has(b, run->id);
    if (strcmp(kind, "finished") == 0 && !here) {
        /* by a report whose answer was lost: "lost" would make the worker forget what may
         * still have to be written */
        return er_fail(err, ER_EBUSY,
                       "the end of task %lld is being written: report it again",
                       (long long)run->id);
    }
    if (strcmp(kind, "item") == 0 && here) {
        return line_item(b, run, o, err); /* it goes before the end all the same */
    }
    return 0;
}

static int
one_line(struct er_report_batch *b, const char *kind, const json_t *o, struct er_err *err)
{
    if (strcmp(kind, "pong") == 0) {
        er_silence_answered(b->engine, b->session);
        return 0;
    }
    er_task_id task = json_integer_value(json_object_get(o, "task"));
    int attempt = (int)json_integer_value(json_object_get(o, "attempt"));
    struct er_live_attempt *run = er_live_attempt_find(b->engine, task);
    bool own =
        run && run->session->id == b->session && run->attempt == attempt && !b->over;
    own = own || (ER_MUTANT(4) && run && run->attempt == attempt);
    if (own && run->phase == ER_LIVE_ENDING) {
        return line_of_ending(b, kind, run, o, err);
    }
    if (own && run->phase == ER_LIVE_HELD) {
        return own_line(b, kind, run, o, err);
    }
    if (strcmp(kind, "finished") == 0) {
        batch_lost(b, task, attempt);
    }
    return 0;
}

int
er_engine_report_line(struct er_report_batch *b, const char *line, size_t len,
                      struct er_err *err)
{
    json_error_t je;
    json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
    void *it = json_object_iter(o);
    if (!it || !json_is_object(json_object_iter_value(it))) {
        json_decref(o);
        return er_fail(err, ER_EINVALID, "a report line is one object with one member");
    }
    int rc = one_line(b, json_object_iter_key(it), json_object_iter_value(it), err);
    json_decref(o);
    return rc;
}

/* ---- the batch ---- */

static void
batch_free(struct er_report_batch *b)
{
    er_arena_free(&b->arena);
    er_free(b->ends);
    er_free(b->items);
    er_free(b->counts);
    er_free(b->saves);
    er_free(b->suspends);
    er_free(b->lost);
    er_free(b);
}

/* How many items each task has now; for the samples that come. */
static int
count_items(struct er_report_batch *b, struct er_store *s)
{
    int rc = 0;
    for (size_t i = 0; i < b->n_items && rc == 0; i++) {
        bool last = i + 1 == b->n_items || b->items[i + 1].id != b->items[i].id;
        if (last && b->items[i].status == 0) {
            b->counts[b->n_counts] = (struct er_change){.id = b->items[i].id};
            rc = er_store_look(s, &b->counts[b->n_counts++], 1);
        }
    }
    return rc;
}

static int
run_batch(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_report_batch *b = (struct er_report_batch *)(void *)op;
    int rc = b->n_items ? er_store_items_put(s, now, b->items, b->n_items) : 0;
    rc = rc ? rc : count_items(b, s);
    if (rc == 0 && b->n_saves) {
        rc = er_store_progress(s, b->saves, b->n_saves);
    }
    if (rc == 0 && b->n_suspends) {
        rc = er_store_suspend(s, now, b->suspends, b->n_suspends);
    }
    return rc ? rc : er_outcome_write(s, now, &b->arena, b->ends, b->n_ends);
}

static void
items_done(struct er_report_batch *b)
{
    for (size_t i = 0; i < b->n_counts; i++) {
        struct er_live_attempt *run = er_live_attempt_find(b->engine, b->counts[i].id);
        if (run && b->counts[i].status == 0) {
            run->items_completed = b->counts[i].items_completed;
            run->items_failed = b->counts[i].items_failed;
        }
    }
}

static void
suspends_done(struct er_report_batch *b)
{
    for (size_t i = 0; i < b->n_suspends; i++) {
        const struct er_suspend *row = &b->suspends[i];
        struct er_live_attempt *run = er_live_attempt_find(b->engine, row->id);
        if (run && run->attempt == row->attempt && row->status == 0) {
            er_pause_done(run, row->paused);
        }
    }
}

static void
ends_done(struct er_report_batch *b, int rc)
{
    struct er_engine *e = b->engine;
    for (size_t i = 0; i < b->n_ends; i++) {
        const struct er_outcome *o = &b->ends[i];
        struct er_live_attempt *run = er_live_attempt_find(e, o->row.id);
        ER_ASSERT(run && run->phase == ER_LIVE_ENDING);
        if (rc) {
            er_live_attempt_end_undo(e, run);
            continue;
        }
        if (o->row.status) {
            batch_lost(b, run->id, run->attempt);
        }
        er_live_attempt_end_done(e, run, o);
        e->stats.finished++;
        er_schedule_prune(e);
    }
}

static void
done_batch(struct er_op *op, int rc)
{
    struct er_report_batch *b = (struct er_report_batch *)(void *)op;
    if (rc) {
        er_schedule_sick(b->engine, rc);
    } else {
        items_done(b);
        suspends_done(b);
    }
    ends_done(b, rc);
    er_silence_waits(b->engine, b->session, false);
    b->done(b->ctx, rc, b->lost, b->n_lost);
    batch_free(b);
}

/* What has been asked for since the lines of the ends came. */
static int
ask_again(struct er_report_batch *b)
{
    int rc = 0;
    for (size_t i = 0; i < b->n_ends && rc == 0; i++) {
        struct er_live_attempt *run = er_live_attempt_find(b->engine, b->ends[i].row.id);
        rc = er_outcome_ask(run, &b->arena, &b->ends[i]);
    }
    return rc;
}

void
er_engine_report_send(struct er_report_batch *b, er_report_done_fn *done, void *ctx)
{
    b->done = done;
    b->ctx = ctx;
    if (b->n_items) { /* made here: the store's thread may lack memory and say so */
        b->counts = er_xrealloc_array(NULL, b->n_items, sizeof *b->counts);
    }
    TAILQ_REMOVE(&b->engine->batches, b, in_engine);
    int rc = b->over ? ER_ELOST : ask_again(b);
    if (rc) {
        batch_undo(b);
    }
    if (rc || b->n_ends + b->n_items + b->n_saves + b->n_suspends == 0) {
        done(ctx, rc, b->lost, b->n_lost); /* samples only: nothing to wait for */
        batch_free(b);
        return;
    }
    b->op.run = run_batch;
    b->op.done = done_batch;
    er_silence_waits(b->engine, b->session, true);
    er_ferry_post(b->engine->ferry, &b->op);
    for (size_t i = 0; i < b->n_ends; i++) {
        er_offers_expect_after(b->engine,
                               er_live_attempt_find(b->engine, b->ends[i].row.id)->lane);
    }
}

void
er_engine_report_drop(struct er_report_batch *b)
{
    TAILQ_REMOVE(&b->engine->batches, b, in_engine);
    batch_undo(b);
    batch_free(b);
}
