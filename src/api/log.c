/* SPDX-License-Identifier: MIT */
/* GET /v1/tasks/{id}/log: what an attempt wrote, read from its log on the thread for
 * files in pieces of PIECE bytes, so that no log is ever whole in memory and a slow
 * client holds nobody up.
 *
 * Happy path: read the task (which attempt?) -> open the log, skip to the last N lines ->
 * pieces until the end that it had when it was opened; or, with `follow`, sleep until the
 * task's output grew or a fact came, and go on, with the next attempt when there is one,
 * until the task is final and its log is read to the end.
 * Failure modes: the first piece cannot be read, or the log is gone although the store
 * knows of output: a problem. A later one cannot: a line says so, and the stream ends.
 * The worker could not write it all: a line says how much is missing. */
#include <stdio.h>
#include <string.h>

#include "api/tasks.h"
#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/outlog.h"

#define PIECE    ((size_t)64 << 10)
#define TAIL_MAX 1000000

struct log_job;
struct log_stream {
    struct er_call *call; /* held while this lives */
    struct er_stream *stream;
    struct er_watch *watch;
    er_task_id task;
    int attempt; /* whose log is read; 0 = none has started yet */
    int newest;  /* the latest attempt that is known to have started */
    bool follow, timestamps, ndjson, chosen; /* chosen: one attempt was asked for */
    enum er_outlog_kind only;                /* 0 = both streams */
    int64_t tail;                            /* last lines wanted; -1 = all */
    bool final;                              /* the task is final */
    bool busy;                               /* a job is under way */
    bool again;                              /* something happened meanwhile */
    bool over;                               /* nothing more will come */
    bool gone;                               /* the client has gone */
    int64_t written;                         /* bytes that the attempt is known to have */
    struct er_buf ready;                     /* what was read and not sent yet */
    /* used by the thread for files while a job is under way */
    struct er_outlog_reader *reader;
    int64_t skip_lines; /* lines to leave out at the start */
    uint64_t expected;  /* offset that follows if nothing was dropped */
    bool mid_line, started;
    enum er_outlog_kind last_kind;
};
struct log_job {
    struct er_job job;
    struct log_stream *ls;
    const char *logs;
    struct er_buf out;
    bool end; /* the log has no more now */
    int rc;
};

/* ---- on the thread for files ---- */

static void
add_json_chunk(struct er_buf *b, const struct er_outlog_frame *f)
{
    char at[ER_RFC3339_SIZE];
    er_time_format(f->at, at);
    er_buf_addf(b, "{\"t\":\"%s\",\"stream\":\"%s\",", at,
                f->kind == ER_OUTLOG_STDERR ? "stderr" : "stdout");
    if (er_utf8_is_valid(f->data, f->len)) {
        er_buf_add_str(b, "\"data\":");
        er_buf_add_json(b, f->data, f->len);
    } else {
        er_buf_add_str(b, "\"base64\":\"");
        er_base64_encode(b, f->data, f->len);
        er_buf_add_char(b, '"');
    }
    er_buf_add_str(b, "}\n");
}

static void
add_prefix(struct er_buf *b, const struct er_outlog_frame *f)
{
    char at[ER_RFC3339_SIZE];
    er_time_format(f->at, at);
    er_buf_addf(b, "%s %s ", at, f->kind == ER_OUTLOG_STDERR ? "err" : "out");
}

static void
add_text(struct log_stream *ls, struct er_buf *b, const struct er_outlog_frame *f,
         const char *p, size_t n)
{
    if (!ls->timestamps) {
        er_buf_add(b, p, n);
        return;
    }
    if (ls->mid_line && ls->last_kind != f->kind) {
        er_buf_add_char(b, '\n');
        ls->mid_line = false;
    }
    while (n > 0) {
        if (!ls->mid_line) {
            add_prefix(b, f);
        }
        const char *nl = memchr(p, '\n', n);
        size_t len = nl ? (size_t)(nl - p) + 1 : n;
        er_buf_add(b, p, len);
        ls->mid_line = !nl;
        p += len;
        n -= len;
    }
    ls->last_kind = f->kind;
}

/* Says that n bytes are not there, on a line of its own. */
static void
note_bytes(struct log_stream *ls, struct er_buf *b, uint64_t n, const char *name,
           const char *words)
{
    if (ls->ndjson) {
        er_buf_addf(b, "{\"%s\":%llu}\n", name, (unsigned long long)n);
        return;
    }
    er_buf_addf(b, "%s[... %llu bytes %s ...]\n", ls->mid_line ? "\n" : "",
                (unsigned long long)n, words);
    ls->mid_line = false;
}

