/* SPDX-License-Identifier: MIT */
/* The JSON of a task is put together in one buffer, member by member (submit_send.c sends
 * it).
 *
 * Failure modes: arguments that are not UTF-8 cannot be told in JSON and are refused,
 * never changed on the way; variables that are not UTF-8 are left out with a note. */
#include "app/submit.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/targets.h"
#include "base/base64.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/when.h"

#define AT(field) offsetof(struct er_submission, field)
const struct er_opt er_submit_change_opts[] = {
    {'n', "name", "TEXT", ER_OPT_TEXT, AT(name), "a name (default: the command)", 0,
     ER_MAX_NAME, NULL},
    {'q', "queue", "NAME", ER_OPT_TEXT, AT(queue), "the queue it stands in (default)", 0,
     ER_MAX_NAME, NULL},
    {'p', "priority", "N", ER_OPT_INT, AT(priority), "higher = sooner, default 0", -1000,
     1000, NULL},
    {0, "after", "ID[:ok|:any|:fail][,...]", ER_OPT_LIST, AT(after),
     "only when these tasks have ended so (default ok)", 0, 0, NULL},
    {0, "delay", "DUR", ER_OPT_SPAN, AT(delay), "not before this long from now", 0, 0,
     NULL},
    {0, "at", "TIME", ER_OPT_TEXT, AT(at),
     "not before: 09:30, '2026-01-31 09:30', RFC 3339", 0, 0, NULL},
    {0, "retries", "N", ER_OPT_INT, AT(retries), "run again after up to N failures", 0,
     1000, NULL},
    {0, "backoff", "DUR", ER_OPT_SPAN, AT(backoff),
     "wait before the first retry, doubled each time (1s)", 0, 0, NULL},
    {0, "on-lost", "run|fail|hold", ER_OPT_WORD, AT(on_lost),
     "what to do when its worker died (run)", 0, 0, "run fail hold"},
    {0, "timeout", "DUR", ER_OPT_SPAN, AT(timeout),
     "end an attempt that runs longer (pauses do not count)", 0, 0, NULL},
    {0, "heartbeat", "DUR", ER_OPT_SPAN, AT(heartbeat),
     "end an attempt that is silent for longer (no output, no progress)", 0, 0, NULL},
    {0, "grace", "DUR", ER_OPT_SPAN, AT(grace), "from TERM to KILL (5s)", 0, 0, NULL},
    {0, "expires", "DUR", ER_OPT_SPAN, AT(expires),
     "fail when it has not started after this long", 0, 0, NULL},
    {0, "limit-key", "KEY", ER_OPT_TEXT, AT(limit_key),
     "counts against this key's limits (errand limit)", 0, ER_MAX_NAME, NULL},
    {0, "cost", "N", ER_OPT_INT, AT(cost),
     "what its start takes of rates that count costs (1)", 1, ER_MAX_COST, NULL},
    ER_OPT_END,
};
const struct er_opt er_submit_opts[] = {
    {0, "key", "KEY", ER_OPT_TEXT, AT(key), "idempotency: the same key is the same task",
     0, ER_MAX_NAME, NULL},
    {0, "correlation", "X", ER_OPT_TEXT, AT(correlation),
     "an id to find related tasks by", 0, ER_MAX_NAME, NULL},
    {0, "parent", "ID|none", ER_OPT_TEXT, AT(parent),
     "the task it belongs to (from inside a task: that one)", 0, 0, NULL},
    {0, "tag", "TAG", ER_OPT_LIST, AT(tags), "a tag (again for more)", 0, ER_MAX_NAME,
     NULL},
    {0, "meta", "K=V", ER_OPT_LIST, AT(meta), "a note of your own (again for more)", 0,
     ER_MAX_META, NULL},
    {0, "env", "K=V", ER_OPT_LIST, AT(env), "a variable for it (again for more)", 0,
     ER_MAX_ENV, NULL},
    {0, "cwd", "DIR", ER_OPT_TEXT, AT(cwd), "its working folder (default: this one)", 0,
     0, NULL},
    {0, "stdin", "FILE|-", ER_OPT_TEXT, AT(standard_input),
     "its standard input: a file, read when it runs, or - for what comes in now", 0, 0,
     NULL},
    {0, "input", NULL, ER_OPT_FLAG, AT(input),
     "keep its standard input open for errand send", 0, 0, NULL},
    {0, "hold", NULL, ER_OPT_FLAG, AT(hold), "starts paused (errand resume)", 0, 0, NULL},
    {0, "wait", NULL, ER_OPT_FLAG, AT(wait), "wait for it; exit with its exit code", 0, 0,
     NULL},
    {0, "follow", NULL, ER_OPT_FLAG, AT(follow),
     "show its output and wait; exit with its exit code", 0, 0, NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "print the task as JSON instead of its id",
     0, 0, NULL},
    ER_OPT_END,
};
#undef AT

