/* SPDX-License-Identifier: MIT */
/* Happy path: the pipe is readable, at most 8 KiB are read, whole lines are taken: a
 * plain one becomes an update of the progress, of a JSON one each member goes to its
 * function in the table `members`. At the attempt's end what is in the pipe is read, two
 * MiB at most, and a last line needs no newline.
 *
 * Failure modes: a line that is too long is skipped up to its newline; a member that is
 * unknown or of a wrong kind, a result or checkpoint that is too large, parts out of
 * order are dropped; each with a warning, and the attempt goes on. While the report's
 * notes are full nothing is read, and the command waits in its write. When memory is out
 * an item or checkpoint may be missing: it is then done again. */
#include "work/progress_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/io.h"
#include "model/progress_line.h"
#include "work/worker.h"

#define READ_MOST (2 << 20) /* bytes at the end: more than a pipe can hold */

/* ---- members of a JSON line ---- */

/* Each reader gets the value of its member: NULL when it took it, else what would be
 * right. */

typedef const char *read_member_fn(struct er_attempt *a, struct er_progress_update *u,
                                   const json_t *v);

static const char *
read_percent(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    u->has_percent = json_is_number(v) && isfinite(json_number_value(v));
    u->percent = u->has_percent ? json_number_value(v) : 0.0;
    return u->has_percent ? NULL : "a number";
}

static const char *
read_count(const json_t *v, bool *out_has, int64_t *out)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || !isfinite(d) || fabs(d) > 9e15) {
        return "a number";
    }
    *out_has = true;
    *out = json_is_integer(v) ? json_integer_value(v) : (int64_t)d;
    return NULL;
}

static const char *
read_current(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    return read_count(v, &u->has_current, &u->current);
}

static const char *
read_total(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    return read_count(v, &u->has_total, &u->total);
}

static const char *
read_unit(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    u->unit = json_string_value(v);
    return u->unit ? NULL : "a string";
}

static const char *
read_item(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    u->item = json_string_value(v);
    return u->item ? NULL : "a string";
}

static const char *
read_message(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)a;
    u->message = json_string_value(v);
    return u->message ? NULL : "a string";
}

static const char *
add_item(struct er_attempt *a, const json_t *v, bool is_failed)
{
    if (!json_is_string(v) || json_string_length(v) == 0 ||
        json_string_length(v) > ER_MAX_NAME) {
        return "a string of 1 to 1000 bytes: the item's name";
    }
    er_report_add_item(&a->worker->report, a, json_string_value(v), is_failed);
    er_progress_add_item(&a->progress, json_string_value(v), is_failed);
    er_sample_progress(a);
    return NULL;
}

static const char *
read_item_completed(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    return add_item(a, v, false);
}

static const char *
read_item_failed(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    return add_item(a, v, true);
}

/* Takes n bytes of compact JSON as the checkpoint, or says that they are too many. */
static void
set_checkpoint(struct er_attempt *a, const char *json, size_t n)
{
    if (n > ER_MAX_CHECKPOINT) {
        er_attempt_warn(a, "the checkpoint was dropped: it is larger than %d bytes",
                        ER_MAX_CHECKPOINT);
        return;
    }
    char *copy = er_strndup(json, n);
    if (copy) {
        er_free(a->checkpoint_json);
        a->checkpoint_json = copy;
        er_report_add_checkpoint(&a->worker->report, a);
    }
}

static const char *
read_checkpoint(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        set_checkpoint(a, text, strlen(text));
    }
    free(text);
    return NULL;
}

static const char *
read_retry_after(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    double s = json_number_value(v);
    if (!json_is_number(v) || !(s >= 0.0 && s <= 1e9)) {
        return "a number of seconds";
    }
    a->retry_after_s = s;
    return NULL;
}

static const char *
read_error(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    const char *class = json_string_value(json_object_get(v, "class"));
    if (!json_is_string(json_object_get(v, "message"))) {
        return "an object with a `message`";
    }
    if (class && strcmp(class, "retryable") != 0 && strcmp(class, "fatal") != 0 &&
        strcmp(class, "user-actionable") != 0) {
        return "an object whose `class` is retryable, fatal or user-actionable";
    }
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    char *copy = er_strdup(text);
    free(text);
    if (copy) {
        er_free(a->error_json);
        a->error_json = copy;
    }
    return NULL;
}

/* Takes n bytes as the result, or says that they are too many. */
static void
set_result(struct er_attempt *a, const char *p, size_t n)
{
    if (n > ER_MAX_RESULT) {
        er_attempt_warn(a, "the result was dropped: it is larger than %d bytes",
                        ER_MAX_RESULT);
        return;
    }
    er_buf_clear(&a->result);
    er_buf_add(&a->result, p, n);
    a->has_result = !a->result.failed;
}

static const char *
read_result(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    (void)u;
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text) {
        set_result(a, text, strlen(text));
    }
    free(text);
    return NULL;
}

/* One part of a text of at most `max` bytes: part number 0 begins a new one. *out_whole when
 * it was the last. */
