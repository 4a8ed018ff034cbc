/* SPDX-License-Identifier: MIT */
/* errand progress: what a task says about itself, from inside.
 *
 * Happy path: one line of JSON (of what is long, several, each with a part) written with
 * one write to the pipe that the worker gave (ERRAND_PROGRESS_FD), which needs no daemon.
 * Where that descriptor did not come along (sudo, ssh to the same machine, a closed one),
 * the daemon is told over its socket. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/base64.h"
#include "base/io.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "model/task.h"
#include "model/text.h"
#include "wire/json_dump.h"

#define LINE_MAX_BYTES     4096 /* what a pipe takes in one piece */
#define PART_BYTES         2976 /* of a result in one line; base64 makes 3968 of them */
#define TEXT_MAX           1000 /* bytes of a message */
#define CHECKPOINT_IN_LINE 1000 /* bytes; a longer one goes in parts */

struct progress {
    const char *item, *has_item, *checkpoint, *result;
    struct er_opt_span retry_after;
    bool failed;
};

#define AT(field) offsetof(struct progress, field)
static const struct er_opt progress_opts[] = {
    {0, "item", "NAME", ER_OPT_TEXT, AT(item), "that item is done", 0, ER_MAX_NAME, NULL},
    {0, "failed", NULL, ER_OPT_FLAG, AT(failed), "with --item: it has failed", 0, 0,
     NULL},
    {0, "has-item", "NAME", ER_OPT_TEXT, AT(has_item),
     "exit 0 when an earlier attempt has completed that item, else 1", 0, ER_MAX_NAME,
     NULL},
    {0, "checkpoint", "JSON", ER_OPT_TEXT, AT(checkpoint),
     "where a later attempt can go on", 0, ER_MAX_CHECKPOINT, NULL},
    {0, "retry-after", "DUR", ER_OPT_SPAN, AT(retry_after),
     "a rate limit: pause that long when it ends, then go on", 0, 0, NULL},
    {0, "result", "TEXT|-", ER_OPT_TEXT, AT(result),
     "the task's result; - is standard input", 0, 0, NULL},
    ER_OPT_END,
};
#undef AT

/* The pipe that the worker gave, or -1. */
static int
find_pipe(void)
{
    struct stat st;
    int64_t fd;
    const char *text = getenv("ERRAND_PROGRESS_FD");
    if (!text || er_options_int(text, 3, INT32_MAX, &fd) || fstat((int)fd, &st) != 0) {
        return -1;
    }
    int flags = fcntl((int)fd, F_GETFL);
    return S_ISFIFO(st.st_mode) && flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? (int)fd
                                                                                 : -1;
}