int
er_submit_check(const struct er_submission *s, struct er_err *err)
{
    if (s->delay.set && s->at) {
        return er_fail(err, ER_EINVALID,
                       "--delay and --at are two ways to say one thing: "
                       "give one of them");
    }
    if (s->input && s->standard_input) {
        return er_fail(err, ER_EINVALID,
                       "--stdin and --input cannot both be its standard "
                       "input: give one of them");
    }
    return 0;
}

/* Adds a text as JSON; ER_EINVALID when it is not UTF-8. */
static int
add_text(struct er_buf *b, const char *text, const char *what, struct er_err *err)
{
    size_t n = strlen(text);
    if (!er_utf8_is_valid(text, n)) {
        return er_fail(
            err, ER_EINVALID,
            "%s is not UTF-8 and cannot be passed on: use a name in UTF-8, or put "
            "it into a script",
            what);
    }
    er_buf_add_json(b, text, n);
    return 0;
}

/* The folder, and behind it the file, as one absolute path; the caller frees it. */
static char *
absolute(const char *path, struct er_err *err)
{
    char cwd[PATH_MAX];
    if (path[0] == '/') {
        return er_xstrdup(path);
    }
    if (!getcwd(cwd, sizeof cwd)) {
        (void)er_fail(
            err, ER_EIO,
            "the current folder is gone or cannot be read: give --cwd DIR, or go to "
            "another (%s)",
            strerror(errno));
        return NULL;
    }
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
    }
    if (strcmp(path, ".") == 0 || !path[0]) {
        return er_xstrdup(cwd);
    }
    return er_xasprintf("%s%s%s", cwd, cwd[1] ? "/" : "", path);
}

/* Reads all of standard input into the arguments. */
static int
add_piped(struct er_buf *b, struct er_err *err)
{
    struct er_buf in;
    er_buf_init(&in, ER_MAX_ARGS);
    int rc = er_read_file("/dev/stdin", &in, err);
    if (rc == ER_ETOOBIG) {
        (void)er_fail(
            err, rc,
            "standard input is larger than 1 MiB: write it to a file and give --stdin "
            "FILE");
    }
    if (!rc && er_utf8_is_valid(in.data ? in.data : "", in.len)) {
        er_buf_add_str(b, ",\"stdin\":");
        er_buf_add_json(b, in.data ? in.data : "", in.len);
    } else if (!rc) {
        er_buf_add_str(b, ",\"stdin_base64\":\"");
        er_base64_encode(b, in.data, in.len);
        er_buf_add_char(b, '"');
    }
    er_buf_fini(&in);
    return rc;
}

static int
add_input(const struct er_submission *s, struct er_buf *b, struct er_err *err)
{
    if (s->input) {
        er_buf_add_str(b, ",\"input\":true");
    }
    if (!s->standard_input) {
        return 0;
    }
    if (strcmp(s->standard_input, "-") == 0) {
        return add_piped(b, err);
    }
    char *path = absolute(s->standard_input, err);
    if (!path) {
        return ER_EIO;
    }
    int rc = 0;
    if (access(path, R_OK) != 0) {
        rc = er_fail(err, ER_ENOTFOUND, "cannot read '%.300s' for --stdin: %s", path,
                     strerror(errno));
    } else {
        er_buf_add_str(b, ",\"stdin_file\":");
        rc = add_text(b, path, "the name of the file for --stdin", err);
    }
    er_free(path);
    return rc;
}

