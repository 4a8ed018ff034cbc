/* SPDX-License-Identifier: MIT */
/* Looking at tasks and acting on them: each function is one request of the protocol. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "lib/handle.h"
#include "lib/sync.h"
#include "model/task.h"
#include "wire/json.h"

#define WAIT_MS 60000 /* how long one request waits for a task; then it is asked again */

const char *
errand_state_word(int state)
{
    return state < 0 || state > ERRAND_CANCELLED
               ? NULL
               : er_task_state_word((enum er_task_state)state);
}

static int
refuse_null(errand_error *error, const char *name)
{
    return er_handle_fail(error, ER_EINVALID, name, "%s is NULL", name);
}

static int
refuse_id(errand_error *error, int64_t id)
{
    return er_handle_fail(error, ER_ENOTFOUND, "id",
                          "there is no task %lld: ids begin with 1", (long long)id);
}

/* A request about one task; part: "/why" ... */
static int
ask_part(errand *e, const char *method, int64_t id, const char *part, struct er_buf *out,
         errand_error *error)
{
    char target[64];
    if (!e) {
        return refuse_null(error, "e");
    }
    if (id <= 0) {
        return refuse_id(error, id);
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld%s", (long long)id, part);
    struct er_sync_spec spec = {.method = method, .target = target};
    return er_sync_run(e, &spec, out, error);
}

/* ---- reading ---- */

int
errand_get(errand *e, int64_t id, char **out_json, errand_error *error)
{
    struct er_buf b;
    if (out_json) {
        *out_json = NULL;
    }
    int rc =
        out_json ? ask_part(e, "GET", id, "", &b, error) : refuse_null(error, "out_json");
    if (rc == 0) {
        *out_json = er_buf_take(&b);
    }
    return rc;
}

/* The state that a task's JSON says, or a code. */
static int
state_of(const struct er_buf *b, errand_error *error)
{
    json_t *o = json_loadb(b->data, b->len, 0, NULL);
    const char *word = json_string_value(json_object_get(o, "state"));
    int state = word ? er_task_state_find(word) : -1;
    json_decref(o);
    return state >= 0 ? state
                      : er_handle_fail(error, ER_EIO, NULL, "the answer is no task");
}

int
errand_state(errand *e, int64_t id, errand_error *error)
{
    struct er_buf b;
    int rc = ask_part(e, "GET", id, "?brief=1", &b, error);
    if (rc == 0) {
        rc = state_of(&b, error);
        er_buf_fini(&b);
    }
    return rc;
}

int
errand_result(errand *e, int64_t id, char **out, size_t *out_len, errand_error *error)
{
    struct er_buf b;
    if (!out) {
        return refuse_null(error, "out");
    }
    *out = NULL;
    int rc = ask_part(e, "GET", id, "/result", &b, error);
    if (rc == 0) {
        if (out_len) {
            *out_len = b.len;
        }
        *out = er_buf_take(&b);
    }
    return rc;
}

int
errand_why(errand *e, int64_t id, char **out, errand_error *error)
{
    struct er_buf b;
    if (out) {
        *out = NULL;
    }
    int rc = out ? ask_part(e, "GET", id, "/why", &b, error) : refuse_null(error, "out");
    if (rc) {
        return rc;
    }
    json_t *o = json_loadb(b.data, b.len, 0, NULL);
    const char *why = json_string_value(json_object_get(o, "why"));
    char *copy = er_strdup(why ? why : "");
    json_decref(o);
    er_buf_fini(&b);
    if (!copy) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    *out = copy;
    return 0;
}

/* Adds a value of a query. */
static void
add_escaped(struct er_buf *b, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text)) {
            er_buf_add_char(b, *text);
        } else {
            er_buf_addf(b, "%%%02X", (unsigned)(unsigned char)*text);
        }
    }
}

/* The first task of a page of the list, or ER_ENOTFOUND. */
static int
first_of(const struct er_buf *page, const char *key, int64_t *out_id, errand_error *error)
{
    json_t *o = json_loadb(page->data, page->len, 0, NULL);
    const json_t *tasks = json_object_get(o, "tasks");
    bool is_list = json_is_array(tasks);
    *out_id = json_integer_value(json_object_get(json_array_get(tasks, 0), "id"));
    json_decref(o);
    return *out_id   ? 0
           : is_list ? er_handle_fail(error, ER_ENOTFOUND, "key",
                                      "there is no task with the key '%.200s'", key)
                     : er_handle_fail(error, ER_EIO, NULL, "the answer is no list");
}

