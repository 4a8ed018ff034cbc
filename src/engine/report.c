/* SPDX-License-Identifier: MIT */
/* What an attempt's end means for its task. A report is the worker's word about what
 * happened (exit code, signal, error, result); what follows from it (completed, another
 * attempt, failed, put back) is decided here and written with one compare-and-set.
 *
 * A batch: lines are parsed as they come (samples take effect at once, in memory), then
 * all ends go as one operation. When the store refuses, nothing was taken: the runs are
 * as before and the worker sends again. */
#include "engine/engine_priv.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/rand.h"
#include "model/retry.h"

#define SAVE_EVERY   ER_USEC_PER_SEC /* progress into the task's row at most this often */
#define SMALL_RESULT ((size_t)4096)  /* results up to this stand in the final event */
#define REPORT_MAX   ((size_t)4096)  /* ends in one batch */

/* ---- from JSON ---- */

static er_usec
json_moment(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    er_usec at;
    return text && er_time_parse(text, &at) == 0 ? at : ER_NEVER;
}

static er_usec
json_span(const json_t *o, const char *name)
{
    double v = json_number_value(json_object_get(o, name));
    return v > 0 && v < 1e12 ? (er_usec)(v * 1e6) : 0;
}

/* The text of a member that is an object or array, in the arena; NULL when it is not. */
static const char *
json_text(const json_t *o, const char *name, struct er_arena *arena)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_object(v) && !json_is_array(v)) {
        return NULL;
    }
    char *text = json_dumps(v, JSON_COMPACT);
    const char *copy = er_arena_strdup(arena, text);
    free(text);
    return copy;
}

static int
json_bytes(const json_t *o, const char *name, struct er_arena *arena, const void **out,
           size_t *out_n)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_string(v)) {
        return 0;
    }
    struct er_buf b;
    er_buf_init(&b, ER_MAX_RESULT);
    int rc = er_base64_decode(&b, json_string_value(v), json_string_length(v));
    if (rc == 0) {
        *out = er_arena_memdup(arena, b.data, b.len);
        *out_n = b.len;
        rc = *out ? 0 : ER_ENOMEM;
    }
    er_buf_fini(&b);
    return rc;
}

/* ---- what follows ---- */

static const char *
arena_take(struct er_arena *arena, struct er_buf *b)
{
    const char *text = er_arena_memdup(arena, b->data ? b->data : "", b->len);
    ER_ASSERT(text && !b->failed);
    er_buf_fini(b);
    return text;
}

/* The error of a command that ended badly and said nothing itself. */
static const char *
default_error(const struct er_finish *f, const char *why, struct er_arena *arena)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    if (why && strcmp(why, "timeout") == 0) {
        er_buf_add_str(&b, "{\"class\":\"retryable\",\"code\":\"timeout\",\"message\":"
                           "\"ran longer than its timeout\"");
    } else if (f->signal) {
        const char *name = sigabbrev_np(f->signal);
        er_buf_addf(&b,
                    "{\"class\":\"retryable\",\"code\":\"signal\",\"message\":"
                    "\"killed by signal %d (SIG%s)\"",
                    f->signal, name ? name : "?");
    } else {
        er_buf_addf(&b,
                    "{\"class\":\"retryable\",\"code\":\"exit\",\"message\":"
                    "\"exited with code %d\"",
                    f->exit_code);
    }
    er_buf_add_str(&b,
                   ",\"suggested_action\":null,\"retry_after_s\":null,\"details\":null}");
    return arena_take(arena, &b);
}

static void
add_raw(struct er_buf *b, const char *name, const char *json)
{
    er_buf_addf(b, ",\"%s\":", name);
    er_buf_add_str(b, json ? json : "null");
}

static void
add_duration(struct er_buf *b, const struct er_finish *f)
{
    if (f->started_at != ER_NEVER && f->finished_at != ER_NEVER) {
        er_usec d = f->finished_at - f->started_at;
        er_buf_addf(b, "{\"duration_s\":%.6f", (double)(d > 0 ? d : 0) / 1e6);
    } else {
        er_buf_add_str(b, "{\"duration_s\":null");
    }
}

