/* SPDX-License-Identifier: MIT */
/* Every request of the protocol in one table, and the way from the server to a route and
 * back. A call is freed when its connection is done with it and nothing asynchronous
 * holds it; an answer to a call whose connection is gone goes nowhere, without harm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/api.h"
#include "base/mem.h"
#include "model/suggest.h"
#include "wire/json.h"
#include "wire/problem.h"

#define DOC    ((size_t)2 << 20) /* one JSON document */
#define SMALL  ((size_t)64 << 10)
#define REPORT ((size_t)24 << 20) /* one report line: a result as base64 */

/* clang-format off */
const struct er_route er_routes[] = {
    {"POST", "/v1/tasks", true, DOC, er_api_submit, er_api_submit_line, "submit tasks", "atomic brief"},
    {"POST", "/v1/call", false, DOC, er_api_call, NULL, "submit, and wait for the result", ""},
    {"POST", "/v1/call/{name}", false, DOC, er_api_call, NULL, "the same of a type, its arguments as the body", "queue priority key correlation parent text"},
    {"GET", "/v1/tasks", false, 0, er_api_list, NULL, "list tasks", "state queue type tag correlation key limit cursor view"},
    {"GET", "/v1/tasks/{id}", false, 0, er_api_show, NULL, "one task", "wait until brief result silent"},
    {"PATCH", "/v1/tasks/{id}", false, DOC, er_api_edit, NULL, "edit a waiting task", ""},
    {"DELETE", "/v1/tasks/{id}", false, SMALL, er_api_delete, NULL, "remove a finished task", ""},
    {"GET", "/v1/tasks/{id}/log", false, 0, er_api_log, NULL, "its output", "attempt stream tail timestamps format follow"},
    {"GET", "/v1/tasks/{id}/result", false, 0, er_api_result, NULL, "its result", ""},
    {"GET", "/v1/tasks/{id}/attempts", false, 0, er_api_attempts, NULL, "its attempts", ""},
    {"GET", "/v1/tasks/{id}/items", false, 0, er_api_items, NULL, "its items", "state limit cursor"},
    {"GET", "/v1/tasks/{id}/after", false, 0, er_api_after, NULL, "what it waits for", "open results limit cursor"},
    {"GET", "/v1/tasks/{id}/why", false, 0, er_api_why, NULL, "why it is as it is", ""},
    {"POST", "/v1/tasks/{id}/input", false, DOC, er_api_input, NULL, "to its standard input", ""},
    {"POST", "/v1/tasks/{id}/progress", false, DOC, er_api_progress, NULL, "report progress", ""},
    {"POST", "/v1/tasks/{id}/{name}", false, SMALL, er_api_action, NULL, "cancel, pause, resume, retry, requeue", "wait silent"},
    {"POST", "/v1/actions/{name}", false, DOC, er_api_actions, NULL, "the same for many", ""},
    {"POST", "/v1/clean", false, SMALL, er_api_clean, NULL, "remove finished tasks", ""},
    {"GET", "/v1/events", false, 0, er_api_events, NULL, "server-sent events, or a page of facts", "since task correlation event cursor format until limit"},
    {"POST", "/v1/events", true, DOC, er_api_publish, er_api_publish_line, "a program's own events", ""},
    {"GET", "/v1/cursors/{name}", false, 0, er_api_cursor_get, NULL, "where a reader of facts has got to", ""},
    {"PUT", "/v1/cursors/{name}", false, SMALL, er_api_cursor_put, NULL, "keep it", ""},
    {"DELETE", "/v1/cursors/{name}", false, SMALL, er_api_cursor_delete, NULL, "forget it", ""},
    {"GET", "/v1/queues", false, 0, er_api_queues, NULL, "queues", ""},
    {"GET", "/v1/queues/{name}", false, 0, er_api_queue_get, NULL, "one queue", ""},
    {"PUT", "/v1/queues/{name}", false, SMALL, er_api_queue_put, NULL, "set a queue's limits", ""},
    {"DELETE", "/v1/queues/{name}", false, SMALL, er_api_queue_delete, NULL, "remove a queue", ""},
    {"POST", "/v1/pause", false, SMALL, er_api_pause, NULL, "pause a queue or everything", ""},
    {"POST", "/v1/resume", false, SMALL, er_api_resume, NULL, "let it go on", ""},
    {"GET", "/v1/limits", false, 0, er_api_limits, NULL, "limits of limit keys", ""},
    {"GET", "/v1/limits/{name}", false, 0, er_api_limits, NULL, "of one", ""},
    {"PUT", "/v1/limits/{name}", false, SMALL, er_api_limit_put, NULL, "set them", ""},
    {"DELETE", "/v1/limits/{name}", false, SMALL, er_api_limit_delete, NULL, "remove them", ""},
    {"GET", "/v1/types", false, 0, er_api_types, NULL, "registered types", ""},
    {"GET", "/v1/types/{name}", false, 0, er_api_types, NULL, "one type", ""},
    {"PUT", "/v1/types/{name}", false, DOC, er_api_type_put, NULL, "define a type", "merge besides"},
    {"DELETE", "/v1/types/{name}", false, SMALL, er_api_type_delete, NULL, "forget its definition", ""},
    {"GET", "/v1/stats", false, 0, er_api_stats, NULL, "counts, workers, the daemon", ""},
    {"GET", "/v1/doctor", false, 0, er_api_doctor, NULL, "checks", ""},
    {"POST", "/v1/shutdown", false, SMALL, er_api_shutdown, NULL, "end the daemon", ""},
    {"POST", "/v1/work/claim", false, DOC, er_api_claim, NULL, "a worker's hello", ""},
    {"POST", "/v1/work/report", true, REPORT, er_api_report, er_api_report_line, "a worker's reports", ""},
    {"GET", "/v1", false, 0, er_api_index, NULL, "this list", ""},
    {"GET", "/healthz", false, 0, er_api_health, NULL, "the daemon lives", ""},
    {"GET", "/readyz", false, 0, er_api_ready, NULL, "the queue makes progress", ""},
    {"GET", "/metrics", false, 0, er_api_metrics, NULL, "for Prometheus", ""},
};
/* clang-format on */
const size_t er_routes_n = sizeof er_routes / sizeof er_routes[0];

