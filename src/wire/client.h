/* SPDX-License-Identifier: MIT */
/* A blocking client of the daemon for the command and the library: one connection, kept
 * alive; a request that finds it closed before any byte of the answer came is sent once
 * more on a new one (requests that are not idempotent carry an Idempotency-Key). */
#ifndef ER_WIRE_CLIENT_H
#define ER_WIRE_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "wire/http1.h"

struct er_client;
/* Connects to the socket. ER_ENODAEMON when nobody answers. */
int er_client_open(const char *socket_path, struct er_client **out,
                   struct er_err *err) ER_MUSTCHECK;
void er_client_close(struct er_client *c);

/* The process at the other end: 0 when it is not known (not connected). */
int er_client_peer(const struct er_client *c);
/* From now on `tell` is called once in a request, on this thread, when nothing of its
 * answer has come for that time (0 = never); it is waited for all the same. */
typedef void er_client_slow_fn(void *ctx);
void er_client_tell_slow(struct er_client *c, er_usec after, er_client_slow_fn *tell,
                         void *ctx);

struct er_response {
    int status;
    struct er_buf body;
    char location[128];
};
void er_response_fini(struct er_response *r);
/* One request and its whole answer (body at most 64 MiB). body may be NULL. `headers` as
 * in er_http1_request. ER_ENODAEMON: the connection broke; ER_ETIMEOUT: no answer within
 * timeout_for (0 = wait for ever). An HTTP status of 4xx or 5xx is not an error here. */
int er_client_request(struct er_client *c, const char *method, const char *target,
                      const char *content_type, const void *body, size_t body_len,
                      const char *headers, er_usec timeout_for, struct er_response *out,
                      struct er_err *err) ER_MUSTCHECK;
/* A GET whose answer's body is taken as it comes (log -f, events), in single steps, for
 * those who wait for other things too. Start sends it and reads the head of the answer
 * (within timeout_for; 0 = any time); each read adds what came to `b`: 1 = go on, 0 = the
 * answer is complete, ER_ETIMEOUT = nothing came within timeout_for (0 = wait for ever),
 * ER_ENODAEMON = the connection broke. Closing the client ends a stream early. */
int er_client_stream_start(struct er_client *c, const char *target, const char *headers,
                           er_usec timeout_for, int *out_status,
                           struct er_err *err) ER_MUSTCHECK;
int er_client_stream_read(struct er_client *c, struct er_buf *b, er_usec timeout_for,
                          struct er_err *err) ER_MUSTCHECK;

#endif