/* What the row lacks of the latest that was told before: the task's row is behind it. */
static void
keep_latest(const struct er_run *run, struct er_arena *arena, struct er_finish *f)
{
    if (!f->progress_json) {
        f->progress_json = er_arena_strdup(arena, run->progress);
    }
    if (!f->checkpoint_json) {
        f->checkpoint_json = er_arena_strdup(arena, run->checkpoint);
    }
}

static void
complete(struct er_arena *arena, struct er_finish *f)
{
    f->state = ER_TASK_COMPLETED;
    f->outcome = ER_OUTCOME_COMPLETED;
    f->event = ER_EVENT_TASK_COMPLETED;
    struct er_buf b;
    er_buf_init(&b, 0);
    add_duration(&b, f);
    if (f->result && f->result_len <= SMALL_RESULT) {
        json_error_t je;
        json_t *v = json_loadb(f->result, f->result_len, JSON_DECODE_ANY, &je);
        er_buf_add_str(&b, ",\"result\":");
        if (v) {
            er_buf_add(&b, f->result, f->result_len);
        } else {
            er_buf_add_json(&b, f->result, f->result_len);
        }
        json_decref(v);
    } else {
        er_buf_add_str(&b, ",\"result\":null");
    }
    add_raw(&b, "progress", f->progress_json);
    add_raw(&b, "warnings", f->warnings_json ? f->warnings_json : "[]");
    er_buf_add_char(&b, '}');
    f->event_data_json = arena_take(arena, &b);
}

static void
add_time(struct er_buf *b, const char *name, er_usec at)
{
    char text[ER_RFC3339_SIZE];
    er_time_format(at, text);
    er_buf_addf(b, ",\"%s\":\"%s\"", name, text);
}

static void
fail_for_good(struct er_run *run, struct er_arena *arena, struct er_finish *f,
              bool retryable)
{
    f->state = ER_TASK_FAILED;
    f->event = ER_EVENT_TASK_FAILED;
    struct er_buf b;
    er_buf_init(&b, 0);
    add_duration(&b, f);
    add_raw(&b, "error", f->error_json);
    er_buf_addf(&b, ",\"retryable\":%s,\"failures\":%d", retryable ? "true" : "false",
                run->failures + f->add_failures);
    add_raw(&b, "progress", f->progress_json);
    er_buf_add_char(&b, '}');
    f->event_data_json = arena_take(arena, &b);
}

static void
fail(struct er_engine *e, struct er_run *run, struct er_arena *arena, const char *class,
     er_usec retry_after, struct er_finish *f)
{
    er_usec now = er_clock_wall(e->options.clock), at;
    f->outcome = ER_OUTCOME_FAILED;
    f->add_failures = 1;
    struct er_retry_failure rf = {.failures = run->failures + 1,
                                  .retries = run->retries,
                                  .backoff_for = run->backoff_for,
                                  .cap_for = e->options.backoff_cap,
                                  .error_class = class,
                                  .retry_after_for = retry_after,
                                  .random = er_rand_next(&e->rand)};
    if (!er_retry_decide(&rf, now, &at)) {
        fail_for_good(run, arena, f, !class || strcmp(class, "retryable") == 0);
        return;
    }
    f->state = ER_TASK_SCHEDULED;
    f->run_at = at;
    f->event = ER_EVENT_TASK_RETRYING;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"attempt\":%d,\"retryable\":true,\"failures\":%d", run->attempt,
                rf.failures);
    add_raw(&b, "error", f->error_json);
    add_time(&b, "next_at", at);
    er_buf_add_char(&b, '}');
    f->event_data_json = arena_take(arena, &b);
}

