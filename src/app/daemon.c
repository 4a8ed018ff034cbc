/* SPDX-License-Identifier: MIT */
/* Happy path: connect, send, read. When nobody answers: the lock file may name another
 * socket (a daemon that was started with other variables); else the daemon is started, if
 * that is allowed. Two commands may start one at the same time: the one that loses finds
 * the store owned and uses the winner's socket.
 *
 * A connection that breaks after it once worked is tried again for ER_DAEMON_PATIENCE, at
 * most REQUEST_TRIES times a request, so that a request which kills the daemon ends.
 * Requests that are not idempotent carry a key. What a daemon refuses because it ends
 * goes to the next one, when its end comes within CLOSED_PATIENCE. */
#include "app/daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "wire/autostart.h"
#include "wire/json_dump.h"

#define REQUEST_TRIES   5
#define PAUSE_NS        10000000L
#define OTHER_TRIES     10
#define SLOW_AFTER      (10 * ER_USEC_PER_SEC)
#define CLOSED_PATIENCE (15 * ER_USEC_PER_SEC) /* for a daemon that ends */
#define START_PATIENCE  (30 * ER_USEC_PER_SEC) /* for one that somebody else has started */

int
er_daemon_places(struct er_app *app, struct er_err *err)
{
    if (app->has_places) {
        return 0;
    }
    int rc = er_places_init(&app->places, false, err);
    app->has_places = rc == 0;
    return rc;
}

static void
sleep_shortly(void)
{
    struct timespec ts = {0, PAUSE_NS};
    (void)nanosleep(&ts, NULL);
}

static er_usec
now_mono(void)
{
    return er_clock_mono(er_clock_system());
}

static int
connect_to(struct er_app *app, const char *path, struct er_err *err)
{
    int rc = er_client_open(path, &app->client, err);
    if (rc) {
        app->client = NULL;
        return rc;
    }
    if (path != app->socket) {
        er_free(app->socket);
        app->socket = er_xstrdup(path);
    }
    app->connected_once = true;
    app->daemon = er_client_peer(app->client);
    return 0;
}

/* Connects to the socket that the store's owner wrote into the lock file, if it is
 * another one than ours. */
static int
connect_to_owner(struct er_app *app)
{
    int pid;
    char *path;
    if (er_autostart_owner(&app->places, &pid, &path)) {
        return ER_ENODAEMON;
    }
    int rc = ER_ENODAEMON;
    if (path && strcmp(path, app->places.socket) != 0 && !getenv("ERRAND_SOCKET")) {
        rc = connect_to(app, path, NULL);
    }
    er_free(path);
    return rc;
}

/* The pid of the daemon that owns the store, or 0. It is looked for by its entry in the
 * lock file: to try the lock would keep a daemon that starts just now from taking it. */
