/* SPDX-License-Identifier: MIT */
/* errand.h as a client of a daemon: each call is one request over wire/client.h. */
#include <errand.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "model/task.h"
#include "wire/client.h"
#include "wire/places.h"

#define ANSWER_FOR (30 * ER_USEC_PER_SEC)
#define WAIT_PART  (60 * ER_USEC_PER_SEC) /* one long poll; the next follows at once */

_Static_assert(ERRAND_ENODAEMON == ER_ENODAEMON && ERRAND_ETIMEOUT == ER_ETIMEOUT &&
                   ERRAND_EFULL == ER_EFULL && ERRAND_EIO == ER_EIO,
               "the public codes are the inner ones");

struct errand_client {
    char *socket;
    struct er_client *wire; /* NULL = not connected */
};

int
errand_version(void)
{
    return ERRAND_VERSION;
}

const char *
errand_strerror(int code)
{
    return code == 0 ? "ok" : er_error_meaning(code);
}

void
errand_free(void *p)
{
    er_free(p);
}

/* Copies the reason out and returns the code. */
static int
give(int code, const struct er_err *err, char *why)
{
    if (code < 0 && why) {
        (void)snprintf(why, ERRAND_WHY, "%s",
                       err && err->text[0] ? err->text : er_error_meaning(code));
    }
    return code;
}

static int
misuse(const char *what, char *why)
{
    struct er_err err;
    return give(er_fail(&err, ER_EINVALID, "%s", what), &err, why);
}

static int
own_socket(char **out, struct er_err *err)
{
    struct er_places p;
    int rc = er_places_init(&p, false, err);
    if (rc == 0) {
        *out = er_strdup(p.socket);
        er_places_fini(&p);
        rc = *out ? 0 : ER_ENOMEM;
    }
    return rc;
}

int
errand_open(const char *url, errand_client **out, char *why)
{
    struct er_err err = {""};
    if (!out) {
        return misuse("out is NULL", why);
    }
    if (url && (strncmp(url, "unix:/", 6) != 0)) {
        int rc = er_fail(&err, ER_EINVALID,
                         "'%.200s' is not a URL such as "
                         "unix:/path/errand.sock",
                         url);
        return give(rc, &err, why);
    }
    struct errand_client *c = er_zalloc(sizeof *c);
    int rc = c ? 0 : ER_ENOMEM;
    if (rc == 0 && url) {
        c->socket = er_strdup(url + 5);
        rc = c->socket ? 0 : ER_ENOMEM;
    } else if (rc == 0) {
        rc = own_socket(&c->socket, &err);
    }
    if (rc == 0) {
        rc = er_client_open(c->socket, &c->wire, &err);
    }
    if (rc) {
        errand_close(c);
        return give(rc, &err, why);
    }
    *out = c;
    return 0;
}

void
errand_close(errand_client *c)
{
    if (c) {
        er_client_close(c->wire);
        er_free(c->socket);
        er_free(c);
    }
}

/* The code and the words of an answer that is not a success. */
static int
problem(const struct er_response *r, struct er_err *err)
{
    json_error_t je;
    json_t *o = json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, &je);
    const char *code = json_string_value(json_object_get(o, "code"));
    const char *detail = json_string_value(json_object_get(o, "detail"));
    int rc = code ? er_error_find(code) : 0;
    rc = rc ? rc : ER_EIO;
    (void)er_fail(err, rc, "%s", detail ? detail : "the daemon gave no reason");
    json_decref(o);
    return rc;
}

/* One request; on success (2xx) the answer is in *out, which the caller finishes. */
static int
ask(errand_client *c, const char *method, const char *target, const char *body,
    const char *headers, er_usec timeout_for, struct er_response *out, struct er_err *err)
{
    int rc = 0;
    if (!c->wire) {
        rc = er_client_open(c->socket, &c->wire, err);
    }
    if (rc == 0) {
        rc = er_client_request(c->wire, method, target, body ? "application/json" : NULL,
                               body, body ? strlen(body) : 0, headers, timeout_for, out,
                               err);
        if (rc) {
            er_client_close(c->wire);
            c->wire = NULL;
        }
    }
    if (rc == 0 && out->status / 100 != 2) {
        rc = problem(out, err);
        er_response_fini(out);
    }
    return rc;
}

