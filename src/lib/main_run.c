/* SPDX-License-Identifier: MIT */
/* One order of errand-worker (docs/PROTOCOL.md, "What a handler's process sees").
 *
 * Happy path: the first line of standard input is the order; the handler runs on the main
 * thread, while a listener waits for the word to stop; what it reports are lines on the
 * progress descriptor, in the order said. Progress is told by a thread of its own (the
 * sender), which begins with the first word of it: at once, then every 100 ms while there
 * is news. At the end come the last news, the error, the result, and the exit code.
 *
 * Failure modes: not started by errand-worker (exit 2, with words); the pipe is full: who
 * reports waits, as any command does; the worker is gone: the handler is asked to
 * stop. */
#include "lib/main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "model/text.h"

#define ORDER_MAX ((size_t)64 << 20)
#define DONE_MAX  ((size_t)40 << 20)
#define LINE      ((size_t)4096) /* what a pipe takes in one piece */
#define PART      ((size_t)2800) /* bytes; as base64 a line of less than that */

struct run {
    struct errand_attempt attempt; /* first: mouths get it */
    int fd;                        /* of progress */
    struct er_lock writing;        /* one line after the other */
    struct er_main_sender sender;
    struct er_lock lock; /* of all below */
    errand *handle;
    bool handle_tried;
    char *after; /* what it waited for; NULL = not asked, or not to be had */
    bool after_tried;
};

static struct run *
run_of(struct errand_attempt *a)
{
    return (struct run *)(void *)a;
}

/* ---- lines ---- */

/* With the lock taken. */
static int
write_locked(struct run *r, struct er_buf *b)
{
    er_buf_add_char(b, '\n');
    int rc = b->failed ? b->failed : er_write_all(r->fd, b->data, b->len);
    er_buf_fini(b);
    return rc;
}

static int
write_line(struct run *r, struct er_buf *b)
{
    er_lock_take(&r->writing);
    int rc = write_locked(r, b);
    er_lock_give(&r->writing);
    return rc;
}

/* A text in parts, each a line that is written in one piece: whoever else of this
 * process's tree writes to the pipe comes between two of them. */
static int
write_parts(struct run *r, const char *member, const char *text, size_t len)
{
    unsigned char bytes[8];
    char id[2 * sizeof bytes + 1];
    size_t at = 0;
    int rc = 0;
    er_rand_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        (void)snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
    er_lock_take(&r->writing);
    for (int n = 0; rc == 0 && (n == 0 || at < len); n++) {
        size_t take = len - at < PART ? len - at : PART;
        struct er_buf b;
        er_buf_init(&b, 0);
        er_buf_addf(&b, "{\"%s\":{\"id\":\"%s\",\"n\":%d,\"last\":%s,\"base64\":\"",
                    member, id, n, take == len - at ? "true" : "false");
        er_base64_encode(&b, text + at, take);
        er_buf_add_str(&b, "\"}}");
        at += take;
        rc = write_locked(r, &b);
    }
    er_lock_give(&r->writing);
    return rc;
}

static int
say_item(struct errand_attempt *a, const char *name, bool failed)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"item_%s\":", failed ? "failed" : "completed");
    er_buf_add_json_str(&b, name);
    er_buf_add_char(&b, '}');
    return write_line(run_of(a), &b);
}

static int
say_checkpoint(struct errand_attempt *a, const char *json)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"checkpoint\":");
    er_buf_add_str(&b, json);
    er_buf_add_char(&b, '}');
    if (b.len < LINE) {
        return write_line(run_of(a), &b);
    }
    er_buf_fini(&b);
    return write_parts(run_of(a), "checkpoint_part", json, strlen(json));
}

static int
say_output(struct errand_attempt *a, const void *p, size_t n)
{
    (void)a;
    (void)fflush(stdout); /* what the handler has printed itself comes first */
    return er_write_all(STDOUT_FILENO, p, n);
}

static void
add_member(struct er_buf *b, const char *name)
{
    er_buf_addf(b, "%s\"%s\":", b->len > 1 ? "," : "", name);
}

