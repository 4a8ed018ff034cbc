/* SPDX-License-Identifier: MIT */
/* liberrand: background tasks that are never lost, from a program of yours.
 *
 * This is the client of a daemon. A connection is opened by URL, tasks are submitted as
 * JSON (docs/PROTOCOL.md, "POST /v1/tasks"), looked at, waited for and cancelled:
 *
 *     errand_client *c;
 *     char why[ERRAND_WHY];
 *     int64_t id;
 *     if (errand_open("unix:/run/user/1000/errand/errand.sock", &c, why) != 0) ...
 *     errand_submit(c, "{\"args\":{\"argv\":[\"make\",\"-j8\"]},\"cwd\":\"/src\"}", &id, why);
 *     errand_wait(c, id, 60000, why);
 *     errand_close(c);
 *
 * A function returns 0 (ERRAND_OK) or a negative code; where it takes `why` (a buffer of
 * ERRAND_WHY bytes, or NULL) the reason is written there for people. A code of
 * ERRAND_ENODAEMON means that nobody answers at that socket.
 *
 * Threads: a client is used by one thread at a time; different clients are independent.
 * The library starts no thread, touches no signal and has no global state. Calls block:
 * for each call the bound is said below. Nothing here prints or exits.
 *
 * A lost connection is made again by the next call. A submit is sent again by itself when
 * the answer was lost, under a key of its own, so that it is stored once. */
#ifndef ERRAND_H
#define ERRAND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ERRAND_API __attribute__((visibility("default")))
#else
#define ERRAND_API
#endif

/* Version of this header: major * 10000 + minor * 100 + patch. */
#define ERRAND_VERSION 100

/* Codes. Their meaning in words: errand_strerror. */
#define ERRAND_OK        0
#define ERRAND_ENOMEM    (-1)
#define ERRAND_EINVALID  (-2)  /* wrong use of a function, or a bad task */
#define ERRAND_ENOTFOUND (-3)  /* no such task */
#define ERRAND_EEXISTS   (-4)  /* the key was used for something else */
#define ERRAND_ESTATE    (-5)  /* the task's state forbids it */
#define ERRAND_ETIMEOUT  (-8)  /* the bound given was over */
#define ERRAND_EIO       (-10) /* the daemon or the disk failed; nothing was done */
#define ERRAND_EFULL     (-12) /* a queue or another limit is full */
#define ERRAND_ETOOBIG   (-13)
#define ERRAND_EAUTH     (-16)
#define ERRAND_ENODAEMON (-17)

#define ERRAND_WHY 512

typedef struct errand_client errand_client;

/* The version of the library that is linked, as ERRAND_VERSION. */
ERRAND_API int errand_version(void);
/* The meaning of a code, never NULL; not to be freed. */
ERRAND_API const char *errand_strerror(int code);

/* Connects to a daemon. url: "unix:/path/errand.sock", or NULL for the user's own instance
 * (ERRAND_HOME, ERRAND_SOCKET and the XDG variables say where). On success *out is to be
 * closed with errand_close. ERRAND_ENODAEMON, ERRAND_EINVALID (not such a URL). */
ERRAND_API int errand_open(const char *url, errand_client **out, char *why);
/* NULL is fine. Tasks go on. */
ERRAND_API void errand_close(errand_client *c);

/* Submits one task (JSON, at most 2 MiB) and returns when it is on disk: *out_id is its
 * id. ERRAND_EINVALID names the member that is wrong. Blocks for at most 30 s. */
ERRAND_API int errand_submit(errand_client *c, const char *json, int64_t *out_id,
                             char *why);

/* The task as JSON (docs/PROTOCOL.md, "GET /v1/tasks/{id}") in *out_json, which is yours
 * to free with errand_free. ERRAND_ENOTFOUND. Blocks for at most 30 s. */
ERRAND_API int errand_get(errand_client *c, int64_t id, char **out_json, char *why);
/* The result's own bytes; *out is terminated by a NUL that *out_len does not count.
 * ERRAND_ENOTFOUND: no such task, or it has no result. */
ERRAND_API int errand_result(errand_client *c, int64_t id, char **out, size_t *out_len,
                             char *why);

/* How a task has ended. */
enum errand_end { ERRAND_COMPLETED = 5, ERRAND_FAILED = 6, ERRAND_CANCELLED = 7 };
/* Waits until the task is final, at most timeout_ms (negative: for ever). Returns an
 * errand_end (a positive number), or ERRAND_ETIMEOUT, ERRAND_ENOTFOUND. */
ERRAND_API int errand_wait(errand_client *c, int64_t id, int64_t timeout_ms, char *why);

/* Cancels: what waits is cancelled when this returns, what runs is being ended.
 * ERRAND_ESTATE: it is final. */
ERRAND_API int errand_cancel(errand_client *c, int64_t id, char *why);
/* Runs a finished task again. ERRAND_ESTATE: it is not final. */
ERRAND_API int errand_retry(errand_client *c, int64_t id, char *why);

/* Frees what a function of this library has returned; NULL is fine. */
ERRAND_API void errand_free(void *p);

#ifdef __cplusplus
}
#endif

#endif
