/* SPDX-License-Identifier: MIT */
/* Happy path: the pipe is readable, at most 8 KiB are read, whole lines are taken: a
 * plain one becomes an update of the progress, what a JSON one says is read by
 * wire/said.c. At the attempt's end what is in the pipe is read, two MiB at most, and a
 * last line needs no newline.
 *
 * Failure modes: a line that is too long is skipped up to its newline; a member that is
 * unknown or of a wrong kind, a checkpoint that is too large, parts out of order are
 * dropped; each with a warning, and the attempt goes on. A result that is too large (as a
 * line of its own: longer than a line may be) is lost, and the attempt does not complete.
 * While the report's notes are full nothing is read, and the command waits in its write.
 * When memory is out an item or checkpoint may be missing: it is then done again. */
#include "work/progress_fd.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "model/progress_line.h"
#include "wire/said.h"
#include "work/worker.h"

#define READ_MOST (2 << 20) /* bytes at the end: more than a pipe can hold */

/* ---- what a JSON line says ---- */

static void
hear_item(void *ctx, const char *name, bool is_failed)
{
    struct er_work_attempt *a = ctx;
    er_report_add_item(&a->worker->report, a, name, is_failed);
    er_progress_add_item(&a->progress, name, is_failed);
    er_sample_progress(a);
}

static void
hear_checkpoint(void *ctx, const char *json, size_t n)
{
    struct er_work_attempt *a = ctx;
    char *copy = er_strndup(json, n);
    if (copy) {
        er_free(a->checkpoint_json);
        a->checkpoint_json = copy;
        er_report_add_checkpoint(&a->worker->report, a);
    }
}

static void
hear_retry_after(void *ctx, double s)
{
    struct er_work_attempt *a = ctx;
    a->retry_after_s = s;
}

static void
hear_error(void *ctx, const char *json)
{
    struct er_work_attempt *a = ctx;
    char *copy = er_strdup(json);
    if (copy) {
        er_free(a->error_json);
        a->error_json = copy;
    }
}

static void
hear_result(void *ctx, const char *p, size_t n)
{
    struct er_work_attempt *a = ctx;
    er_buf_clear(&a->result);
    er_buf_add(&a->result, p, n);
    a->has_result = !a->result.failed;
    a->result_lost = false;
}

static void
hear_result_lost(void *ctx)
{
    struct er_work_attempt *a = ctx;
    er_buf_fini(&a->result);
    er_buf_init(&a->result, ER_MAX_RESULT);
    a->has_result = false;
    a->result_lost = true;
}

static void
hear_warning(void *ctx, const char *text)
{
    er_attempt_warn(ctx, "%s", text);
}

static const struct er_said_sink sink = {
    hear_item,   hear_checkpoint,  hear_retry_after, hear_error,
    hear_result, hear_result_lost, hear_warning,
};

static void
take_json(struct er_work_attempt *a, const char *line, size_t n)
{
    json_error_t why;
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        er_attempt_warn(a, "progress line is not JSON: %s", why.text);
        return;
    }
    struct er_progress_update u = er_said_take(o, &a->progress_fd.parts, &sink, a);
    er_sample_update(a, &u);
    json_decref(o);
}

void
er_progress_fd_line(struct er_work_attempt *a, const char *line, size_t n)
{
    struct er_progress_line parsed;
    struct er_err err = {0};
    er_clocks_alive(a);
    if (er_progress_line_parse(line, n, &parsed, &err) != 0) {
        er_attempt_warn(a, "progress line: %s", err.text);
    } else if (parsed.is_json) {
        take_json(a, line, n);
    } else if (!parsed.is_blank) {
        struct er_progress_update u = er_progress_line_update(&parsed);
        er_sample_update(a, &u);
    }
}

/* ---- lines ---- */

/* A line that is too long: what it may have said is not read, but a result is missed. */
static void
warn_too_long(struct er_progress_fd *p)
{
    static const char result[] = "{\"result";
    er_attempt_warn(p->attempt, "progress line: longer than %d bytes",
                    ER_PROGRESS_LINE_MAX);
    if (p->line.len >= sizeof result - 1 &&
        memcmp(p->line.data, result, sizeof result - 1) == 0) {
        hear_result_lost(p->attempt);
    }
}

/* A whole line, or the last part of one whose start waits in p->line. */
static void
end_line(struct er_progress_fd *p, const char *s, size_t n)
{
    if (p->skipping) {
        p->skipping = false;
    } else if (p->line.len == 0) {
        er_progress_fd_line(p->attempt, s, n);
    } else {
        er_buf_add(&p->line, s, n);
        if (p->line.failed) {
            warn_too_long(p);
        } else {
            er_progress_fd_line(p->attempt, p->line.data, p->line.len);
        }
    }
    er_buf_fini(&p->line);
}

static void
take_bytes(struct er_progress_fd *p, const char *s, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(s, '\n', n);
        if (nl) {
            end_line(p, s, (size_t)(nl - s));
            n -= (size_t)(nl - s) + 1;
            s = nl + 1;
            continue;
        }
        if (!p->skipping) {
            er_buf_add(&p->line, s, n);
        }
        if (p->line.failed) {
            warn_too_long(p);
            er_buf_fini(&p->line);
            p->skipping = true;
        }
        return;
    }
}

static void
end_reading(struct er_progress_fd *p)
{
    if (p->fd < 0) {
        return;
    }
    er_watch_stop(&p->attempt->worker->watches, &p->watch);
    er_close(&p->fd);
    if (p->line.len > 0) { /* the last line needs no newline */
        end_line(p, "", 0);
    }
    er_buf_fini(&p->line);
    er_said_parts_fini(&p->parts);
}

/* Reads once: how many bytes, 0 at the end (then it is closed), -1 = nothing there now.
 */
static ssize_t
read_some(struct er_progress_fd *p)
{
    char chunk[8192];
    ssize_t n = read(p->fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -1;
    }
    if (n <= 0) {
        end_reading(p);
        return 0;
    }
    take_bytes(p, chunk, (size_t)n);
    return n;
}

static void
on_readable(struct er_fd_watch *w, uint32_t events)
{
    (void)events;
    struct er_progress_fd *p = ER_CONTAINER(w, struct er_progress_fd, watch);
    struct er_worker *worker = p->attempt->worker;
    if (er_report_is_full(&worker->report)) {
        er_watch_stop(&worker->watches, w);
        return;
    }
    (void)read_some(p);
}

void
er_progress_fd_go_on(struct er_progress_fd *p)
{
    if (p->fd >= 0 && p->attempt->state > ER_ATTEMPT_SPAWNING &&
        !er_watch_is_on(&p->watch) && er_progress_fd_start(p) != 0) {
        er_attempt_warn(p->attempt, "its progress cannot be read any more");
    }
}

int
er_progress_fd_open(struct er_progress_fd *p, struct er_work_attempt *a,
                    int *out_child_fd)
{
    int rc = er_pipe_read(&p->fd, out_child_fd);
    if (rc == 0) {
        p->attempt = a;
        er_buf_init(&p->line, ER_PROGRESS_LINE_MAX);
    }
    return rc;
}

int
er_progress_fd_start(struct er_progress_fd *p)
{
    return er_watch_start(&p->attempt->worker->watches, &p->watch, p->fd, EPOLLIN,
                          on_readable);
}

void
er_progress_fd_finish(struct er_progress_fd *p)
{
    ssize_t n;
    for (size_t most = READ_MOST; p->fd >= 0; most -= (size_t)n) {
        n = read_some(p);
        if (n <= 0 || (size_t)n >= most) {
            break;
        }
    }
    end_reading(p);
}
