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
 * cannot be written (a full disk) that is the error. A part of the log cannot be read:
 * among bytes only a last line says so, which a command could have written too; then the
 * pieces are asked, which say it for certain. */
#include "app/output.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "app/await.h"
#include "app/daemon.h"
#include "base/base64.h"
#include "base/io.h"

#define LAST_MAX                                                                         \
    256 /* bytes; the line that says why the rest cannot be read is shorter */

struct output {
    const struct er_output_options *o;
    int64_t attempt; /* the one that is read; 0 = the latest */
    int64_t tail;    /* lines of it that are wanted; -1 = all */
    bool ended;      /* its stream came to an end */
    bool pieces;     /* JSON objects, not bytes */
    bool mid_line;   /* of pieces: the last line that was written has no end yet */
    er_task_id id;
    uint64_t written; /* bytes of output that were written in all */
    uint64_t skip; /* of them those that the stream has yet to pass after a new start */
    struct er_buf line;       /* of a piece, until it is whole */
    struct er_buf last;       /* the end of what bytes came, LAST_MAX at most */
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

/* A piece of standard error in red: line by line, so that each can stand alone. */
static void
write_red(struct output *out, const char *p, size_t n)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    for (size_t at = 0; at < n;) {
        const char *nl = memchr(p + at, '\n', n - at);
        size_t len = nl ? (size_t)(nl - (p + at)) : n - at;
        if (len > 0) {
            er_buf_add_str(&b, "\033[31m");
            er_buf_add(&b, p + at, len);
            er_buf_add_str(&b, "\033[0m");
        }
        if (nl) {
            er_buf_add_char(&b, '\n');
        }
        at += len + (nl != NULL);
    }
    if (!out->failed && b.len > 0 && er_write_all(STDOUT_FILENO, b.data, b.len)) {
        out->failed = errno;
    }
    er_buf_fini(&b);
}

/* The data of a piece. */
static void
write_data(struct output *out, const struct er_buf *data, bool is_err)
{
    size_t passed = out->skip < data->len ? (size_t)out->skip : data->len;
    if (data->len == 0) {
        return;
    }
    if (is_err && out->o->colour) {
        write_red(out, data->data + passed, data->len - passed);
        out->skip -= passed;
        out->written += data->len - passed;
    } else {
        write_bytes(out, is_err && out->o->split ? STDERR_FILENO : STDOUT_FILENO,
                    data->data, data->len);
    }
    out->mid_line = data->data[data->len - 1] != '\n';
}

/* Says what is not there, as the daemon does among bytes. Where each stream goes to its
 * own descriptor nothing is added to them. */
static void
write_note(struct output *out, int64_t bytes, const char *words)
{
    struct er_buf b;
    if (bytes <= 0 || out->skip > 0 || out->o->split) {
        return;
    }
    er_buf_init(&b, 0);
    er_buf_addf(&b, "%s[... %" PRId64 " bytes %s ...]\n", out->mid_line ? "\n" : "",
                bytes, words);
    if (!out->failed && er_write_all(STDOUT_FILENO, b.data, b.len)) {
        out->failed = errno;
    }
    out->mid_line = false;
    er_buf_fini(&b);
}

/* An object as it came, with the task. */
static void
write_json(struct output *out, const char *text, size_t n)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"task\":%" PRId64 ",%.*s\n", out->id, (int)(n - 1), text + 1);
    write_bytes(out, STDOUT_FILENO, b.data, b.len);
    er_buf_fini(&b);
}

/* Keeps why the rest cannot be read, if that is what a piece says. */
static void
take_error(struct output *out, const json_t *piece)
{
    const char *why = er_json_text(json_object_get(piece, "error"), "message");
    if (why) {
        er_buf_clear(&out->unreadable);
        er_buf_add_str(&out->unreadable, why);
    }
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
    take_error(out, o);
    if (out->o->json && n > 1 && text[0] == '{') {
        write_json(out, text, n);
        json_decref(o);
        return;
    }
    er_buf_init(&data, 0);
    if (plain) {
        er_buf_add(&data, json_string_value(plain), json_string_length(plain));
    } else if (base64) {
        (void)!er_base64_decode(&data, base64, strlen(base64));
    }
    write_data(out, &data, stream && strcmp(stream, "stderr") == 0);
    write_note(out, er_json_int(o, "omitted", 0), "omitted");
    write_note(out, er_json_int(o, "lost", 0), "could not be written");
    er_buf_fini(&data);
    json_decref(o);
}

static void
take(struct output *out, const struct er_buf *in)
{
    if (!out->pieces) {
        size_t n = in->len < LAST_MAX ? in->len : LAST_MAX;
        er_buf_add(&out->last, in->data + (in->len - n), n);
        er_buf_drop(&out->last, out->last.len > LAST_MAX ? out->last.len - LAST_MAX : 0);
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

/* Whether the last line of the bytes that came says that the rest cannot be read. */
static bool
seems_unreadable(const struct output *out)
{
    static const char words[] = "[... output cannot be read: ";
    const struct er_buf *b = &out->last;
    size_t at = b->len;
    while (at > 0 && (at == b->len || b->data[at - 1] != '\n')) {
        at--;
    }
    return b->len - at > sizeof words &&
           memcmp(b->data + at, words, sizeof words - 1) == 0;
}

/* Asks for certain: for the pieces behind the last line, of which there are none but
 * this. */
static void
ask_unreadable(struct er_app *app, struct output *out)
{
    struct er_response r;
    struct er_err err;
    struct er_buf target;
    const char *line;
    size_t at = 0, n;
    er_buf_init(&target, 0);
    er_buf_addf(&target, "/v1/tasks/%" PRId64 "/log?tail=0&format=ndjson", out->id);
    if (out->attempt > 0) {
        er_daemon_param_int(&target, "attempt", out->attempt);
    }
    struct er_daemon_request request = {.target = target.data};
    int rc = er_daemon_call(app, &request, &r, &err);
    er_buf_fini(&target);
    if (rc) {
        return;
    }
    while (er_daemon_line(&r.body, &at, &line, &n)) {
        json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        take_error(out, o);
        json_decref(o);
    }
    er_response_fini(&r);
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
    } else if (!out->pieces && seems_unreadable(out)) {
        ask_unreadable(app, out);
    }
    er_buf_clear(&out->last);
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
        int rc = er_await_task(app, id, ER_AWAIT_STARTED, ER_NEVER, &task, err);
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
        .o = o,
        .id = id,
        .attempt = o->attempt,
        .tail = o->tail,
        .pieces = o->split || o->colour || o->json,
    };
    er_buf_init(&out.line, 0);
    er_buf_init(&out.last, 0);
    er_buf_init(&out.unreadable, 0);
    int rc = o->follow ? follow(app, id, &out, err) : run_attempt(app, id, &out, err);
    if (o->written) {
        *o->written = out.written;
    }
    er_buf_fini(&out.line);
    er_buf_fini(&out.last);
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