int
er_submit_command_args(const struct er_submission *s, int n, char **argv,
                       struct er_buf *b, struct er_err *err)
{
    char what[40];
    er_buf_add_str(b, n == 1 ? "\"args\":{\"command\":" : "\"args\":{\"argv\":[");
    for (int i = 0; i < n; i++) {
        (void)snprintf(what, sizeof what, "argument %d", i + 1);
        if (i > 0) {
            er_buf_add_char(b, ',');
        }
        int rc = add_text(b, argv[i], what, err);
        if (rc) {
            return rc;
        }
    }
    if (n != 1) {
        er_buf_add_char(b, ']');
    }
    int rc = add_input(s, b, err);
    er_buf_add_char(b, '}');
    return rc;
}

/* ---- the environment ---- */

/* Whether `entry` ("K=V") sets the variable of that name. */
static bool
sets(const char *entry, const char *name, size_t n)
{
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* Whether an earlier variable, or one given by --env, has the same name. */
static bool
is_hidden(const struct er_opt_list *given, size_t at, const char *name, size_t n)
{
    for (size_t i = 0; i < given->n; i++) {
        if (sets(given->v[i], name, n)) {
            return true;
        }
    }
    for (size_t i = 0; i < at; i++) {
        if (environ[i][0] == name[0] && sets(environ[i], name, n)) {
            return true;
        }
    }
    return false;
}

/* Adds `"K":"V"` of an entry, with a comma unless it is the first. */
static void
add_pair(struct er_buf *b, const char *entry, size_t name_len, bool *first)
{
    if (!*first) {
        er_buf_add_char(b, ',');
    }
    *first = false;
    er_buf_add_json(b, entry, name_len);
    er_buf_add_char(b, ':');
    er_buf_add_json_str(b, entry + name_len + 1);
}

/* Adds `"NAME":{...}` of the K=V entries of a list; of the same K the last one counts. */
static int
add_pairs(struct er_buf *b, const char *option, const struct er_opt_list *list,
          bool *first, struct er_err *err)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->v[i], '=');
        if (!equals || equals == list->v[i]) {
            return er_fail(err, ER_EINVALID,
                           "invalid value '%.100s' for --%s: it takes K=V", list->v[i],
                           option);
        }
        size_t n = (size_t)(equals - list->v[i]);
        bool later = false;
        for (size_t k = i + 1; k < list->n; k++) {
            later = later || sets(list->v[k], list->v[i], n);
        }
        if (!er_utf8_is_valid(list->v[i], strlen(list->v[i]))) {
            return er_fail(err, ER_EINVALID, "the value of --%s %.*s is not UTF-8",
                           option, (int)(n < 100 ? n : 100), list->v[i]);
        }
        if (!later) {
            add_pair(b, list->v[i], n, first);
        }
    }
    return 0;
}

/* The submitter's variables but ERRAND_*, which are ours; the daemon leaves out what
 * looks like a secret. */
static int
add_env(struct er_buf *b, const struct er_opt_list *given, struct er_err *err)
{
    bool first = true;
    er_buf_add_str(b, ",\"env\":{");
    for (size_t i = 0; environ[i]; i++) {
        const char *entry = environ[i];
        const char *equals = strchr(entry, '=');
        if (!equals || equals == entry || strncmp(entry, "ERRAND_", 7) == 0) {
            continue;
        }
        size_t n = (size_t)(equals - entry);
        if (is_hidden(given, i, entry, n)) {
            continue;
        }
        if (!er_utf8_is_valid(entry, strlen(entry))) {
            er_app_note("the variable %.*s is not UTF-8; the task does not get it",
                        (int)(n < 100 ? n : 100), entry);
            continue;
        }
        add_pair(b, entry, n, &first);
    }
    er_buf_add_char(b, '}');
    if (given->n == 0) {
        return 0;
    }
    /* apart: what was named on purpose goes in whatever it looks like */
    first = true;
    er_buf_add_str(b, ",\"env_set\":{");
    int rc = add_pairs(b, "env", given, &first, err);
    er_buf_add_char(b, '}');
    return rc;
}

/* ---- the other members ---- */

static void
add_key(struct er_buf *b, const char *name)
{
    er_buf_add_str(b, ",\"");
    er_buf_add_str(b, name);
    er_buf_add_str(b, "\":");
}

