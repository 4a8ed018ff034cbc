/* SPDX-License-Identifier: MIT */
/* How it works: the daemon streams the bytes of one attempt as they are. Where the two
 * streams must be told apart, it sends one JSON object a piece instead.
 *
 * To follow is to read one attempt after the other: a stream of a chosen attempt ends
 * when the next one has started or the task is final.
 *
 * Failure modes: the connection breaks, or ends before the task is final (a daemon that
 * shuts down); then the same attempt is asked for again from its start, and what was
 * written already is passed over. With the last N lines only it cannot be told where that
 * was, so the stream then goes on with what is new, and says so. When our own output
 * cannot be written (a full disk) that is the error. */
#include "app/output.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "app/await.h"
#include "app/daemon.h"
#include "base/base64.h"
#include "base/io.h"

struct output {
    const struct er_output_options *o;
    int64_t attempt;  /* the one that is read; 0 = the latest */
    int64_t tail;     /* lines of it that are wanted; -1 = all */
    bool ended;       /* its stream came to an end */
    bool pieces;      /* JSON objects, not bytes */
    uint64_t written; /* bytes of output that were written in all */
    uint64_t skip; /* of them those that the stream has yet to pass after a new start */
    struct er_buf line;       /* of a piece, until it is whole */
    struct er_buf unreadable; /* why the rest cannot be read; "" = it can */
    int failed;               /* errno of a write that failed */
};

/* Bytes of the task on a descriptor of ours. */
static void
write_bytes(struct output *out, int fd, const char *p, size_t n)
{
    if (out->skip > 0) {
        size_t pass = out->skip < n ? (size_t)out->skip : n;
        out->skip -= pass;
        p += pass;
        n -= pass;
    }
    if (n > 0 && !out->failed && er_write_all(fd, p, n)) {
        out->failed = errno;
    }
    out->written += n;
}

/* One piece: an object with the stream and its data. */
static void
write_piece(struct output *out, const char *text, size_t n)
{
    struct er_buf data;
    json_t *o = json_loadb(text, n, JSON_ALLOW_NUL, NULL);
    const json_t *plain = json_object_get(o, "data");
    const char *stream = er_json_text(o, "stream");
    const char *base64 = er_json_text(o, "base64");
    const char *why = er_json_text(json_object_get(o, "error"), "message");
    if (why) {
        er_buf_clear(&out->unreadable);
        er_buf_add_str(&out->unreadable, why);
    }
    bool err = stream && strcmp(stream, "stderr") == 0;
    bool colour = err && out->o->colour;
    er_buf_init(&data, 0);
    if (plain) {
        er_buf_add(&data, json_string_value(plain), json_string_length(plain));
    } else if (base64) {
        (void)!er_base64_decode(&data, base64, strlen(base64));
    }
    int fd = err && out->o->split ? STDERR_FILENO : STDOUT_FILENO;
    if (colour && out->skip < data.len) {
        (void)!er_write_all(fd, "\033[31m", 5);
    }
    write_bytes(out, fd, data.data, data.len);
    if (colour && out->skip == 0) {
        (void)!er_write_all(fd, "\033[0m", 4);
    }
    er_buf_fini(&data);
    json_decref(o);
}

static void
take(struct output *out, const struct er_buf *in)
{
    if (!out->pieces) {
        write_bytes(out, STDOUT_FILENO, in->data, in->len);
        return;
    }
    er_buf_add(&out->line, in->data, in->len);
    size_t at = 0;
    const char *end;
    while (at < out->line.len &&
           (end = memchr(out->line.data + at, '\n', out->line.len - at)) != NULL) {
        size_t n = (size_t)(end - (out->line.data + at));
        if (n > 0) {
            write_piece(out, out->line.data + at, n);
        }
        at += n + 1;
    }
    er_buf_drop(&out->line, at);
}

static void
make_target(const struct output *out, er_task_id id, struct er_buf *b)
{
    const struct er_output_options *o = out->o;
    er_buf_addf(b, "/v1/tasks/%" PRId64 "/log", id);
    if (out->attempt > 0) {
        er_daemon_param_int(b, "attempt", out->attempt);
    }
    if (o->follow) {
        er_daemon_param(b, "follow", "1");
    }
    if (out->tail >= 0) {
        er_daemon_param_int(b, "tail", out->tail);
    }
    if (o->stream) {
        er_daemon_param(b, "stream", o->stream);
    }
    if (out->pieces) {
        er_daemon_param(b, "format", "ndjson");
    } else if (o->timestamps) {
        er_daemon_param(b, "timestamps", "1");
    }
}

