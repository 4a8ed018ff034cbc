/* SPDX-License-Identifier: MIT */
/* Speaking to the daemon: finds it, starts it when that is allowed, asks again when a
 * connection breaks, and turns answers into JSON or into errors with words. Blocking. */
#ifndef ER_APP_DAEMON_H
#define ER_APP_DAEMON_H

#include "app/app.h"
#include "model/task.h"

/* How long a broken connection is tried again before that is an error. */
#define ER_DAEMON_PATIENCE (10 * ER_USEC_PER_SEC)

/* How long an answer may come after app->until: one that is held back comes just then. */
#define ER_DAEMON_LATE (3 * ER_USEC_PER_SEC)

/* Works out app->places once. */
int er_daemon_places(struct er_app *app, struct er_err *err) ER_MUSTCHECK;
/* Connects when there is no connection; starts the daemon when none answers and that is
 * allowed. ER_ENODAEMON, or the errors of the places. */
int er_daemon_open(struct er_app *app, struct er_err *err) ER_MUSTCHECK;
void er_daemon_close(struct er_app *app);

struct er_daemon_request {
    const char *method; /* NULL = GET */
    const char *target;
    const char *type; /* of the body; NULL = application/json when there is a body */
    const struct er_buf *body; /* NULL = none */
    const char *headers;       /* complete lines, or NULL */
};
/* One request and its answer. A status of 400 and above is an error: its code and words
 * come from the problem, which stays in app->problem. ER_ETIMEOUT: no answer came before
 * app->until (and a while) or within app->each. A note tells, once, of a daemon that
 * takes long over an answer which it does not hold back (a `wait`). */
int er_daemon_call(struct er_app *app, const struct er_daemon_request *r,
                   struct er_response *out, struct er_err *err) ER_MUSTCHECK;
/* GETs JSON. The caller frees *out. */
int er_daemon_get(struct er_app *app, const char *target, json_t **out,
                  struct er_err *err) ER_MUSTCHECK;
/* Sends a body and reads JSON (*out may be NULL: not wanted; it is NULL without a body).
 */
int er_daemon_post(struct er_app *app, const char *method, const char *target,
                   const struct er_buf *body, json_t **out,
                   struct er_err *err) ER_MUSTCHECK;
/* The same with a JSON value as the body, which it takes; a method of NULL is PUT. */
int er_daemon_json(struct er_app *app, const char *method, const char *target,
                   json_t *body, json_t **out, struct er_err *err) ER_MUSTCHECK;
/* Takes an error answer apart: keeps the problem, returns its code with its words. */
int er_daemon_problem(struct er_app *app, int status, const struct er_buf *body,
                      struct er_err *err);

/* The words of a problem: its detail, and behind it the chain of a circle. Returns the
 * code of its word; 0 when there is none. */
int er_daemon_words(const json_t *problem, struct er_err *err);
/* Steps through NDJSON: false at its end; else *line has *n bytes, which are not empty.
 * Begin with *at = 0. */
bool er_daemon_line(const struct er_buf *b, size_t *at, const char **line, size_t *n);

/* Starts a stream (a GET) and checks its status; read it with er_client_stream_read. */
int er_daemon_stream(struct er_app *app, const char *target, const char *headers,
                     struct er_err *err) ER_MUSTCHECK;
/* The same on a connection of its own (*out, the caller's), so that requests go on beside
 * it. */
int er_daemon_side_stream(struct er_app *app, const char *target, struct er_client **out,
                          struct er_err *err) ER_MUSTCHECK;
/* After a stream or a long answer broke at `since` (er_clock_mono): waits a moment and
 * connects again. 0, or the error to give up with. */
int er_daemon_again(struct er_app *app, er_usec since, struct er_err *err) ER_MUSTCHECK;

/* Adds a text as one segment of a path, percent-encoded. */
void er_daemon_segment(struct er_buf *target, const char *text);
/* Adds "name=value" with the value percent-encoded, after '?' or '&' as is due. */
void er_daemon_param(struct er_buf *target, const char *name, const char *value);
void er_daemon_param_int(struct er_buf *target, const char *name, int64_t value);

/* Members of a JSON object, with what stands for unknown. Texts are borrowed. */
const char *er_json_text(const json_t *o, const char *name); /* NULL */
int64_t er_json_int(const json_t *o, const char *name, int64_t unknown);
double er_json_number(const json_t *o, const char *name, double unknown);
bool er_json_bool(const json_t *o, const char *name);    /* false */
er_usec er_json_time(const json_t *o, const char *name); /* ER_NEVER */
enum er_task_state er_json_state(const json_t *task);    /* QUEUED */

#endif