/* ---- calls ---- */

void
er_call_hold(struct er_call *call)
{
    call->holds++;
}

void
er_call_release(struct er_call *call)
{
    ER_ASSERT(call->holds > 0);
    if (--call->holds > 0) {
        return;
    }
    if (call->free_state) {
        call->free_state(call);
    }
    er_free(call->name);
    er_free(call);
}

static void
reply(struct er_call *call, int status, const char *type, struct er_buf *body)
{
    if (call->req && !call->answered) {
        call->answered = true;
        er_request_reply(call->req, status, type, body);
    }
    er_buf_fini(body);
}

void
er_call_json(struct er_call *call, int status, struct er_buf *body)
{
    if (body->failed) {
        int code = body->failed;
        er_buf_fini(body);
        er_call_problem(call, code, NULL, "the answer is too large");
        return;
    }
    reply(call, status, "application/json", body);
}

void
er_call_ndjson(struct er_call *call, int status, struct er_buf *body)
{
    reply(call, status, "application/x-ndjson", body);
}

static void
problem(struct er_call *call, int status, int code, const char *field, const char *extra,
        const char *fmt, va_list ap)
{
    char detail[1024];
    struct er_buf b;
    (void)vsnprintf(detail, sizeof detail, fmt, ap);
    er_buf_init(&b, 0);
    er_problem_json_status(&b, status, code, detail, field, extra);
    if (call->req && (code == ER_EFULL || code == ER_ECLOSED) && !call->answered) {
        er_request_add_header(call->req, "Retry-After", "1");
    }
    reply(call, status, "application/problem+json", &b);
}

void
er_call_problem(struct er_call *call, int code, const char *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    problem(call, er_error_http(code), code, field, NULL, fmt, ap);
    va_end(ap);
}