/* Reads one stream to its end: 0, ER_ENODAEMON when it broke, or another error. */
static int
read_stream(struct er_app *app, struct output *out, er_usec *broke_at, struct er_err *err)
{
    struct er_buf in;
    er_buf_init(&in, 0);
    int rc;
    while ((rc = er_client_stream_read(app->client, &in, 0, err)) > 0) {
        *broke_at = 0;
        take(out, &in);
        er_buf_clear(&in);
        if (out->failed) {
            rc = er_fail(err, er_error_from_errno(out->failed),
                         "cannot write the output: %s", strerror(out->failed));
            break;
        }
    }
    er_buf_fini(&in);
    if (rc) {
        er_daemon_close(app);
    }
    if (rc == 0 && out->unreadable.len > 0) {
        rc = er_fail(err, ER_ECORRUPT, "the rest of the output cannot be read: %s",
                     out->unreadable.data);
    }
    return rc;
}

/* Prepares for the same stream once more. */
static void
rewind_to_start(struct output *out)
{
    if (out->o->tail >= 0 && out->tail >= 0) {
        er_app_note(
            "the daemon was started again; some of the output may be missing here");
        out->tail = 0;
    } else {
        out->skip = out->written;
    }
    er_buf_clear(&out->line);
}

/* The stream of one attempt, over breaks of the connection. */
static int
run_attempt(struct er_app *app, er_task_id id, struct output *out, struct er_err *err)
{
    er_usec broke_at = 0;
    for (;;) {
        struct er_buf target;
        er_buf_init(&target, 0);
        make_target(out, id, &target);
        int rc = er_daemon_stream(app, target.data, NULL, err);
        er_buf_fini(&target);
        rc = rc ? rc : read_stream(app, out, &broke_at, err);
        if (rc != ER_ENODAEMON || !app->connected_once) {
            return rc;
        }
        broke_at = broke_at ? broke_at : er_clock_mono(er_clock_system());
        rewind_to_start(out);
        rc = er_daemon_again(app, broke_at, err);
        if (rc) {
            return rc;
        }
    }
}

/* All attempts from the one that runs until the task is final. */
static int
follow(struct er_app *app, er_task_id id, struct output *out, struct er_err *err)
{
    for (;;) { /* there is nothing to follow before it starts */
        json_t *task;
        int rc = er_await_task(app, id, "started", ER_NEVER, &task, err);
        if (rc) {
            return rc;
        }
        bool final = er_task_state_is_final(er_json_state(task));
        int64_t newest = er_json_int(task, "attempt", 0);
        json_decref(task);
        if (out->attempt == 0) {
            out->attempt = newest; /* of a final task that never ran: 0 */
        } else if (out->ended && newest > out->attempt) {
            out->attempt++;
            out->tail = -1;
            out->written = out->skip = 0;
        } else if (out->ended && final) {
            return 0;
        } else if (out->ended) {
            rewind_to_start(out);
            rc = er_daemon_again(app, er_clock_mono(er_clock_system()), err);
            if (rc) {
                return rc;
            }
        }
        if (out->attempt == 0) {
            return 0;
        }
        rc = run_attempt(app, id, out, err);
        if (rc || (final && newest <= out->attempt) || out->o->attempt > 0) {
            return rc;
        }
        out->ended = true;
    }
}

int
er_output_run(struct er_app *app, er_task_id id, const struct er_output_options *o,
              struct er_err *err)
{
    struct output out = {
        .o = o, .attempt = o->attempt, .tail = o->tail, .pieces = o->split || o->colour};
    er_buf_init(&out.line, 0);
    er_buf_init(&out.unreadable, 0);
    int rc = o->follow ? follow(app, id, &out, err) : run_attempt(app, id, &out, err);
    if (o->written) {
        *o->written = out.written;
    }
    er_buf_fini(&out.line);
    er_buf_fini(&out.unreadable);
    return rc;
}

int
er_output_tail(struct er_app *app, er_task_id id, int lines, struct er_buf *b,
               struct er_err *err)
{
    struct er_response r;
    struct er_buf target;
    er_buf_init(&target, 0);
    er_buf_addf(&target, "/v1/tasks/%" PRId64 "/log?tail=%d", id, lines);
    struct er_daemon_request request = {.target = target.data};
    int rc = er_daemon_call(app, &request, &r, err);
    er_buf_fini(&target);
    if (!rc) {
        er_buf_add(b, r.body.data, r.body.len);
        er_response_fini(&r);
    }
    return rc;
}