static void
cancelled(struct er_run *run, struct er_arena *arena, struct er_finish *f)
{
    f->state = ER_TASK_CANCELLED;
    f->outcome = ER_OUTCOME_CANCELLED;
    f->event = ER_EVENT_TASK_CANCELLED;
    f->error_json = NULL;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"reason\":");
    er_buf_add_json_str(&b, run->cancel_reason ? run->cancel_reason : "cancelled");
    er_buf_add_str(&b, ",\"by\":");
    er_buf_add_json_str(&b, run->cancel_by);
    er_buf_add_char(&b, '}');
    f->event_data_json = arena_take(arena, &b);
}

static void
put_back(struct er_run *run, const char *outcome, const char *data, struct er_finish *f)
{
    f->state = ER_TASK_QUEUED;
    f->held = run->hold;
    f->outcome = outcome;
    f->event = run->hold ? ER_EVENT_TASK_PAUSED : ER_EVENT_TASK_QUEUED;
    f->event_data_json = data;
}

static void
rate_limited(struct er_engine *e, er_usec retry_after, struct er_arena *arena,
             struct er_finish *f)
{
    er_usec at = er_clock_wall(e->options.clock) + retry_after;
    f->state = ER_TASK_SCHEDULED;
    f->run_at = at;
    f->outcome = ER_OUTCOME_REQUEUED;
    f->event = ER_EVENT_TASK_PAUSED;
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(
        &b,
        "{\"class\":\"retryable\",\"code\":\"rate-limit\",\"message\":\"rate limit "
        "exceeded (retry after %llds)\",\"suggested_action\":null,"
        "\"retry_after_s\":%.3f,\"details\":null}",
        (long long)((retry_after + 999999) / 1000000), (double)retry_after / 1e6);
    f->error_json = arena_take(arena, &b);
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"reason\":\"rate-limit\"");
    add_time(&b, "resumes_at", at);
    er_buf_add_char(&b, '}');
    f->event_data_json = arena_take(arena, &b);
}

void
er_report_refund(struct er_run *run, struct er_arena *arena, struct er_finish *out)
{
    *out = (struct er_finish){.id = run->id,
                              .attempt = run->attempt,
                              .session = run->session->id,
                              .refund = true,
                              .run_at = ER_NEVER,
                              .started_at = ER_NEVER,
                              .finished_at = ER_NEVER};
    if (run->cancel) {
        out->refund = false;
        cancelled(run, arena, out);
        return;
    }
    put_back(run, ER_OUTCOME_REFUNDED, "{\"reason\":\"refunded\"}", out);
}

static const char lost_error[] =
    "{\"class\":\"retryable\",\"code\":\"worker-lost\",\"message\":\"the worker died "
    "while the "
    "task ran\",\"suggested_action\":\"look into the daemon's log for why, then retry\","
    "\"retry_after_s\":null,\"details\":null}";

void
er_report_lost(struct er_engine *e, struct er_run *run, struct er_arena *arena,
               struct er_finish *out)
{
    *out = (struct er_finish){.id = run->id,
                              .attempt = run->attempt,
                              .session = run->session->id,
                              .add_losses = 1,
                              .run_at = ER_NEVER,
                              .started_at = run->started_at,
                              .finished_at = er_clock_wall(e->options.clock),
                              .outcome = ER_OUTCOME_LOST};
    keep_latest(run, arena, out);
    if (run->cancel) {
        cancelled(run, arena, out);
        return;
    }
    if (run->requeue) {
        put_back(run, ER_OUTCOME_REQUEUED, "{\"reason\":\"requeue\"}", out);
        out->add_losses = 0;
        return;
    }
    enum er_on_lost then =
        run->losses + 1 >= e->options.max_losses ? ER_ON_LOST_FAIL : run->on_lost;
    if (then == ER_ON_LOST_FAIL) {
        out->error_json = lost_error;
        fail_for_good(run, arena, out, true);
        return;
    }
    run->hold = then == ER_ON_LOST_HOLD;
    put_back(run, ER_OUTCOME_LOST, "{\"reason\":\"worker-lost\"}", out);
}