int
errand_find_key(errand *e, const char *key, int64_t *out_id, errand_error *error)
{
    struct er_buf target, page;
    if (out_id) {
        *out_id = 0;
    }
    if (!e || !key || !out_id) {
        return refuse_null(error, !e ? "e" : !key ? "key" : "out_id");
    }
    if (strlen(key) > ER_MAX_NAME) {
        return er_handle_fail(error, ER_EINVALID, "key",
                              "the key is longer than %d bytes", ER_MAX_NAME);
    }
    er_buf_init(&target, 8192);
    er_buf_add_str(&target, "/v1/tasks?limit=1&key=");
    add_escaped(&target, key);
    if (target.failed) {
        er_buf_fini(&target);
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    struct er_sync_spec spec = {.method = "GET", .target = target.data};
    int rc = er_sync_run(e, &spec, &page, error);
    er_buf_fini(&target);
    if (rc == 0) {
        rc = first_of(&page, key, out_id, error);
        er_buf_fini(&page);
    }
    return rc;
}

/* ---- waiting ---- */

/* What an answer says of a task that was waited for. One that was removed meanwhile has
 * left a tombstone, which knows how it ended. */
static int
judge(const struct er_sync_answer *a, errand_error *error)
{
    if (a->status < 300) {
        return state_of(&a->body, error);
    }
    json_t *o = json_loadb(a->body.data, a->body.len, 0, NULL);
    const char *word =
        json_string_value(json_object_get(json_object_get(o, "tombstone"), "state"));
    int state = a->status == 404 && word ? er_task_state_find(word) : -1;
    json_decref(o);
    return state >= 0 ? state : er_handle_problem(error, a->status, &a->body);
}

static int
look(errand *e, int64_t id, int64_t ms, errand_error *error)
{
    char target[96];
    struct er_sync_answer a;
    (void)snprintf(target, sizeof target,
                   "/v1/tasks/%lld?brief=1&wait=%lld.%03d&until=final", (long long)id,
                   (long long)(ms / 1000), (int)(ms % 1000));
    struct er_sync_spec spec = {.method = "GET",
                                .target = target,
                                .alone = true,
                                .bound = ms * ER_USEC_PER_MS + ER_SYNC_BOUND};
    int rc = er_sync_ask(e, &spec, &a, error);
    if (rc == 0) {
        rc = judge(&a, error);
        er_buf_fini(&a.body);
    }
    return rc;
}

static void
pause_shortly(void)
{
    struct timespec ts = {0, 100000000L};
    (void)nanosleep(&ts, NULL);
}

int
errand_wait(errand *e, int64_t id, int64_t timeout_ms, errand_error *error)
{
    const struct er_clock *clock = er_clock_system();
    er_usec start = er_clock_mono(clock);
    if (!e) {
        return refuse_null(error, "e");
    }
    if (id <= 0) {
        return refuse_id(error, id);
    }
    for (;;) {
        int64_t spent = (er_clock_mono(clock) - start) / ER_USEC_PER_MS;
        int64_t left = timeout_ms < 0 ? WAIT_MS : timeout_ms - spent;
        left = left < 0 ? 0 : left > WAIT_MS ? WAIT_MS : left;
        int rc = look(e, id, left, error);
        if (rc == ER_ENODAEMON && (timeout_ms < 0 || spent < timeout_ms)) {
            pause_shortly(); /* it was looked for for some seconds, and may yet come back */
            continue;
        }
        if (rc < 0 || er_task_state_is_final((enum er_task_state)rc)) {
            return rc;
        }
        if (timeout_ms >= 0 && spent >= timeout_ms) {
            return er_handle_fail(error, ER_ETIMEOUT, NULL,
                                  "task %lld was %s after %lld ms", (long long)id,
                                  errand_state_word(rc), (long long)timeout_ms);
        }
    }
}

/* ---- acting ---- */

static int
act(errand *e, const char *method, int64_t id, const char *part, errand_error *error)
{
    struct er_buf b;
    int rc = ask_part(e, method, id, part, &b, error);
    if (rc == 0) {
        er_buf_fini(&b);
    }
    return rc;
}

int
errand_cancel(errand *e, int64_t id, errand_error *error)
{
    return act(e, "POST", id, "/cancel", error);
}

int
errand_pause(errand *e, int64_t id, errand_error *error)
{
    return act(e, "POST", id, "/pause", error);
}

int
errand_resume(errand *e, int64_t id, errand_error *error)
{
    return act(e, "POST", id, "/resume", error);
}

int
errand_retry(errand *e, int64_t id, errand_error *error)
{
    return act(e, "POST", id, "/retry", error);
}

int
errand_remove(errand *e, int64_t id, errand_error *error)
{
    return act(e, "DELETE", id, "", error);
}

/* ---- any request ---- */

static const char *
find_method(const char *method)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; method && i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(method, methods[i]) == 0) {
            return methods[i];
        }
    }
    return NULL;
}