static int
find_owner(const struct er_places *places)
{
    char link[64], exe[4096];
    char *socket_path;
    int pid;
    if (er_autostart_owner(places, &pid, &socket_path)) {
        return 0;
    }
    er_free(socket_path);
    (void)snprintf(link, sizeof link, "/proc/%d/exe", pid);
    ssize_t n = readlink(link, exe, sizeof exe - 1); /* fails for one that has ended */
    exe[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(exe, '/');
    return name && strncmp(name, "/errandd", 8) == 0 ? pid : 0;
}

/* Tries for a moment to reach a daemon that somebody else has started. */
static int
reach_other(struct er_app *app)
{
    for (int i = 0; i < OTHER_TRIES; i++) {
        if (connect_to(app, app->places.socket, NULL) == 0 ||
            connect_to_owner(app) == 0) {
            return 0;
        }
        sleep_shortly();
    }
    return ER_ENODAEMON;
}

/* Starts a daemon and connects. When the store has an owner (another command was faster,
 * or a daemon that was killed is not quite gone) that one is tried, then a start again.
 */
static int
start_and_connect(struct er_app *app, struct er_err *err)
{
    er_usec until = now_mono() + START_PATIENCE;
    for (;;) {
        struct er_err why = {""};
        int owner = find_owner(&app->places);
        int rc = owner ? ER_EBUSY : er_autostart_run(&app->places, &why);
        if (!rc) {
            return connect_to(app, app->places.socket, err);
        }
        if (rc != ER_EBUSY) {
            return er_fail(err, ER_ENODAEMON, "%s", why.text);
        }
        if (reach_other(app) == 0) {
            return 0;
        }
        if (now_mono() > until && owner) {
            return er_fail(err, ER_ENODAEMON,
                           "the daemon with pid %d has the store, but does not answer at "
                           "%.300s",
                           owner, app->places.socket);
        }
        if (now_mono() > until) {
            return er_fail(err, ER_ENODAEMON, "%s", why.text);
        }
    }
}

/* Why it was looked for there; --socket is said by who has just typed it. */
static const char *
socket_hint(const struct er_app *app)
{
    const char *v = app->elsewhere ? NULL : getenv("ERRAND_SOCKET");
    return v && *v ? ", where ERRAND_SOCKET points" : "";
}

int
er_daemon_open(struct er_app *app, struct er_err *err)
{
    if (app->client) {
        return 0;
    }
    int rc = er_daemon_places(app, err);
    if (rc) {
        return rc;
    }
    rc = connect_to(app, app->socket ? app->socket : app->places.socket, err);
    if (rc != ER_ENODAEMON || connect_to_owner(app) == 0) {
        return rc == ER_ENODAEMON ? 0 : rc;
    }
    if (app->elsewhere) {
        return er_fail(err, rc, "no daemon answers at %.300s, and none is started there",
                       app->places.socket);
    }
    int owner = app->no_autostart ? find_owner(&app->places) : 0;
    if (owner) {
        return er_fail(
            err, rc,
            "no daemon answers at %.300s%s, but the daemon with pid %d has the "
            "store: it starts or ends just now, or hangs, or something else lies in the "
            "socket's place (errand doctor)",
            app->places.socket, socket_hint(app), owner);
    }
    if (app->no_autostart) {
        return er_fail(err, rc, "no daemon answers at %.300s%s (errand serve starts one)",
                       app->places.socket, socket_hint(app));
    }
    if (getenv("ERRAND_TASK_ID")) {
        return er_fail(
            err, rc,
            "no daemon answers at %.300s%s, and none is started from inside a task",
            app->places.socket, socket_hint(app));
    }
    return start_and_connect(app, err);
}

void
er_daemon_close(struct er_app *app)
{
    er_client_close(app->client);
    app->client = NULL;
}

int
er_daemon_again(struct er_app *app, er_usec since, struct er_err *err)
{
    er_daemon_close(app);
    for (;;) {
        sleep_shortly();
        int rc = er_daemon_open(app, err);
        if (rc != ER_ENODAEMON || now_mono() - since > ER_DAEMON_PATIENCE) {
            return rc;
        }
    }
}

/* The daemon, for a message. */
static void
name_daemon(const struct er_app *app, char *out, size_t size)
{
    (void)snprintf(out, size, app->daemon > 0 ? "the daemon (pid %d)" : "the daemon",
                   app->daemon);
}

static void
on_slow(void *ctx)
{
    struct er_app *app = ctx;
    char who[48];
    name_daemon(app, who, sizeof who);
    if (!app->told_slow) {
        er_app_note("%s has not answered for %d s (errand doctor)", who,
                    (int)(SLOW_AFTER / ER_USEC_PER_SEC));
    }
    app->told_slow = true;
}

/* Sets when on_slow is called: later when the daemon is to hold its answer back. */
static void
watch_slow(struct er_app *app, struct er_client *c, const char *target)
{
    const char *wait = strstr(target, "wait=");
    double held_s = wait ? strtod(wait + strlen("wait="), NULL) : 0.0;
    er_client_tell_slow(c, SLOW_AFTER + (er_usec)(held_s * (double)ER_USEC_PER_SEC),
                        on_slow, app);
}

/* What is left for a request: at least 1 us; 0 = there is no bound. */
static er_usec
time_left(const struct er_app *app)
{
    if (!app->until && !app->each) {
        return 0;
    }
    er_usec left = app->until ? app->until + ER_DAEMON_LATE - now_mono() : app->each;
    left = app->each && app->each < left ? app->each : left;
    return left > 0 ? left : 1;
}

static int
fail_late(const struct er_app *app, struct er_err *err)
{
    char who[48];
    name_daemon(app, who, sizeof who);
    return er_fail(err, ER_ETIMEOUT, "%s has not answered in time (errand doctor)", who);
}

/* How long a daemon that ends is waited for. */
static er_usec
closed_patience(const struct er_app *app)
{
    er_usec left = time_left(app);
    return left > 0 && left < CLOSED_PATIENCE ? left : CLOSED_PATIENCE;
}

static bool
is_closed(const struct er_response *r)
{
    return r->status == 503 && r->body.data &&
           strstr(r->body.data, "\"code\":\"closed\"");
}

/* The daemon takes nothing any more, since it ends: waits for that, so that the next one
 * can be asked. False: it is not to be waited for, or lives on at that time. */
static bool
await_end(struct er_app *app, er_usec until)
{
    struct er_response r;
    if (app->no_autostart || getenv("ERRAND_TASK_ID") ||
        er_client_request(app->client, "GET", "/v1/stats", NULL, NULL, 0, NULL,
                          CLOSED_PATIENCE, &r, NULL)) {
        return false;
    }
    json_t *stats = json_loadb(r.body.data ? r.body.data : "", r.body.len, 0, NULL);
    int pid = (int)er_json_int(json_object_get(stats, "daemon"), "pid", 0);
    json_decref(stats);
    er_response_fini(&r);
    struct pollfd p = {.fd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1,
                       .events = POLLIN};
    bool is_gone = pid > 1 && p.fd < 0 && errno == ESRCH;
    for (er_usec left; p.fd >= 0 && !is_gone && (left = until - now_mono()) > 0;) {
        is_gone = poll(&p, 1, (int)(left / ER_USEC_PER_MS) + 1) > 0;
    }
    er_close(&p.fd);
    return is_gone;
}

/* One request and its answer, whatever its status. */
static int
send_request(struct er_app *app, const struct er_daemon_request *r,
             struct er_response *out, struct er_err *err)
{
    er_usec since = 0, closed_until = 0;
    int rc = er_daemon_open(app, err);
    for (int tries = 1; !rc; tries++) {
        watch_slow(app, app->client, r->target);
        const char *type = r->type || !r->body ? r->type : "application/json";
        rc =
            er_client_request(app->client, r->method ? r->method : "GET", r->target, type,
                              r->body ? r->body->data : NULL, r->body ? r->body->len : 0,
                              r->headers, time_left(app), out, err);
        if (rc == ER_ETIMEOUT) {
            return fail_late(app, err);
        }
        if (!rc && is_closed(out)) {
            closed_until =
                closed_until ? closed_until : now_mono() + closed_patience(app);
            if (await_end(app, closed_until)) {
                er_response_fini(out);
                rc = ER_ENODAEMON;
            }
        }
        if (rc != ER_ENODAEMON || tries == REQUEST_TRIES) {
            return rc;
        }
        since = since ? since : now_mono();
        rc = er_daemon_again(app, since, err);
    }
    return rc;
}

/* Adds " (7 -> 9 -> 7)": ids, or the names of a batch. */
static void
add_chain(const json_t *chain, struct er_buf *b)
{
    size_t i;
    const json_t *v;
    json_array_foreach(chain, i, v)
    {
        er_buf_add_str(b, i > 0 ? " -> " : " (");
        if (json_is_string(v)) {
            er_buf_add_str(b, json_string_value(v));
        } else {
            er_buf_add_i64(b, json_integer_value(v));
        }
    }
    er_buf_add_str(b, json_array_size(chain) > 0 ? ")" : "");
}

int
er_daemon_words(const json_t *problem, struct er_err *err)
{
    struct er_buf b;
    const char *word = er_json_text(problem, "code");
    const char *detail = er_json_text(problem, "detail");
    detail = detail ? detail : er_json_text(problem, "title");
    detail = detail ? detail : word ? word : "";
    int code = word ? er_error_find(word) : 0;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, detail);
    if (!strstr(detail, " -> ") && !strstr(detail, " waits for ")) {
        add_chain(json_object_get(problem, "chain"), &b);
    }
    (void)er_fail(err, code, "%s", b.data ? b.data : "");
    er_buf_fini(&b);
    return code;
}