static void
add_text(struct er_buf *b, const char *name, size_t max, const char *text)
{
    char clean[ER_PROGRESS_TEXT + 1];
    size_t n = er_text_clean(clean, max + 1, text, strlen(text));
    add_member(b, name);
    er_buf_add_json(b, clean, n);
}

static void
say_news(struct er_main_sender *v, const struct er_attempt_news *n)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_char(&b, '{');
    if (n->has_percent) {
        add_member(&b, "percent");
        er_buf_addf(&b, "%.10g", n->percent);
    }
    if (n->has_current) {
        add_member(&b, "current");
        er_buf_add_i64(&b, n->current);
        add_member(&b, "total");
        er_buf_add_i64(&b, n->total);
    }
    if (n->has_unit) {
        add_text(&b, "unit", ER_PROGRESS_UNIT, n->unit);
    }
    if (n->has_item) {
        add_text(&b, "item", ER_PROGRESS_TEXT, n->item);
    }
    if (n->has_message) {
        add_text(&b, "message", ER_PROGRESS_TEXT, n->message);
    }
    er_buf_add_char(&b, '}');
    (void)write_line(run_of(v->attempt), &b);
}

static void
say_there_is_news(struct errand_attempt *a)
{
    er_main_sender_wake(&run_of(a)->sender);
}

/* ---- the handle ---- */

static errand *
get_handle(struct errand_attempt *a)
{
    struct run *r = run_of(a);
    struct errand_options options = ERRAND_INIT(errand_options);
    const char *socket = getenv("ERRAND_SOCKET");
    er_lock_take(&r->lock);
    bool first = !r->handle_tried;
    r->handle_tried = true;
    if (first && socket) {
        char *url = er_xasprintf("unix:%s", socket);
        options.no_autostart = 1; /* it would die with this task's tree */
        (void)errand_open(url, &options, &r->handle, NULL);
        er_free(url);
    }
    errand *e = r->handle;
    er_lock_give(&r->lock);
    return e;
}

/* ---- what is in files ---- */

/* All of the file that a variable names; NULL = there is none, or it cannot be read. */
static char *
read_given(const char *env, size_t max)
{
    const char *path = getenv(env);
    struct er_buf b;
    char *text = NULL;
    er_buf_init(&b, max);
    if (path && er_read_file(path, &b, NULL) == 0) {
        text = er_buf_take(&b);
    }
    er_buf_fini(&b);
    return text;
}

/* It may be large, and few ask. */
static const char *
get_after(struct errand_attempt *a)
{
    struct run *r = run_of(a);
    if (!getenv("ERRAND_AFTER_RESULTS")) {
        return "{}";
    }
    er_lock_take(&r->lock);
    if (!r->after_tried) {
        r->after_tried = true;
        r->after = er_attempt_after_trim(
            read_given("ERRAND_AFTER_RESULTS", ER_ATTEMPT_AFTER_MAX));
    }
    const char *after = r->after;
    er_lock_give(&r->lock);
    return after;
}

/* ---- the order ---- */

/* Reads up to the first newline; what is behind it stays in b. */
static json_t *
read_order(struct er_buf *b)
{
    char *nl = NULL;
    char chunk[8192];
    ssize_t n = 1;
    while (!nl && !b->failed && n != 0) {
        n = read(STDIN_FILENO, chunk, sizeof chunk);
        if (n < 0 && errno != EINTR) {
            break;
        }
        if (n > 0) {
            size_t before = b->len;
            er_buf_add(b, chunk, (size_t)n);
            nl = b->failed ? NULL : memchr(b->data + before, '\n', (size_t)n);
        }
    }
    if (!nl) {
        return NULL;
    }
    size_t len = (size_t)(nl - b->data);
    json_t *line = json_loadb(b->data, len, JSON_REJECT_DUPLICATES, NULL);
    json_t *run = json_incref(json_object_get(line, "run"));
    json_decref(line);
    er_buf_drop(b, len + 1);
    return run;
}

static bool
find_progress_fd(int *out)
{
    const char *text = getenv("ERRAND_PROGRESS_FD");
    char *end = NULL;
    long fd = text ? strtol(text, &end, 10) : -1;
    *out = (int)fd;
    return text && end != text && *end == '\0' && fd > 2 && fd < 1 << 20;
}