/* How long a request may take: what its own `wait` says, and a bound beyond that. */
static er_usec
bound_of(const char *target)
{
    const char *query = strchr(target, '?');
    const char *wait = query ? strstr(query, "wait=") : NULL;
    bool is_name = wait && (wait[-1] == '?' || wait[-1] == '&');
    double s = is_name ? strtod(wait + 5, NULL) : 0;
    return ER_SYNC_BOUND + (s > 0 && s <= 3600 ? (er_usec)(s * 1e6) : 0);
}

/* Whether the answer would go on for as long as somebody listens. */
static bool
is_stream(const char *method, const char *target)
{
    if (strcmp(method, "GET") != 0) {
        return strncmp(target, "/v1/work/claim", 14) == 0;
    }
    size_t n = strcspn(target, "?");
    const char *query = target + n;
    if (n == 10 && strncmp(target, "/v1/events", n) == 0) {
        return !strstr(query, "?format=") && !strstr(query, "&format=");
    }
    const char *follow = strstr(query, "follow=");
    return follow && (follow[-1] == '?' || follow[-1] == '&') && follow[7] != '0';
}

static int
make_spec(const char *method, const char *target, const char *body, size_t len,
          struct er_sync_spec *spec, errand_error *error)
{
    *spec = (struct er_sync_spec){.method = find_method(method), .target = target};
    if (!spec->method) {
        return er_handle_fail(error, ER_EINVALID, "method",
                              "'%.20s' is none of GET, POST, PUT, PATCH, DELETE",
                              method ? method : "NULL");
    }
    if (!target || target[0] != '/') {
        return er_handle_fail(error, ER_EINVALID, "target",
                              "'%.100s' does not begin with a slash",
                              target ? target : "NULL");
    }
    for (const char *p = target; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f) {
            return er_handle_fail(error, ER_EINVALID, "target",
                                  "'%.100s' has a blank or a control character in it: "
                                  "escape it as %%%02X",
                                  target, (unsigned)(unsigned char)*p);
        }
    }
    if (is_stream(spec->method, target)) {
        return er_handle_fail(error, ER_EINVALID, "target",
                              "'%.100s' is answered by a stream: errand_subscribe is for "
                              "events, format=ndjson gives a page of them, and the log "
                              "without follow what there is",
                              target);
    }
    spec->bound = bound_of(target);
    spec->alone = spec->bound > ER_SYNC_BOUND;
    if (body) {
        er_buf_init(&spec->body, (size_t)300 << 20);
        er_buf_add(&spec->body, body, len);
    }
    return 0;
}

int
errand_request(errand *e, const char *method, const char *target, const char *body,
               size_t len, char **out, size_t *out_len, errand_error *error)
{
    struct er_sync_spec spec;
    struct er_sync_answer a;
    if (out) {
        *out = NULL;
    }
    int rc =
        e ? make_spec(method, target, body, len, &spec, error) : refuse_null(error, "e");
    rc = rc ? rc : er_sync_ask(e, &spec, &a, error);
    if (rc) {
        return rc;
    }
    if (a.status >= 300) {
        (void)er_handle_problem(error, a.status, &a.body);
    }
    if (out_len) {
        *out_len = a.body.len;
    }
    if (out) {
        *out = er_buf_take(&a.body);
    } else {
        er_buf_fini(&a.body);
    }
    return a.status;
}

struct asked {
    errand_answer_fn *done;
    void *ctx;
};

static void
on_asked(void *ctx, int code, struct er_sync_answer *a, const errand_error *error)
{
    struct asked *k = ctx;
    errand_error refused = {0};
    if (a && a->status >= 300) {
        (void)er_handle_problem(&refused, a->status, &a->body);
        error = &refused;
    }
    k->done(k->ctx, a ? a->status : code, a ? a->body.data : "", a ? a->body.len : 0,
            error);
    er_free(k);
}

int
errand_request_async(errand *e, const char *method, const char *target, const char *body,
                     size_t len, errand_answer_fn *done, void *ctx, errand_error *error)
{
    struct er_sync_spec spec;
    if (!e || !done) {
        return refuse_null(error, e ? "done" : "e");
    }
    struct asked *k = er_alloc(sizeof *k);
    int rc = k ? make_spec(method, target, body, len, &spec, error)
               : er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    if (rc == 0) {
        *k = (struct asked){done, ctx};
        rc = er_sync_start(e, &spec, on_asked, k, error);
    }
    if (rc) {
        er_free(k);
    }
    return rc;
}