/* Reads what the report says into the row; what follows from it comes after. */
static int
read_finish(const json_t *o, struct er_arena *arena, struct er_finish *out)
{
    out->started_at = json_moment(o, "started_at");
    out->finished_at = json_moment(o, "finished_at");
    out->has_exit_code = json_is_integer(json_object_get(o, "exit_code"));
    out->exit_code = (int)json_integer_value(json_object_get(o, "exit_code"));
    out->signal = (int)json_integer_value(json_object_get(o, "signal"));
    out->error_json = json_text(o, "error", arena);
    out->progress_json = json_text(o, "progress", arena);
    out->checkpoint_json = json_text(o, "checkpoint", arena);
    out->warnings_json = json_text(o, "warnings", arena);
    if (out->warnings_json && strcmp(out->warnings_json, "[]") == 0) {
        out->warnings_json = NULL;
    }
    out->cpu_for = json_span(o, "cpu_s");
    out->peak_rss = json_integer_value(json_object_get(o, "peak_rss_bytes"));
    out->output_bytes = json_integer_value(json_object_get(o, "output_bytes"));
    return json_bytes(o, "result", arena, &out->result, &out->result_len);
}

static void
decide(struct er_engine *e, struct er_run *run, const json_t *o, struct er_arena *arena,
       struct er_finish *f)
{
    const char *why = json_string_value(json_object_get(o, "why"));
    const json_t *error = json_object_get(o, "error");
    bool spawned = !json_is_false(json_object_get(o, "spawned"));
    er_usec retry_after = json_span(o, "retry_after_s");
    bool ok = f->has_exit_code && f->exit_code == 0 && !json_is_object(error);

    bool requeue = why && strcmp(why, "requeue") == 0;
    if ((why && strcmp(why, "cancel") == 0) || (requeue && run->cancel)) {
        cancelled(run, arena, f); /* also when it was asked for after a requeue */
    } else if (requeue) {
        if (spawned) {
            put_back(run, ER_OUTCOME_REQUEUED, "{\"reason\":\"requeue\"}", f);
        } else {
            er_report_refund(run, arena, f);
        }
    } else if (!spawned && !json_is_object(error)) {
        er_report_refund(run, arena, f);
    } else if (retry_after > 0 && (!why || strcmp(why, "timeout") != 0) && !run->cancel) {
        rate_limited(e, retry_after, arena, f);
    } else if (ok && (!why || strcmp(why, "timeout") != 0)) {
        complete(arena, f);
    } else if (run->cancel) {
        cancelled(run, arena, f); /* it was on its way out when it failed */
    } else {
        if (!f->error_json) {
            f->error_json = default_error(f, why, arena);
        }
        const char *class = json_string_value(json_object_get(error, "class"));
        fail(e, run, arena, class ? class : "retryable", retry_after, f);
    }
}

int
er_report_finish(struct er_engine *e, struct er_run *run, struct er_arena *arena,
                 const char *json, size_t len, struct er_finish *out, struct er_err *err)
{
    json_error_t je;
    json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(o)) {
        json_decref(o);
        return er_fail(err, ER_EINVALID, "a report of an end is not JSON: %s", je.text);
    }
    *out = (struct er_finish){.id = run->id,
                              .attempt = run->attempt,
                              .session = run->session->id,
                              .run_at = ER_NEVER,
                              .outcome = ER_OUTCOME_FAILED};
    int rc = read_finish(o, arena, out);
    if (rc == 0) {
        keep_latest(run, arena, out);
        decide(e, run, o, arena, out);
    } else {
        (void)er_fail(err, rc, "the result in the report on task %lld: %s",
                      (long long)run->id, er_error_meaning(rc));
    }
    json_decref(o);
    return rc;
}

/* ---- the end of a run in memory ---- */

void
er_run_end_begin(struct er_engine *e, struct er_run *run)
{
    run->phase = ER_RUN_ENDING;
    run->session->load--;
    er_lanes_release(e, run->lane);
}