static int
add_opt_text(struct er_buf *b, const char *name, const char *text, struct er_err *err)
{
    char what[60];
    if (!text) {
        return 0;
    }
    add_key(b, name);
    (void)snprintf(what, sizeof what, "the %s", name);
    return add_text(b, text, what, err);
}

static void
add_opt_int(struct er_buf *b, const char *name, const struct er_opt_int *v)
{
    if (v->set) {
        add_key(b, name);
        er_buf_add_i64(b, v->value);
    }
}

/* A span as a number of seconds. */
static void
add_opt_span(struct er_buf *b, const char *name, const struct er_opt_span *v)
{
    if (v->set) {
        add_key(b, name);
        er_buf_addf(b, "%" PRId64 ".%06d", v->value / ER_USEC_PER_SEC,
                    (int)(v->value % ER_USEC_PER_SEC));
    }
}

static int
add_run_at(struct er_buf *b, const char *text, struct er_err *err)
{
    er_usec at;
    char time[ER_RFC3339_SIZE];
    if (!text) {
        return 0;
    }
    int rc = er_when_parse(text, er_clock_wall(er_clock_system()), &at, err);
    if (!rc) {
        er_time_format(at, time);
        er_buf_addf(b, ",\"run_at\":\"%s\"", time);
    }
    return rc;
}

/* Adds the dependencies that one "ID[:when]" (n bytes) names. */
static int
add_dependency(struct er_app *app, struct er_buf *b, const char *text, size_t n,
               bool *first, struct er_err *err)
{
    struct er_idlist ids;
    char *ref = er_xstrndup(text, n);
    char *colon = strchr(ref, ':');
    const char *when = colon ? colon + 1 : "ok";
    if (colon) {
        *colon = '\0';
    }
    if (er_after_when_find(when) < 0) {
        int rc = er_fail(
            err, ER_EINVALID,
            "invalid condition '%.60s' in --after: it is ok, any or fail, as in 41:any",
            when);
        er_free(ref);
        return rc;
    }
    er_idlist_init(&ids);
    int rc = er_idlist_parse(&ids, ref, err);
    rc = rc ? rc : er_targets_resolve(app, &ids, err);
    for (size_t i = 0; !rc && i < ids.n; i++) {
        er_buf_addf(b, "%s{\"id\":%" PRId64, *first ? "" : ",", ids.ids[i]);
        if (strcmp(when, "ok") != 0) { /* else left out: there may be 100,000 of them */
            er_buf_addf(b, ",\"when\":\"%s\"", when);
        }
        er_buf_add_char(b, '}');
        *first = false;
    }
    er_idlist_fini(&ids);
    er_free(ref);
    return rc;
}

static int
add_after(struct er_app *app, struct er_buf *b, const struct er_opt_list *list,
          struct er_err *err)
{
    bool first = true;
    if (list->n == 0) {
        return 0;
    }
    er_buf_add_str(b, ",\"after\":[");
    if (list->n == 1 &&
        strcmp(list->v[0], "none") == 0) { /* edit: for nothing any more */
        er_buf_add_char(b, ']');
        return 0;
    }
    for (size_t i = 0; i < list->n; i++) {
        const char *p = list->v[i];
        for (;;) {
            size_t n = strcspn(p, ",");
            int rc = add_dependency(app, b, p, n, &first, err);
            if (rc) {
                return er_fail_prefix(err, rc, "--after");
            }
            if (!p[n]) {
                break;
            }
            p += n + 1;
        }
    }
    er_buf_add_char(b, ']');
    return 0;
}

static int
add_tags(struct er_buf *b, const struct er_opt_list *tags, struct er_err *err)
{
    for (size_t i = 0; i < tags->n; i++) {
        er_buf_add_str(b, i == 0 ? ",\"tags\":[" : ",");
        int rc = add_text(b, tags->v[i], "a tag", err);
        if (rc) {
            return rc;
        }
    }
    er_buf_add_str(b, tags->n > 0 ? "]" : "");
    return 0;
}