static void
add_member(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, b->len > 1 ? ",\"" : "\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static void
add_text(struct er_buf *b, const char *name, const char *text)
{
    add_member(b, name);
    er_buf_add_json(b, text, er_text_fit(text, strlen(text), TEXT_MAX));
}

/* An item is known by its name, which is a line in ERRAND_ITEMS_DONE. */
static int
check_item(const char *option, const char *name, struct er_err *err)
{
    if (name && (strchr(name, '\n') || !er_utf8_is_valid(name, strlen(name)))) {
        return er_fail(err, ER_EINVALID,
                       "invalid value for --%s: the name of an item is one line of UTF-8",
                       option);
    }
    return 0;
}

/* Looks for the item in the file with those that were completed: 0 or 1, the exit
 * code. */
static int
has_item(const char *name)
{
    const char *path = getenv("ERRAND_ITEMS_DONE");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int code = 1;
    if (!path || !path[0]) {
        return 1; /* none was completed */
    }
    FILE *f = fopen(path, "re");
    if (!f) {
        return er_app_failf(ER_EIO, "cannot read ERRAND_ITEMS_DONE, '%.300s': %s", path,
                            strerror(errno));
    }
    while (code == 1 && (n = getline(&line, &size, f)) >= 0) {
        n -= n > 0 && line[n - 1] == '\n';
        code = (size_t)n == strlen(name) && memcmp(line, name, (size_t)n) == 0 ? 0 : 1;
    }
    free(line);
    (void)fclose(f);
    return code;
}

/* Reads a number of at least 0 up to `end`, which gets what follows. */
static bool
read_number(const char *text, double *out, const char **end)
{
    char *after;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    *out = strtod(text, &after);
    *end = after;
    return isfinite(*out) && text[1] != 'x' && text[1] != 'X';
}

/* "40", "40%", "2/4". */
static int
add_position(struct er_buf *b, const char *text, struct er_err *err)
{
    double v, total;
    const char *end;
    if (read_number(text, &v, &end)) {
        if (!end[0] || strcmp(end, "%") == 0) {
            add_member(b, "percent");
            er_buf_addf(b, "%.6g", v);
            return 0;
        }
        if (end[0] == '/' && v < 9e15 && read_number(end + 1, &total, &end) && !end[0] &&
            total < 9e15) {
            add_member(b, "current");
            er_buf_addf(b, "%.0f", v);
            add_member(b, "total");
            er_buf_addf(b, "%.0f", total);
            return 0;
        }
    }
    return er_fail(err, ER_EINVALID, "invalid progress '%.60s' (try 40, 40%% or 2/4)",
                   text);
}

/* Adds the checkpoint; one that may be too long for a line goes to `parts` instead (NULL
 * = any line will do). */
static int
add_checkpoint(const char *given, struct er_buf *b, struct er_buf *parts,
               struct er_err *err)
{
    json_error_t why;
    json_t *v = json_loads(given, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    char *text = v ? er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    size_t n = text ? strlen(text) : 0;
    int rc = 0;
    if (!text) {
        rc = er_fail(err, ER_EINVALID, "the checkpoint is not JSON: %s", why.text);
    } else if (n > ER_MAX_CHECKPOINT) {
        rc = er_fail(err, ER_ETOOBIG, "the checkpoint is too long: %zu bytes (max: %d)",
                     n, ER_MAX_CHECKPOINT);
    } else if (parts && n > CHECKPOINT_IN_LINE) {
        er_buf_add(parts, text, n);
    } else {
        add_member(b, "checkpoint");
        er_buf_add(b, text, n);
    }
    free(text);
    json_decref(v);
    return rc;
}

/* Puts together one line of JSON from all but what goes in parts: the result, and a long
 * checkpoint. */
static int
make_line(const struct progress *o, int n, char **args, struct er_buf *b,
          struct er_buf *checkpoint, struct er_err *err)
{
    er_buf_add_char(b, '{');
    int rc = n > 0 ? add_position(b, args[0], err) : 0;
    if (n > 1) {
        add_text(b, "message", args[1]);
    }
    if (o->item) {
        add_text(b, o->failed ? "item_failed" : "item_completed", o->item);
    }
    if (o->retry_after.set) {
        add_member(b, "retry_after_s");
        er_buf_addf(b, "%.6f", (double)o->retry_after.value / 1e6);
    }
    if (!rc && o->checkpoint) {
        rc = add_checkpoint(o->checkpoint, b, checkpoint, err);
    }
    er_buf_add_char(b, '}');
    return rc ? rc : b->failed;
}

static int
post(struct er_app *app, const struct er_buf *line, struct er_err *err)
{
    char target[64];
    int64_t id;
    const char *text = getenv("ERRAND_TASK_ID");
    if (!text || er_options_int(text, 1, INT64_MAX, &id)) {
        return er_fail(
            err, ER_EINVALID,
            "errand progress works inside a task only: ERRAND_TASK_ID is not set");
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%" PRId64 "/progress", id);
    return er_daemon_post(app, "POST", target, line, NULL, err);
}

/* One line to the worker, or when there is no pipe or it is too long, to the daemon. */
static int
tell(struct er_app *app, int pipe_fd, struct er_buf *line, struct er_err *err)
{
    if (pipe_fd < 0 || line->len + 1 > LINE_MAX_BYTES) {
        return post(app, line, err);
    }
    er_buf_add_char(line, '\n');
    if (line->failed) {
        return er_fail(err, line->failed, "out of memory");
    }
    if (er_write_all(pipe_fd, line->data, line->len) == 0) {
        return 0;
    }
    return post(app, line, err); /* the worker has gone */
}

static int
read_result(const char *text, struct er_buf *b, struct er_err *err)
{
    if (strcmp(text, "-") != 0) {
        er_buf_add_str(b, text);
        return b->failed;
    }
    int rc = er_read_file("/dev/stdin", b, err);
    return rc == ER_ETOOBIG ? er_fail(err, rc, "a result may have 16 MiB at most") : rc;
}

/* A text in lines that fit, each with a part of its bytes. */
static int
tell_parts(struct er_app *app, int pipe_fd, const char *member,
           const struct er_buf *result, struct er_err *err)
{
    unsigned char random[8];
    struct er_buf line;
    size_t at = 0;
    int rc = 0;
    er_rand_bytes(random, sizeof random);
    er_buf_init(&line, 0);
    for (int n = 0; !rc && (n == 0 || at < result->len); n++) {
        size_t part = result->len - at < PART_BYTES ? result->len - at : PART_BYTES;
        er_buf_clear(&line);
        er_buf_addf(&line, "{\"%s\":{\"id\":\"", member);
        for (size_t i = 0; i < sizeof random; i++) {
            er_buf_addf(&line, "%02x", random[i]);
        }
        er_buf_addf(&line, "\",\"n\":%d,\"last\":%s,\"base64\":\"", n,
                    at + part == result->len ? "true" : "false");
        er_base64_encode(&line, result->data ? result->data + at : "", part);
        er_buf_add_str(&line, "\"}}");
        rc = tell(app, pipe_fd, &line, err);
        at += part;
    }
    er_buf_fini(&line);
    return rc;
}

static int
tell_result(struct er_app *app, int pipe_fd, const char *given, struct er_err *err)
{
    struct er_buf result;
    er_buf_init(&result, ER_MAX_RESULT);
    int rc = read_result(given, &result, err);
    if (!rc) {
        rc = tell_parts(app, pipe_fd, "result_part", &result, err);
    }
    er_buf_fini(&result);
    return rc;
}

static int
progress_exec(struct er_app *app, void *data, int n, char **args)
{
    const struct progress *o = data;
    struct er_err err;
    struct er_buf line, checkpoint;
    int rc = check_item("item", o->item, &err);
    rc = rc ? rc : check_item("has-item", o->has_item, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    bool tells =
        n > 0 || o->item || o->checkpoint || o->retry_after.set || o->result || o->failed;
    if (o->has_item) {
        return tells ? er_app_failf(ER_EINVALID, "--has-item goes with nothing else")
                     : has_item(o->has_item);
    }
    if (n == 0 && !o->item && !o->checkpoint && !o->retry_after.set && !o->result) {
        return er_app_failf(ER_EINVALID,
                            "say what? errand progress PERCENT|CUR/TOTAL [TEXT], "
                            "--item, --checkpoint, --retry-after or --result");
    }
    if (o->failed && !o->item) {
        return er_app_failf(ER_EINVALID, "--failed goes with --item NAME");
    }
    int pipe_fd = find_pipe();
    (void)signal(SIGPIPE, SIG_IGN); /* a worker that is gone is an error of the write */
    app->no_autostart = true;       /* a daemon started here would end with the task */
    er_buf_init(&line, 0);
    er_buf_init(&checkpoint, 0);
    rc = make_line(o, n, args, &line, pipe_fd >= 0 ? &checkpoint : NULL, &err);
    rc = rc ? rc : checkpoint.failed;
    if (!rc && line.len > 2) {
        rc = tell(app, pipe_fd, &line, &err);
    }
    if (!rc && checkpoint.len > 0) {
        rc = tell_parts(app, pipe_fd, "checkpoint_part", &checkpoint, &err);
    }
    er_buf_fini(&line);
    er_buf_fini(&checkpoint);
    if (!rc && o->result) {
        rc = tell_result(app, pipe_fd, o->result, &err);
    }
    return rc ? er_app_fail(rc, &err) : 0;
}

const struct er_cmd er_cmd_progress = {
    .name = "progress",
    .operands = "[PERCENT|CUR/TOTAL [TEXT]]",
    .summary = "from inside a task: how far it is",
    .text = "Goes to the worker through ERRAND_PROGRESS_FD, also while the daemon is "
            "down. So that "
            "no\n"
            "item is done twice: errand progress --has-item \"$i\" || { work \"$i\" && "
            "errand "
            "progress --item \"$i\"; }",
    .group = "From inside a task",
    .opts = {progress_opts},
    .data_size = sizeof(struct progress),
    .max = 2,
    .exec = progress_exec,
};