/* Says where the middle was cut out. */
static void
note_gap(struct log_stream *ls, struct er_buf *b, const struct er_outlog_frame *f)
{
    if (f->offset > ls->expected && ls->started && ls->only == 0) {
        note_bytes(ls, b, f->offset - ls->expected, "omitted", "omitted");
    }
    ls->expected = f->offset + f->len;
    ls->started = true;
}

/* Says how much is missing at the end: it could not be written (a full disk). `total` is
 * what both streams came to. */
static void
note_lost(struct log_stream *ls, struct er_buf *b, uint64_t total)
{
    if (total <= ls->expected) {
        return;
    }
    if (ls->only == 0 && ls->skip_lines <= 0) {
        note_bytes(ls, b, total - ls->expected, "lost", "could not be written");
    }
    ls->expected = total;
}

static bool
is_wanted(const struct log_stream *ls, const struct er_outlog_frame *f)
{
    return (f->kind == ER_OUTLOG_STDOUT || f->kind == ER_OUTLOG_STDERR) &&
           (ls->only == 0 || ls->only == f->kind);
}

/* Leaves out lines at the start of a frame; what is left of it is text to give. */
static void
skip_lines(struct log_stream *ls, struct er_outlog_frame *f)
{
    while (ls->skip_lines > 0 && f->len > 0) {
        const char *nl = memchr(f->data, '\n', f->len);
        size_t len = nl ? (size_t)(nl - f->data) + 1 : f->len;
        f->data += len;
        f->len -= len;
        ls->skip_lines -= nl != NULL;
    }
}

static void
take_frame(struct log_stream *ls, struct log_job *j, struct er_outlog_frame *f)
{
    if (f->kind == ER_OUTLOG_EXIT) {
        note_lost(ls, &j->out, f->offset);
        return;
    }
    if (!is_wanted(ls, f)) {
        ls->expected =
            f->offset +
            (f->kind == ER_OUTLOG_STDOUT || f->kind == ER_OUTLOG_STDERR ? f->len : 0);
        return;
    }
    if (ls->skip_lines == 0) {
        note_gap(ls, &j->out, f);
    } else {
        ls->expected = f->offset + f->len;
        skip_lines(ls, f);
    }
    if (f->len == 0) {
        return;
    }
    ls->started = true;
    if (ls->ndjson) {
        add_json_chunk(&j->out, f);
    } else {
        add_text(ls, &j->out, f, f->data, f->len);
        if (!ls->timestamps) {
            ls->mid_line = f->data[f->len - 1] != '\n';
        }
    }
}

/* Opens the log as it is now, where the lines that are wanted begin. */
static int
open_log(struct log_stream *ls, const char *logs)
{
    struct er_outlog_reader *r;
    int rc = er_outlog_open(logs, ls->task, ls->attempt, &r);
    if (rc) {
        return rc;
    }
    rc = er_outlog_hold(r, !ls->follow);
    if (rc) {
        er_outlog_reader_close(r);
        return rc;
    }
    ls->skip_lines = ls->tail < 0 ? 0 : er_outlog_seek_lines(r, ls->only, ls->tail);
    ls->reader = r;
    return 0;
}

static void
run_log(struct er_job *job, void *thread_ctx)
{
    (void)thread_ctx;
    struct log_job *j = (struct log_job *)(void *)job;
    struct log_stream *ls = j->ls;
    if (!ls->reader) {
        int rc = open_log(ls, j->logs);
        if (rc) { /* no log is no error where nothing was written */
            j->rc = rc == ER_ENOTFOUND && ls->written == 0 ? 0 : rc;
            j->end = true;
            return;
        }
    }
    struct er_outlog_frame f;
    int got = 0;
    while (j->out.len < PIECE && (got = er_outlog_next(ls->reader, &f)) == 1) {
        take_frame(ls, j, &f);
    }
    j->end = got != 1 && j->out.len < PIECE;
    j->rc = got < 0 ? got : 0;
    if (j->end && !j->rc && ls->written > 0) { /* its end could not be written either */
        note_lost(ls, &j->out, (uint64_t)ls->written);
    }
}

/* Says why there is no more. */
static void
note_error(struct log_stream *ls, struct er_buf *b, int rc)
{
    if (ls->ndjson) {
        er_buf_addf(b, "{\"error\":{\"code\":\"%s\",\"message\":", er_error_word(rc));
        er_buf_add_json_str(b, er_error_meaning(rc));
        er_buf_add_str(b, "}}\n");
    } else {
        er_buf_addf(b, "%s[... output cannot be read: %s ...]\n",
                    ls->mid_line ? "\n" : "", er_error_meaning(rc));
        ls->mid_line = false;
    }
}

/* ---- on the loop ---- */

static void
end_if_gone(struct log_stream *ls)
{
    if (ls->gone && !ls->busy) {
        er_call_release(ls->call);
    }
}

static void next_piece(struct log_stream *ls);