static int
add_meta(struct er_buf *b, const struct er_opt_list *meta, struct er_err *err)
{
    bool first = true;
    if (meta->n == 0) {
        return 0;
    }
    er_buf_add_str(b, ",\"meta\":{");
    int rc = add_pairs(b, "meta", meta, &first, err);
    er_buf_add_char(b, '}');
    return rc;
}

static int
add_cwd(struct er_buf *b, const struct er_submission *s, struct er_err *err)
{
    struct stat st;
    char *cwd = absolute(s->cwd ? s->cwd : ".", err);
    if (!cwd) {
        return ER_EIO;
    }
    /* what it waits for may make it */
    if (s->cwd && s->after.n == 0 && (stat(cwd, &st) != 0 || !S_ISDIR(st.st_mode))) {
        int code = errno;
        bool there = stat(cwd, &st) == 0;
        int rc = er_fail(err, there ? ER_EINVALID : er_error_from_errno(code),
                         "--cwd '%.300s': %s", s->cwd,
                         there ? "that is not a folder" : strerror(code));
        er_free(cwd);
        return rc;
    }
    add_key(b, "cwd");
    int rc = add_text(b, cwd, "the name of the working folder", err);
    er_free(cwd);
    return rc;
}

/* The task that this command runs inside of, of the daemon that it speaks to; 0 =
 * none. */
static er_task_id
own_task(void)
{
    int64_t id;
    const char *text = getenv("ERRAND_TASK_ID");
    return text && getenv("ERRAND_SOCKET") && er_options_int(text, 1, INT64_MAX, &id) == 0
               ? id
               : 0;
}

/* A task that is added from inside a task is its child, unless it is given another
 * parent, or none; the parent's correlation id becomes its own. */
static int
add_family(struct er_buf *b, const struct er_submission *s, struct er_err *err)
{
    int64_t parent = s->parent ? 0 : own_task();
    const char *correlation = s->correlation;
    if (s->parent && strcmp(s->parent, "none") != 0 &&
        er_options_int(s->parent, 1, (int64_t)1 << 53, &parent)) {
        return er_fail(
            err, ER_EINVALID,
            "invalid value '%.60s' for --parent: it takes the id of a task, or "
            "none",
            s->parent);
    }
    if (parent && !s->parent && !correlation) {
        correlation = getenv("ERRAND_CORRELATION_ID");
    }
    if (parent) {
        add_key(b, "parent");
        er_buf_add_i64(b, parent);
    }
    return add_opt_text(b, "correlation_id", correlation, err);
}

int
er_submit_changes(struct er_app *app, const struct er_submission *s, struct er_buf *b,
                  struct er_err *err)
{
    const char *const texts[][2] = {
        {"name", s->name},
        {"queue", s->queue},
        {"on_lost", s->on_lost},
        {"limit_key", s->limit_key},
    };
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof texts / sizeof texts[0]; i++) {
        rc = add_opt_text(b, texts[i][0], texts[i][1], err);
    }
    add_opt_int(b, "priority", &s->priority);
    add_opt_int(b, "retries", &s->retries);
    add_opt_int(b, "cost", &s->cost);
    add_opt_span(b, "delay_s", &s->delay);
    add_opt_span(b, "backoff_s", &s->backoff);
    add_opt_span(b, "timeout_s", &s->timeout);
    add_opt_span(b, "heartbeat_s", &s->heartbeat);
    add_opt_span(b, "grace_s", &s->grace);
    add_opt_span(b, "expires_s", &s->expires);
    rc = rc ? rc : add_run_at(b, s->at, err);
    return rc ? rc : add_after(app, b, &s->after, err);
}

int
er_submit_members(struct er_app *app, const struct er_submission *s, struct er_buf *b,
                  struct er_err *err)
{
    int rc = er_submit_changes(app, s, b, err);
    rc = rc ? rc : add_opt_text(b, "key", s->key, err);
    er_buf_add_str(b, s->hold ? ",\"held\":true" : "");
    rc = rc ? rc : add_family(b, s, err);
    rc = rc ? rc : add_tags(b, &s->tags, err);
    rc = rc ? rc : add_meta(b, &s->meta, err);
    rc = rc ? rc : add_cwd(b, s, err);
    return rc ? rc : add_env(b, &s->env, err);
}
