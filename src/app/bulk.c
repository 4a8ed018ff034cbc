/* SPDX-License-Identifier: MIT */
/* errand submit -: many tasks from standard input, one JSON object a line.
 *
 * Happy path: lines are joined into requests of about PIECE_SIZE bytes (all into one with
 * --atomic), each line with what the options say and a key of its own, so that a request
 * whose answer was lost can be sent again. The ids are printed in the order of the lines.
 *
 * Failure modes: a line that is not an object, or that the daemon refuses, is named by
 * its number, the others go on, and the exit code is 2. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "base/io.h"
#include "base/mem.h"
#include "wire/json_dump.h"

#define PIECE_SIZE  ((size_t)4 << 20)
#define PIECE_LINES 10000
#define ALL_SIZE    ((size_t)256 << 20)

struct bulk {
    struct er_app *app;
    const char *type; /* NULL: the lines are whole tasks */
    bool atomic, json;
    struct er_buf members; /* what the options say, a comma before each */
    struct er_buf body;
    int64_t line;     /* number of the last line read */
    int64_t *numbers; /* of the lines in the body */
    size_t n, size;
    int64_t first,
        last; /* ids of those that the latest answer says are queued; 0 = none */
    int exit_code;
};

static void
refuse(struct bulk *b, int64_t line, int code, const char *text)
{
    er_app_note("line %" PRId64 ": %s", line, text);
    int exit_code = er_error_exit(code);
    b->exit_code = b->exit_code ? b->exit_code : exit_code;
}

/* One line of the answer: an id for a line of ours, or its problem. */
static void
take_answer(struct bulk *b, size_t at, const char *text, size_t n, struct er_buf *out)
{
    int64_t line = at < b->n ? b->numbers[at] : 0;
    json_t *o = json_loadb(text, n, 0, NULL);
    int64_t id = er_json_int(o, "id", 0);
    b->first = b->first ? b->first : id;
    b->last = id > 0 ? id : b->last;
    if (er_json_text(o, "code")) {
        struct er_err err;
        int code = er_daemon_words(o, &err);
        refuse(b, line, code, err.text);
    } else if (id > 0 && b->json) {
        er_buf_add(out, text, n);
        er_buf_add_char(out, '\n');
    } else if (id > 0) {
        er_buf_add_i64(out, id);
        er_buf_add_char(out, '\n');
    } else {
        refuse(b, line, ER_EIO, "the daemon's answer to it makes no sense");
    }
    json_decref(o);
}

static int
take_answers(struct bulk *b, const struct er_buf *body)
{
    struct er_buf out;
    const char *line;
    size_t at = 0, n, i = 0;
    er_buf_init(&out, 0);
    b->first = b->last = 0;
    while (er_daemon_line(body, &at, &line, &n)) {
        take_answer(b, i++, line, n, &out);
    }
    int rc = out.failed ? er_app_out(&out) : 0;
    if (!rc && er_write_all(STDOUT_FILENO, out.data, out.len)) {
        rc = er_app_failf(ER_EIO,
                          "tasks %" PRId64 " to %" PRId64
                          " are queued, but their ids could "
                          "not be written: %s",
                          b->first, b->last, strerror(errno));
    }
    er_buf_fini(&out);
    if (i < b->n) {
        return er_app_failf(ER_EIO, "the daemon answered for %zu of %zu lines", i, b->n);
    }
    return rc;
}

/* Sends what was collected: 0, or the exit code when it cannot go on. */
static int
flush(struct bulk *b)
{
    struct er_err err;
    struct er_response r;
    struct er_daemon_request request = {
        .method = "POST",
        .target = b->atomic ? "/v1/tasks?atomic=1" : "/v1/tasks",
        .type = "application/x-ndjson",
        .body = &b->body,
    };
    if (b->n == 0) {
        return 0;
    }
    int rc = b->body.failed
                 ? er_fail(&err, b->body.failed, "the lines are too large in all")
                 : er_daemon_call(b->app, &request, &r, &err);
    if (rc) {
        int64_t line = er_json_int(b->app->problem, "line", 0);
        if (line > 0 && (size_t)line <= b->n) {
            /* its number among ours takes the place of the one among those sent */
            const char *text =
                strncmp(err.text, "line ", 5) == 0 ? strchr(err.text, ':') : NULL;
            return er_app_failf(rc, "line %" PRId64 ": %s", b->numbers[line - 1],
                                text && text[1] == ' ' ? text + 2 : err.text);
        }
        return er_app_fail(rc, &err);
    }
    rc = take_answers(b, &r.body);
    er_response_fini(&r);
    er_buf_clear(&b->body);
    b->n = 0;
    return rc;
}