/* ---- the end ---- */

static void
say_error(struct run *r, struct er_buf *error)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"error\":");
    er_buf_add(&b, error->data ? error->data : "null", error->data ? error->len : 4);
    er_buf_add_char(&b, '}');
    (void)write_line(r, &b);
}

static void
say_limit(struct run *r)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"retry_after_s\":%.3f}",
                (double)r->attempt.fault.retry_after_ms / 1000.0);
    (void)write_line(r, &b);
}

static int
report(struct run *r, int returned)
{
    struct er_buf error;
    er_buf_init(&error, 0);
    enum er_attempt_end end = er_attempt_judge(&r->attempt, returned, &error);
    int exit_code = 0;
    if (end == ER_ATTEMPT_FAILED) {
        say_error(r, &error);
        exit_code = ER_MAIN_FAILED;
    } else if (end == ER_ATTEMPT_LIMITED) {
        say_limit(r);
        exit_code = ER_MAIN_LIMITED;
    } else if (end == ER_ATTEMPT_STOPPED) {
        exit_code = ER_MAIN_STOPPED;
    }
    if (r->attempt.result && (end == ER_ATTEMPT_COMPLETED || end == ER_ATTEMPT_FAILED)) {
        (void)write_parts(r, "result_part", r->attempt.result, r->attempt.result_len);
    }
    er_buf_fini(&error);
    return exit_code;
}

/* ---- all of it ---- */

static int
execute(struct run *r, const struct errand_type *type, struct er_buf *rest)
{
    struct er_handler handler = {.fn = type->handler, .ctx = type->ctx};
    struct er_main_listener listener = {.attempt = &r->attempt,
                                        .fd = STDIN_FILENO,
                                        .line = *rest,
                                        .on_signal = ERRAND_STOP_SHUTDOWN};
    *rest = (struct er_buf){0};
    int rc = er_main_listener_open(&listener);
    if (rc == 0) {
        er_main_sender_open(&r->sender);
        int returned = er_attempt_run(&r->attempt, &handler);
        er_main_sender_close(&r->sender);
        rc = report(r, returned);
    } else {
        rc = ER_MAIN_FAILED;
    }
    er_main_listener_close(&listener);
    errand_close(r->handle);
    return rc;
}

int
er_main_run(const char *program, const struct errand_type *type)
{
    static const struct er_attempt_ops ops = {.item = say_item,
                                              .checkpoint = say_checkpoint,
                                              .output = say_output,
                                              .news = say_there_is_news,
                                              .handle = get_handle,
                                              .after = get_after};
    struct run r = {.sender = {.tell = say_news}};
    r.sender.attempt = &r.attempt;
    struct er_buf rest;
    if (!find_progress_fd(&r.fd)) {
        (void)fprintf(stderr,
                      "%s: `run` is for errand-worker, which sets ERRAND_PROGRESS_FD; by "
                      "hand: %s try %s KEY=VALUE...\n",
                      program, program, type->name);
        return ER_MAIN_USAGE;
    }
    er_buf_init(&rest, ORDER_MAX);
    json_t *order = er_main_catch_signals() ? read_order(&rest) : NULL;
    char *done = read_given("ERRAND_ITEMS_DONE", DONE_MAX);
    int rc = ER_MAIN_USAGE;
    if (er_attempt_open(&r.attempt, order, done, &ops, er_clock_system()) == 0) {
        er_lock_init(&r.writing);
        er_lock_init(&r.lock);
        rc = execute(&r, type, &rest);
        er_lock_fini(&r.lock);
        er_lock_fini(&r.writing);
        er_attempt_close(&r.attempt);
        er_free(r.after);
    } else {
        (void)fprintf(stderr,
                      "%s: no order came on standard input: its first line must be "
                      "{\"run\": {\"task\", \"attempt\", \"type\", \"args\", ...}}\n",
                      program);
        er_free(done);
    }
    json_decref(order);
    er_buf_fini(&rest);
    return rc;
}