static bool
pull(void *ctx, struct er_buf *out, size_t room)
{
    (void)room;
    struct log_stream *ls = ctx;
    if (ls->ready.len > 0) {
        er_buf_add(out, ls->ready.data, ls->ready.len);
        er_buf_fini(&ls->ready);
    }
    if (ls->over) {
        return false;
    }
    if (!ls->busy) {
        next_piece(ls);
    }
    return true;
}

static void
begin_stream(struct log_stream *ls)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", ls->attempt);
    er_request_add_header(ls->call->req, "X-Errand-Attempt", number);
    ls->call->answered = true;
    ls->stream = er_request_stream(
        ls->call->req, 200,
        ls->ndjson ? "application/x-ndjson" : "application/octet-stream", pull, ls);
    er_stream_wake(ls->stream);
}

static void
refuse(struct log_stream *ls, int rc)
{
    if (rc == ER_ENOTFOUND) {
        er_call_problem(
            ls->call, rc, NULL,
            "the output of task %lld, attempt %d (%lld bytes) is not there any "
            "more: its log was deleted",
            (long long)ls->task, ls->attempt, (long long)ls->written);
    } else {
        er_call_problem(ls->call, rc, NULL,
                        "the output of task %lld, attempt %d cannot be read: %s",
                        (long long)ls->task, ls->attempt, er_error_meaning(rc));
    }
}

static void
on_end_of_log(struct log_stream *ls)
{
    if (ls->again) {
        next_piece(ls);
    } else if (!ls->chosen && ls->newest > ls->attempt) {
        ls->attempt++; /* each, also those that were short */
        er_outlog_reader_close(ls->reader);
        ls->reader = NULL;
        ls->expected = 0;
        ls->started = false;
        ls->mid_line = false;
        ls->tail = -1;
        ls->written = 0; /* not looked up */
        next_piece(ls);
    } else if (!ls->follow || ls->final || (ls->chosen && ls->newest > ls->attempt)) {
        ls->over = true;
        er_stream_wake(ls->stream);
    }
}

static void
done_log(struct er_job *job)
{
    struct log_job *j = (struct log_job *)(void *)job;
    struct log_stream *ls = j->ls;
    ls->busy = false;
    if (!ls->gone && !ls->stream && j->rc && j->out.len == 0) {
        ls->over = true;
        refuse(ls, j->rc);
    } else if (!ls->gone) {
        if (!ls->stream) {
            begin_stream(ls);
        }
        if (j->rc) {
            note_error(ls, &j->out, j->rc);
            ls->over = true;
        }
        er_buf_add(&ls->ready, j->out.data ? j->out.data : "", j->out.len);
        if (ls->ready.len > 0) {
            er_stream_wake(ls->stream);
        }
        if (j->end && !j->rc) {
            on_end_of_log(ls);
        }
    }
    er_buf_fini(&j->out);
    er_free(j);
    end_if_gone(ls);
}

static void
next_piece(struct log_stream *ls)
{
    if (ls->over || ls->ready.len >= PIECE) {
        return; /* pull asks for more */
    }
    if (ls->attempt == 0) {
        if (!ls->follow || ls->final) {
            ls->over = true;
            er_stream_wake(ls->stream);
        }
        return;
    }
    if (ls->busy) {
        ls->again = true;
        return;
    }
    ls->busy = true;
    ls->again = false;
    struct log_job *j = er_xzalloc(sizeof *j);
    j->job.run = run_log;
    j->job.done = done_log;
    j->ls = ls;
    j->logs = er_engine_logs(ls->call->api->engine);
    er_buf_init(&j->out, 0);
    er_engine_files(ls->call->api->engine, &j->job);
}

static void
on_event(void *ctx, enum er_event event)
{
    struct log_stream *ls = ctx;
    struct er_live live;
    if (er_engine_live(ls->call->api->engine, ls->task, &live) &&
        live.attempt > ls->newest) {
        ls->newest = live.attempt;
    }
    if (ls->attempt == 0 && ls->newest > 0) {
        ls->attempt = ls->newest;
    }
    ls->final = ls->final || event == ER_EVENT_TASK_COMPLETED ||
                event == ER_EVENT_TASK_FAILED || event == ER_EVENT_TASK_CANCELLED ||
                event == ER_EVENT_TASK_REMOVED;
    ls->again = ls->busy;
    if (!ls->busy) {
        next_piece(ls);
    }
}

static void
gone(struct er_call *call)
{
    struct log_stream *ls = call->state;
    if (ls && !ls->gone) {
        ls->gone = true;
        er_engine_unwatch(ls->watch);
        ls->watch = NULL;
        end_if_gone(ls);
    }
}

static void
free_log(struct er_call *call)
{
    struct log_stream *ls = call->state;
    er_outlog_reader_close(ls->reader);
    er_buf_fini(&ls->ready);
    er_free(ls);
}

/* ---- which attempt ---- */