/* A submit: asked again once on a new connection when the answer was lost. */
int
errand_submit(errand_client *c, const char *json, int64_t *out_id, char *why)
{
    struct er_err err = {""};
    struct er_response r = {0};
    char uuid[ER_UUID_SIZE], header[80];
    if (!c || !json || !out_id) {
        return misuse("client, json or out_id is NULL", why);
    }
    json_error_t je;
    json_t *task = json_loads(json, JSON_REJECT_DUPLICATES, &je);
    bool has_key = json_object_get(task, "key") != NULL;
    json_decref(task);
    er_uuid7(er_clock_wall(er_clock_system()), uuid);
    (void)snprintf(header, sizeof header, "Idempotency-Key: %s\r\n", uuid);
    int rc = ER_ENODAEMON;
    for (int tries = 0; tries < 2 && rc == ER_ENODAEMON; tries++) {
        rc = ask(c, "POST", "/v1/tasks?brief=1", json, has_key ? NULL : header,
                 ANSWER_FOR, &r, &err);
    }
    if (rc == 0) {
        json_t *o = json_loadb(r.body.data ? r.body.data : "", r.body.len, 0, &je);
        *out_id = json_integer_value(json_object_get(o, "id"));
        json_decref(o);
        er_response_fini(&r);
    }
    return give(rc, &err, why);
}

static int
get_text(errand_client *c, const char *target, er_usec timeout_for, char **out,
         size_t *out_len, struct er_err *err)
{
    struct er_response r = {0};
    int rc = ask(c, "GET", target, NULL, NULL, timeout_for, &r, err);
    if (rc == 0) {
        if (out_len) {
            *out_len = r.body.len;
        }
        *out = er_buf_take(&r.body);
        rc = *out ? 0 : ER_ENOMEM;
        er_response_fini(&r);
    }
    return rc;
}

int
errand_get(errand_client *c, int64_t id, char **out_json, char *why)
{
    struct er_err err = {""};
    char target[64];
    if (!c || !out_json) {
        return misuse("client or out_json is NULL", why);
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld", (long long)id);
    return give(get_text(c, target, ANSWER_FOR, out_json, NULL, &err), &err, why);
}

int
errand_result(errand_client *c, int64_t id, char **out, size_t *out_len, char *why)
{
    struct er_err err = {""};
    char target[64];
    if (!c || !out || !out_len) {
        return misuse("client, out or out_len is NULL", why);
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld/result", (long long)id);
    return give(get_text(c, target, ANSWER_FOR, out, out_len, &err), &err, why);
}

/* One long poll: the state then, or a negative code. */
static int
poll_state(errand_client *c, int64_t id, er_usec wait_for, struct er_err *err)
{
    char target[96], *text = NULL;
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld?until=final&wait=%.3f",
                   (long long)id, (double)wait_for / 1e6);
    int rc = get_text(c, target, ANSWER_FOR + wait_for, &text, NULL, err);
    if (rc == 0) {
        json_error_t je;
        json_t *o = json_loads(text, 0, &je);
        const char *word = json_string_value(json_object_get(o, "state"));
        rc = word ? er_task_state_find(word) : ER_EIO;
        json_decref(o);
        er_free(text);
    }
    return rc;
}

int
errand_wait(errand_client *c, int64_t id, int64_t timeout_ms, char *why)
{
    struct er_err err = {""};
    if (!c) {
        return misuse("client is NULL", why);
    }
    const struct er_clock *clock = er_clock_system();
    er_usec end =
        timeout_ms < 0 ? ER_NEVER : er_clock_mono(clock) + timeout_ms * ER_USEC_PER_MS;
    for (;;) {
        er_usec left = end == ER_NEVER ? WAIT_PART : end - er_clock_mono(clock);
        left = left < 0 ? 0 : left > WAIT_PART ? WAIT_PART : left;
        int rc = poll_state(c, id, left, &err);
        if (rc < 0) {
            return give(rc, &err, why);
        }
        if (er_task_state_is_final((enum er_task_state)rc)) {
            return rc;
        }
        if (end != ER_NEVER && er_clock_mono(clock) >= end) {
            rc = er_fail(&err, ER_ETIMEOUT, "task %lld is %s still", (long long)id,
                         er_task_state_word((enum er_task_state)rc));
            return give(rc, &err, why);
        }
    }
}

static int
act(errand_client *c, int64_t id, const char *action, char *why)
{
    struct er_err err = {""};
    struct er_response r = {0};
    char target[64];
    if (!c) {
        return misuse("client is NULL", why);
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%lld/%s", (long long)id, action);
    int rc = ask(c, "POST", target, "{}", NULL, ANSWER_FOR, &r, &err);
    if (rc == 0) {
        er_response_fini(&r);
    }
    return give(rc, &err, why);
}

int
errand_cancel(errand_client *c, int64_t id, char *why)
{
    return act(c, id, "cancel", why);
}

int
errand_retry(errand_client *c, int64_t id, char *why)
{
    return act(c, id, "retry", why);
}