void
er_run_end_undo(struct er_engine *e, struct er_run *run)
{
    run->phase = ER_RUN_HELD;
    run->session->load++;
    er_lanes_retake(e, run->lane);
}

void
er_run_end_done(struct er_engine *e, struct er_run *run, const struct er_finish *row)
{
    if (run->cancel && row->status == 0 && !er_task_state_is_final(row->state)) {
        er_change_cancel_after(e, run);
    }
    er_run_free(e, run);
}

/* ---- batches ---- */

struct er_report_batch {
    struct er_op op;
    struct er_engine *engine;
    int64_t session;
    struct er_arena arena;
    struct er_finish *rows;
    size_t n, size;
    struct er_held *lost;
    size_t n_lost, lost_size;
    er_report_done_fn *done;
    void *ctx;
    bool over;                              /* its worker died before it was sent */
    TAILQ_ENTRY(er_report_batch) in_engine; /* until it is sent or dropped */
};

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
    TAILQ_INSERT_TAIL(&e->batches, b, in_engine);
    return b;
}

static void
batch_undo(struct er_report_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        er_run_end_undo(b->engine, er_run_find(b->engine, b->rows[i].id));
    }
    b->n = 0;
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
    for (size_t i = 0; i < b->n; i++) {
        if (b->rows[i].id == task) {
            return true;
        }
    }
    return false;
}

static void
batch_lost(struct er_report_batch *b, er_task_id task, int attempt)
{
    if (b->n_lost == b->lost_size) {
        b->lost_size = b->lost_size ? b->lost_size * 2 : 8;
        b->lost = er_xrealloc_array(b->lost, b->lost_size, sizeof *b->lost);
    }
    b->lost[b->n_lost++] = (struct er_held){.task = task, .attempt = attempt};
}