struct log_query {
    struct er_query q;
    struct log_stream *ls;
    struct er_task task;
    struct er_attempt *attempts;
    size_t n;
    bool has_tombstone;
    struct er_tombstone tombstone;
};

static void
run_which(struct er_query *q, struct er_store_reader *r)
{
    struct log_query *lq = (struct log_query *)(void *)q;
    int rc = er_store_get(r, lq->ls->task, false, &q->arena, &lq->task);
    if (rc == 0) {
        rc = er_store_attempts(r, lq->ls->task, &q->arena, &lq->attempts, &lq->n);
    } else if (rc == ER_ENOTFOUND) {
        lq->has_tombstone = er_store_get_tombstone(r, lq->ls->task, &lq->tombstone) == 0;
    }
    q->rc = rc;
}

/* What the store knows of the output of an attempt that has ended. */
static int64_t
written_by(const struct log_query *lq, int attempt)
{
    for (size_t i = 0; i < lq->n; i++) {
        if (lq->attempts[i].number == attempt && lq->attempts[i].output_bytes > 0) {
            return lq->attempts[i].output_bytes;
        }
    }
    return 0;
}

static void
start_reading(struct log_stream *ls, const struct log_query *lq)
{
    struct er_call *call = ls->call;
    const struct er_task *t = &lq->task;
    /* a fact may have come while the task was read: the greater attempt is the newer */
    ls->newest = t->attempt > ls->newest ? t->attempt : ls->newest;
    if (!ls->chosen) {
        ls->attempt = ls->newest;
    } else if (ls->attempt > ls->newest) {
        er_call_problem(call, ER_ENOTFOUND, "attempt",
                        "task %lld has had %d attempt%s, there is no attempt %d",
                        (long long)ls->task, ls->newest, ls->newest == 1 ? "" : "s",
                        ls->attempt);
        return;
    }
    ls->final = ls->final || er_task_state_is_final(t->state);
    if (ls->attempt == 0) {
        begin_stream(ls);
    } else {
        ls->written = written_by(lq, ls->attempt);
        next_piece(ls);
    }
}

static void
done_which(struct er_query *q)
{
    struct log_query *lq = (struct log_query *)(void *)q;
    struct log_stream *ls = lq->ls;
    ls->busy = false;
    if (!ls->gone && q->rc) {
        er_call_missing(ls->call, ls->task, q->rc,
                        lq->has_tombstone ? &lq->tombstone : NULL);
    } else if (!ls->gone) {
        start_reading(ls, lq);
    }
    er_arena_free(&q->arena);
    er_free(lq);
    end_if_gone(ls);
}

static bool
read_options(struct er_call *call, struct log_stream *ls)
{
    int64_t attempt, flag;
    const char *stream = er_request_query(call->req, "stream");
    const char *format = er_request_query(call->req, "format");
    if (!er_call_number(call, "attempt", 1, INT32_MAX, 0, &attempt) ||
        !er_call_number(call, "tail", 0, TAIL_MAX, -1, &ls->tail) ||
        !er_call_number(call, "follow", 0, 1, 0, &flag)) {
        return false;
    }
    ls->follow = flag != 0;
    if (!er_call_number(call, "timestamps", 0, 1, 0, &flag)) {
        return false;
    }
    ls->timestamps = flag != 0;
    ls->attempt = (int)attempt;
    ls->chosen = attempt > 0;
    ls->ndjson = format && strcmp(format, "ndjson") == 0;
    ls->only = !stream                         ? 0
               : strcmp(stream, "stdout") == 0 ? ER_OUTLOG_STDOUT
                                               : ER_OUTLOG_STDERR;
    if (stream && strcmp(stream, "stdout") != 0 && strcmp(stream, "stderr") != 0) {
        er_call_problem(call, ER_EINVALID, "stream",
                        "stream is stdout or stderr, not '%.50s'", stream);
        return false;
    }
    if (format && !ls->ndjson) {
        er_call_problem(call, ER_EINVALID, "format", "format is ndjson, not '%.50s'",
                        format);
        return false;
    }
    return true;
}

void
er_api_log(struct er_call *call)
{
    struct log_stream *ls = er_xzalloc(sizeof *ls);
    ls->call = call;
    ls->task = call->id;
    er_buf_init(&ls->ready, 0);
    call->state = ls;
    call->free_state = free_log;
    if (!read_options(call, ls)) {
        return;
    }
    call->gone = gone;
    er_call_hold(call);
    if (ls->follow) {
        ls->watch = er_engine_watch(call->api->engine, ls->task, on_event, ls);
    }
    ls->busy = true;
    struct log_query *lq = er_xzalloc(sizeof *lq);
    lq->q.run = run_which;
    lq->q.done = done_which;
    lq->ls = ls;
    er_engine_query(call->api->engine, &lq->q);
}