void
er_call_problem_extra(struct er_call *call, int code, const char *field,
                      const char *extra_json, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    problem(call, er_error_http(code), code, field, extra_json, fmt, ap);
    va_end(ap);
}

void
er_call_problem_status(struct er_call *call, int status, int code, const char *field,
                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    problem(call, status, code, field, NULL, fmt, ap);
    va_end(ap);
}

bool
er_call_number(struct er_call *call, const char *name, int64_t lo, int64_t hi,
               int64_t otherwise, int64_t *out)
{
    const char *text = er_request_query(call->req, name);
    *out = otherwise;
    if (!text) {
        return true;
    }
    char *end;
    long long v = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v < lo || v > hi) {
        er_call_problem(call, ER_EINVALID, name,
                        "invalid %s '%.100s' (a number from %lld to "
                        "%lld)",
                        name, text, (long long)lo, (long long)hi);
        return false;
    }
    *out = v;
    return true;
}

bool
er_call_seconds(struct er_call *call, const char *name, uint64_t *out_ms)
{
    const char *text = er_request_query(call->req, name);
    char *end = NULL;
    double s = text ? strtod(text, &end) : 0;
    if (text && (end == text || *end != '\0' || !(s >= 0 && s <= 3600))) {
        er_call_problem(call, ER_EINVALID, name,
                        "invalid %s '%.100s' (seconds, 0 to 3600)", name, text);
        return false;
    }
    *out_ms = (uint64_t)(s * 1000 + 0.5);
    return true;
}

bool
er_call_matches(const struct er_call *call, const char *etag)
{
    const char *wanted = er_request_header(call->req, "If-Match");
    size_t n = strlen(etag);
    if (!wanted) {
        return true;
    }
    for (const char *p = wanted; *p && n > 0; p += strcspn(p, ","), p += *p == ',') {
        p += strspn(p, " ");
        if (*p == '*' || strncmp(p, etag, n) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- from the server ---- */

/* Whether the path fits the pattern; fills the call's id and name. 1 yes, 0 no, -1 an id
 * that is not one. */
static int
match(const char *pattern, const char *path, struct er_call *call)
{
    bool has_id = false;
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++) {
                return 0;
            }
            continue;
        }
        bool is_rest =
            !has_id && strcmp(pattern, "{name}") == 0; /* may have a '/' in it */
        size_t len = is_rest ? strlen(path) : strcspn(path, "/");
        if (len == 0 || path[len - 1] == '/') {
            return 0;
        }
        if (strncmp(pattern, "{id}", 4) == 0) {
            char *end;
            call->id = strtoll(path, &end, 10);
            if (end != path + len || call->id <= 0 || *path == '+') {
                return -1;
            }
            has_id = true;
        } else {
            er_free(call->name);
            call->name = er_xstrndup(path, len);
        }
        path += len;
        pattern = strchr(pattern, '}') + 1;
    }
    return *path == '\0';
}

static int
find_route(struct er_call *call, const char *method, const char *path)
{
    int found = ER_ENOTFOUND;
    for (size_t i = 0; i < er_routes_n; i++) {
        int m = match(er_routes[i].pattern, path, call);
        if (m < 0) {
            return ER_EINVALID;
        }
        if (m == 0) {
            continue;
        }
        found = ER_ESTATE; /* there is such a path */
        if (strcmp(er_routes[i].method, method) == 0 ||
            (strcmp(method, "HEAD") == 0 && strcmp(er_routes[i].method, "GET") == 0)) {
            call->route = &er_routes[i];
            return 0;
        }
    }
    return found;
}

/* The header that a 405 has: the methods of the path. */
static void
add_allow(struct er_call *call, const char *path)
{
    char methods[80] = "";
    for (size_t i = 0; i < er_routes_n; i++) {
        size_t n = strlen(methods);
        if (match(er_routes[i].pattern, path, call) == 1) {
            (void)snprintf(methods + n, sizeof methods - n, "%s%s%s", n > 0 ? ", " : "",
                           er_routes[i].method,
                           strcmp(er_routes[i].method, "GET") == 0 ? ", HEAD" : "");
        }
    }
    er_request_add_header(call->req, "Allow", methods);
}