/* A short smoothed length of attempts: tells how much work to give ahead. */
static void
learn_length(struct er_session_live *s, const struct er_finish *f)
{
    if (f->refund) {
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
line_finished(struct er_report_batch *b, struct er_run *run, const json_t *o,
              struct er_err *err)
{
    if (b->n == REPORT_MAX) {
        return er_fail(err, ER_ETOOBIG, "more than %zu ends in one report", REPORT_MAX);
    }
    if (b->n == b->size) {
        b->size = b->size ? b->size * 2 : 8;
        b->rows = er_xrealloc_array(b->rows, b->size, sizeof *b->rows);
    }
    char *text = json_dumps(o, JSON_COMPACT);
    if (!text) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    int rc = er_report_finish(b->engine, run, &b->arena, text, strlen(text),
                              &b->rows[b->n], err);
    free(text);
    if (rc == 0) {
        learn_length(run->session, &b->rows[b->n]);
        b->n++;
        er_run_end_begin(b->engine, run);
    }
    return rc;
}

static void
replace_text(char **text, const json_t *value)
{
    if (json_is_object(value)) {
        er_free(*text);
        char *dump = json_dumps(value, JSON_COMPACT);
        *text = er_strdup(dump);
        free(dump);
    }
}

struct save_op {
    struct er_op op;
    struct er_progress_row row;
    char *progress, *checkpoint;
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
    er_free(s->checkpoint);
    er_free(s);
}

static void
save_progress(struct er_engine *e, struct er_run *run)
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
    s->checkpoint = er_xstrdup(run->checkpoint);
    s->row = (struct er_progress_row){.id = run->id,
                                      .attempt = run->attempt,
                                      .session = run->session->id,
                                      .progress_json = s->progress,
                                      .checkpoint_json = s->checkpoint};
    er_ferry_post(e->ferry, &s->op);
}

static void
line_progress(struct er_engine *e, struct er_run *run, const json_t *o)
{
    replace_text(&run->progress, json_object_get(o, "progress"));
    bool checkpoint = json_is_object(json_object_get(o, "checkpoint"));
    replace_text(&run->checkpoint, json_object_get(o, "checkpoint"));
    if (checkpoint) {
        run->saved_at = 0; /* a checkpoint is kept at once */
    }
    save_progress(e, run);
    er_observe_sample(e, run, ER_EVENT_TASK_PROGRESS);
}

static int
one_line(struct er_report_batch *b, const char *kind, const json_t *o, struct er_err *err)
{
    struct er_engine *e = b->engine;
    er_task_id task = json_integer_value(json_object_get(o, "task"));
    int attempt = (int)json_integer_value(json_object_get(o, "attempt"));
    struct er_run *run = er_run_find(e, task);
    bool finished = strcmp(kind, "finished") == 0;
    bool own =
        run && run->session->id == b->session && run->attempt == attempt && !b->over;
    if (own && finished && run->phase == ER_RUN_ENDING) {
        /* the same end is on its way to the disk, by a report whose answer was lost: "lost"
         * would make the worker forget what may still have to be written */
        return batch_has(b, task) ? 0
                                  : er_fail(err, ER_EBUSY,
                                            "the end of task %lld is being "
                                            "written: report it again",
                                            (long long)task);
    }
    if (!own || run->phase != ER_RUN_HELD) {
        if (finished) {
            batch_lost(b, task, attempt);
        }
        return 0;
    }
    if (finished) {
        return line_finished(b, run, o, err);
    }
    if (strcmp(kind, "started") == 0) {
        run->pid = (int)json_integer_value(json_object_get(o, "pid"));
        run->started_at = json_moment(o, "started_at");
    } else if (strcmp(kind, "progress") == 0) {
        line_progress(e, run, o);
    } else if (strcmp(kind, "output") == 0) {
        run->output_bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
        er_observe_sample(e, run, ER_EVENT_TASK_OUTPUT);
    } else {
        return er_fail(err, ER_EINVALID,
                       "unknown report '%s' (started, progress, output, finished)", kind);
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

static void
batch_free(struct er_report_batch *b)
{
    er_arena_free(&b->arena);
    er_free(b->rows);
    er_free(b->lost);
    er_free(b);
}

static int
run_batch(struct er_op *op, struct er_store *s, er_usec now)
{
    struct er_report_batch *b = (struct er_report_batch *)(void *)op;
    return er_store_finish(s, now, b->rows, b->n);
}

static void
done_batch(struct er_op *op, int rc)
{
    struct er_report_batch *b = (struct er_report_batch *)(void *)op;
    struct er_engine *e = b->engine;
    for (size_t i = 0; i < b->n; i++) {
        struct er_run *run = er_run_find(e, b->rows[i].id);
        ER_ASSERT(run && run->phase == ER_RUN_ENDING);
        if (rc) {
            er_run_end_undo(e, run);
            continue;
        }
        if (b->rows[i].status) {
            batch_lost(b, run->id, run->attempt);
        }
        er_run_end_done(e, run, &b->rows[i]);
        e->stats.finished++;
        er_schedule_prune(e);
    }
    if (rc) {
        er_schedule_sick(e, rc);
    }
    b->done(b->ctx, rc, b->lost, b->n_lost);
    batch_free(b);
}

void
er_engine_report_send(struct er_report_batch *b, er_report_done_fn *done, void *ctx)
{
    b->done = done;
    b->ctx = ctx;
    TAILQ_REMOVE(&b->engine->batches, b, in_engine);
    if (b->n == 0) { /* samples only: nothing to wait for */
        done(ctx, b->over ? ER_ELOST : 0, b->lost, b->n_lost);
        batch_free(b);
        return;
    }
    b->op.run = run_batch;
    b->op.done = done_batch;
    er_ferry_post(b->engine->ferry, &b->op);
}

void
er_engine_report_drop(struct er_report_batch *b)
{
    TAILQ_REMOVE(&b->engine->batches, b, in_engine);
    batch_undo(b);
    batch_free(b);
}