bool
er_daemon_line(const struct er_buf *b, size_t *at, const char **line, size_t *n)
{
    while (*at < b->len) {
        const char *start = b->data + *at;
        const char *end = memchr(start, '\n', b->len - *at);
        size_t len = end ? (size_t)(end - start) : b->len - *at;
        *at += len + 1;
        if (len > 0) {
            *line = start;
            *n = len;
            return true;
        }
    }
    return false;
}

int
er_daemon_problem(struct er_app *app, int status, const struct er_buf *body,
                  struct er_err *err)
{
    json_decref(app->problem);
    app->problem = json_loadb(body->data ? body->data : "", body->len, 0, NULL);
    struct er_err words = {""};
    int code = er_daemon_words(app->problem, &words);
    if (code == 0) {
        code = status == 404 ? ER_ENOTFOUND : status < 500 ? ER_EINVALID : ER_EIO;
    }
    if (words.text[0]) {
        return er_fail(err, code, "%s", words.text);
    }
    return er_fail(err, code, "the daemon answered with status %d", status);
}

int
er_daemon_call(struct er_app *app, const struct er_daemon_request *r,
               struct er_response *out, struct er_err *err)
{
    struct er_response got;
    int rc = send_request(app, r, &got, err);
    if (!rc && got.status >= 400) {
        rc = er_daemon_problem(app, got.status, &got.body, err);
        er_response_fini(&got);
    }
    if (!rc) {
        *out = got;
    }
    return rc;
}