static const char *
read_part(struct er_progress_parts *p, size_t max, const json_t *v, bool *out_whole)
{
    static const char want[] = "{\"id\", \"n\", \"last\", \"base64\"}, in order of n";
    const char *id = json_string_value(json_object_get(v, "id"));
    const json_t *n = json_object_get(v, "n"), *data = json_object_get(v, "base64");
    *out_whole = false;
    if (!id || id[0] == '\0' || strlen(id) >= sizeof p->id || !json_is_integer(n) ||
        !json_is_string(data)) {
        return want;
    }
    if (json_integer_value(n) == 0) {
        (void)strcpy(p->id, id);
        p->next = 0;
        er_buf_fini(&p->text);
        er_buf_init(&p->text, max + 4);
    }
    if (strcmp(id, p->id) != 0 || json_integer_value(n) != p->next) {
        return want;
    }
    p->next++;
    if (er_base64_decode(&p->text, json_string_value(data), json_string_length(data)) ==
        ER_EINVALID) {
        return "base64";
    }
    *out_whole = json_is_true(json_object_get(v, "last"));
    return NULL;
}

static void
forget_parts(struct er_progress_parts *p)
{
    er_buf_fini(&p->text);
    p->id[0] = '\0';
}

static const char *
read_result_part(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    struct er_progress_parts *p = &a->progress_fd.result;
    bool whole;
    (void)u;
    const char *want = read_part(p, ER_MAX_RESULT, v, &whole);
    if (whole) {
        set_result(a, p->text.data ? p->text.data : "",
                   p->text.failed ? (size_t)ER_MAX_RESULT + 1 : p->text.len);
        forget_parts(p);
    }
    return want;
}

static const char *
read_checkpoint_part(struct er_attempt *a, struct er_progress_update *u, const json_t *v)
{
    struct er_progress_parts *p = &a->progress_fd.checkpoint;
    bool whole;
    const char *want = read_part(p, ER_MAX_CHECKPOINT, v, &whole);
    if (!whole) {
        return want;
    }
    if (p->text.failed) {
        set_checkpoint(a, "", (size_t)ER_MAX_CHECKPOINT + 1);
    } else {
        json_t *o = json_loadb(p->text.data ? p->text.data : "", p->text.len,
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        want = o ? read_checkpoint(a, u, o) : "JSON in parts";
        json_decref(o);
    }
    forget_parts(p);
    return want;
}

static const struct {
    const char *name;
    read_member_fn *read;
} members[] = {
    {"percent", read_percent},
    {"current", read_current},
    {"total", read_total},
    {"unit", read_unit},
    {"item", read_item},
    {"message", read_message},
    {"item_completed", read_item_completed},
    {"item_failed", read_item_failed},
    {"checkpoint", read_checkpoint},
    {"retry_after_s", read_retry_after},
    {"error", read_error},
    {"result", read_result},
    {"result_part", read_result_part},
    {"checkpoint_part", read_checkpoint_part},
};
#define MEMBERS (sizeof members / sizeof *members)

static void
take_member(struct er_attempt *a, struct er_progress_update *u, const char *name,
            const json_t *v)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, name) == 0) {
            const char *want = members[i].read(a, u, v);
            if (want) {
                er_attempt_warn(a, "progress line: `%s` must be %s", name, want);
            }
            return;
        }
    }
    er_attempt_warn(a, "progress line: there is no member `%.40s`", name);
}

static void
take_json(struct er_attempt *a, const char *line, size_t n)
{
    json_error_t why;
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        er_attempt_warn(a, "progress line is not JSON: %s", why.text);
        return;
    }
    struct er_progress_update u = {.source = ER_PROGRESS_REPORTED};
    const char *name;
    json_t *v;
    json_object_foreach(o, name, v)
    {
        take_member(a, &u, name, v);
    }
    er_sample_update(a, &u);
    json_decref(o);
}

void
er_progress_fd_line(struct er_attempt *a, const char *line, size_t n)
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
        if (!p->line.failed) {
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
            er_attempt_warn(p->attempt, "progress line: longer than %d bytes",
                            ER_PROGRESS_LINE_MAX);
            er_buf_fini(&p->line);
            p->skipping = true;
        }
        return;
    }
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
        er_progress_fd_close(p);
        return 0;
    }
    take_bytes(p, chunk, (size_t)n);
    return n;
}

static void
on_readable(struct er_watch *w, uint32_t events)
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
er_progress_fd_open(struct er_progress_fd *p, struct er_attempt *a, int *out_child_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return er_error_from_errno(errno);
    }
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        er_close(&ends[0]);
        er_close(&ends[1]);
        return ER_EIO;
    }
    p->attempt = a;
    p->fd = ends[0];
    er_buf_init(&p->line, ER_PROGRESS_LINE_MAX);
    *out_child_fd = ends[1];
    return 0;
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
    er_progress_fd_close(p);
}

void
er_progress_fd_close(struct er_progress_fd *p)
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
    forget_parts(&p->result);
    forget_parts(&p->checkpoint);
}