/* Whether the route knows that parameter. */
static bool
knows(const struct er_route *route, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = route->params; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (n == len && strncmp(p, name, n) == 0) {
            return true;
        }
        p += n;
    }
    return false;
}

/* Stops at the first parameter that the route does not know, and answers. */
static bool
check_param(void *ctx, const char *name, const char *value)
{
    struct er_call *call = ctx;
    (void)value;
    if (knows(call->route, name)) {
        return true;
    }
    er_call_problem(call, ER_EINVALID, name, "unknown parameter '%.100s' (there %s%s)",
                    name, *call->route->params ? "is: " : "is none here",
                    call->route->params);
    return false;
}

static bool
is_ndjson(const struct er_request *req)
{
    const char *type = er_request_header(req, "Content-Type");
    return type && strncmp(type, "application/x-ndjson", 20) == 0;
}

static int
on_head(void *ctx, struct er_request *req, enum er_body_kind *out_body, size_t *out_max)
{
    struct er_call *call = er_xzalloc(sizeof *call);
    const char *path = req->path, *method = req->method;
    call->api = ctx;
    call->req = req;
    call->holds = 1; /* the connection's */
    req->user = call;
    int rc = find_route(call, method, path);
    if (rc == ER_ESTATE) {
        struct er_buf b;
        er_buf_init(&b, 0);
        (void)er_problem_json_status(&b, 405, ER_EINVALID, "this path has no such method",
                                     NULL, NULL);
        add_allow(call, path);
        reply(call, 405, "application/problem+json", &b);
        return -1;
    }
    if (rc) {
        er_call_problem(call, rc, NULL,
                        rc == ER_EINVALID
                            ? "'%.200s' holds an id that is no "
                              "number from 1"
                            : "there is no '%.200s' (GET /v1 lists what there is)",
                        path);
        return -1;
    }
    er_request_queries(req, check_param, call);
    if (call->answered) {
        return -1;
    }
    call->is_lines =
        call->route->lines && (is_ndjson(req) || call->route->handle == er_api_report);
    *out_body = call->is_lines ? ER_BODY_LINES : ER_BODY_WHOLE;
    *out_max = call->route->max_body;
    return 0;
}

static void
on_line(void *ctx, struct er_request *req, const char *line, size_t len)
{
    (void)ctx;
    struct er_call *call = req->user;
    if (!line && call->route->line != er_api_submit_line) {
        er_call_problem(call, ER_ETOOBIG, NULL, "a line is larger than %zu bytes", len);
        return;
    }
    call->route->line(call, line, len);
}

static void
on_request(void *ctx, struct er_request *req)
{
    (void)ctx;
    struct er_call *call = req->user;
    call->route->handle(call);
}

static void
on_end(void *ctx, struct er_request *req)
{
    (void)ctx;
    struct er_call *call = req->user;
    if (!call) {
        return;
    }
    if (call->gone) {
        call->gone(call);
    }
    call->req = NULL;
    er_call_release(call);
}

bool
er_api_has_store(const struct er_api *api)
{
    struct stat st;
    return api->store_ino == 0 ||
           (stat(api->places->store, &st) == 0 && st.st_dev == api->store_dev &&
            st.st_ino == api->store_ino);
}

void
er_api_refuse_closed(struct er_call *call)
{
    const char *words = call->api->closed_words;
    er_call_problem(call, ER_ECLOSED, NULL, "%s",
                    words ? words
                          : "the daemon is shutting down: nothing was queued; try again "
                            "when it has ended");
}

er_usec
er_api_now(const struct er_api *api)
{
    return er_clock_wall(er_engine_clock(api->engine));
}

const struct er_request_ops *
er_routes_ops(void)
{
    static const struct er_request_ops ops = {on_head, on_line, on_request, on_end};
    return &ops;
}