/* Whether an option's member of that name may be added: the line has none of its own. */
static bool
lacks(const json_t *o, const char *member)
{
    return !json_object_get(o, member);
}

/* Adds the members of the options that a whole task does not have itself. */
static void
add_missing(struct bulk *b, const json_t *o, json_t *defaults)
{
    for (void *it = json_object_iter(defaults); it;
         it = json_object_iter_next(defaults, it)) {
        const char *name = json_object_iter_key(it);
        bool two = strcmp(name, "delay_s") == 0 && !lacks(o, "run_at");
        if (lacks(o, name) && !two) {
            char *text =
                er_json_dumps(json_object_iter_value(it), JSON_COMPACT | JSON_ENCODE_ANY);
            er_buf_add_char(&b->body, ',');
            er_buf_add_json_str(&b->body, name);
            er_buf_add_char(&b->body, ':');
            er_buf_add_str(&b->body, text ? text : "null");
            free(text);
        }
    }
}

/* Adds one line to the body. */
static void
add_line(struct bulk *b, const char *text, size_t n, const json_t *o, json_t *defaults)
{
    char uuid[ER_UUID_SIZE];
    if (b->n == b->size) {
        b->size = b->size ? b->size * 2 : 1024;
        b->numbers = er_xrealloc_array(b->numbers, b->size, sizeof *b->numbers);
    }
    b->numbers[b->n++] = b->line;
    if (b->type) {
        er_buf_add_str(&b->body, "{\"type\":");
        er_buf_add_json_str(&b->body, b->type);
        er_buf_add_str(&b->body, ",\"args\":");
        er_buf_add(&b->body, text, n);
        er_buf_add(&b->body, b->members.data, b->members.len);
    } else {
        size_t close = n;
        while (close > 0 && text[close - 1] != '}') {
            close--;
        }
        er_buf_add(&b->body, text, close - 1);
        if (json_object_size(o) == 0) { /* so that each member has a comma before it */
            er_buf_add_str(&b->body, "\"type\":\"shell\"");
        }
        add_missing(b, o, defaults);
    }
    if (b->type || lacks(o, "key")) {
        er_uuid7(er_clock_wall(er_clock_system()), uuid);
        er_buf_addf(&b->body, ",\"key\":\"%s\"", uuid);
    }
    er_buf_add_str(&b->body, "}\n");
}

/* Reads all lines; 0 or the exit code when it cannot go on. */
static int
read_lines(struct bulk *b, json_t *defaults)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = getline(&line, &size, stdin)) >= 0) {
        json_error_t why;
        b->line++;
        if (line[strspn(line, " \t\r\n")] == '\0') {
            continue;
        }
        while (n > 0 && strchr(" \t\r\n", line[n - 1])) {
            n--;
        }
        json_t *o = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &why);
        if (!json_is_object(o)) {
            refuse(b, b->line, ER_EINVALID, o ? "this is not a JSON object" : why.text);
            json_decref(o);
            rc = b->atomic ? b->exit_code : 0;
            continue;
        }
        add_line(b, line, (size_t)n, o, defaults);
        json_decref(o);
        if (!b->atomic && (b->body.len >= PIECE_SIZE || b->n >= PIECE_LINES)) {
            rc = flush(b);
        }
    }
    if (rc == 0 && ferror(stdin)) {
        rc = er_app_failf(ER_EIO, "cannot read standard input: %s", strerror(errno));
    }
    free(line);
    return rc ? rc : flush(b);
}

int
er_bulk_submit(struct er_app *app, const struct er_submission *s, const char *type,
               bool atomic)
{
    struct bulk b = {.app = app, .type = type, .atomic = atomic, .json = s->json};
    struct er_err err;
    json_t *defaults = NULL;
    er_buf_init(&b.members, 0);
    er_buf_init(&b.body, ALL_SIZE);
    int rc = er_submit_members(app, s, &b.members, &err);
    if (rc) {
        er_buf_fini(&b.members);
        return er_app_fail(rc, &err);
    }
    if (!type) { /* the same as an object, to be added where it is missing */
        b.members.data[0] = '{';
        er_buf_add_char(&b.members, '}');
        defaults = json_loadb(b.members.data, b.members.len, 0, NULL);
    }
    rc = read_lines(&b, defaults);
    json_decref(defaults);
    er_free(b.numbers);
    er_buf_fini(&b.members);
    er_buf_fini(&b.body);
    return rc ? rc : b.exit_code;
}