/* Reads the JSON of an answer. */
static int
parse_answer(const struct er_response *r, json_t **out, struct er_err *err)
{
    json_error_t why;
    json_t *v =
        json_loadb(r->body.data ? r->body.data : "", r->body.len, JSON_DECODE_ANY, &why);
    if (!v) {
        return er_fail(err, ER_EIO, "the daemon's answer is not JSON: %s", why.text);
    }
    *out = v;
    return 0;
}

int
er_daemon_post(struct er_app *app, const char *method, const char *target,
               const struct er_buf *body, json_t **out, struct er_err *err)
{
    struct er_daemon_request r = {.method = method, .target = target, .body = body};
    struct er_response got;
    int rc = er_daemon_call(app, &r, &got, err);
    if (rc) {
        return rc;
    }
    if (out) {
        *out = NULL;
        rc = got.body.len > 0 ? parse_answer(&got, out, err) : 0;
    }
    er_response_fini(&got);
    return rc;
}

int
er_daemon_json(struct er_app *app, const char *method, const char *target, json_t *body,
               json_t **out, struct er_err *err)
{
    struct er_buf b;
    char *text = er_json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!text) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    er_buf_init(&b, 0);
    er_buf_add_str(&b, text);
    free(text);
    int rc = er_daemon_post(app, method ? method : "PUT", target, &b, out, err);
    er_buf_fini(&b);
    return rc;
}

int
er_daemon_get(struct er_app *app, const char *target, json_t **out, struct er_err *err)
{
    json_t *v = NULL;
    int rc = er_daemon_post(app, "GET", target, NULL, &v, err);
    if (!rc && !v) {
        return er_fail(err, ER_EIO, "the daemon's answer is empty");
    }
    if (!rc) {
        *out = v;
    }
    return rc;
}

/* Starts a stream on a connection; a status of 400 and above is the error. */
static int
start_stream(struct er_app *app, struct er_client *c, const char *target,
             const char *headers, struct er_err *err)
{
    int status;
    watch_slow(app, c, target);
    int rc = er_client_stream_start(c, target, headers, time_left(app), &status, err);
    if (rc || status < 400) {
        return rc == ER_ETIMEOUT ? fail_late(app, err) : rc;
    }
    struct er_buf body;
    er_buf_init(&body, 0);
    while (er_client_stream_read(c, &body, 0, err) > 0) {
    }
    rc = er_daemon_problem(app, status, &body, err);
    er_buf_fini(&body);
    return rc;
}

int
er_daemon_stream(struct er_app *app, const char *target, const char *headers,
                 struct er_err *err)
{
    int rc = er_daemon_open(app, err);
    return rc ? rc : start_stream(app, app->client, target, headers, err);
}

int
er_daemon_side_stream(struct er_app *app, const char *target, struct er_client **out,
                      struct er_err *err)
{
    struct er_client *c;
    int rc = er_daemon_open(app, err);
    rc = rc ? rc : er_client_open(app->socket, &c, err);
    if (rc) {
        return rc;
    }
    rc = start_stream(app, c, target, NULL, err);
    if (rc) {
        er_client_close(c);
    } else {
        *out = c;
    }
    return rc;
}

void
er_daemon_param(struct er_buf *target, const char *name, const char *value)
{
    er_buf_add_char(target, target->data && strchr(target->data, '?') ? '&' : '?');
    er_buf_add_str(target, name);
    er_buf_add_char(target, '=');
    er_daemon_segment(target, value);
}

void
er_daemon_segment(struct er_buf *target, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
            (*p >= 'A' && *p <= 'Z') || strchr("-._~,:@", *p)) {
            er_buf_add_char(target, (char)*p);
        } else {
            char code[3] = {'%', hex[*p >> 4], hex[*p & 15]};
            er_buf_add(target, code, sizeof code);
        }
    }
}

void
er_daemon_param_int(struct er_buf *target, const char *name, int64_t value)
{
    er_daemon_param(target, name, "");
    er_buf_add_i64(target, value);
}

const char *
er_json_text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

int64_t
er_json_int(const json_t *o, const char *name, int64_t unknown)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : unknown;
}

double
er_json_number(const json_t *o, const char *name, double unknown)
{
    const json_t *v = json_object_get(o, name);
    return json_is_number(v) ? json_number_value(v) : unknown;
}

bool
er_json_bool(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

er_usec
er_json_time(const json_t *o, const char *name)
{
    er_usec at;
    const char *text = er_json_text(o, name);
    return text && er_time_parse(text, &at) == 0 ? at : ER_NEVER;
}

enum er_task_state
er_json_state(const json_t *task)
{
    const char *word = er_json_text(task, "state");
    int state = word ? er_task_state_find(word) : -1;
    return state < 0 ? ER_TASK_QUEUED : (enum er_task_state)state;
}
