/* SPDX-License-Identifier: MIT */
/* The HTTP server of the daemon: libmicrohttpd inside a libuv loop, made into four
 * things: requests with their whole body, requests whose body comes in lines, replies
 * that may come later, and streams. It knows no route and no task. All on the loop's
 * thread.
 *
 * A request lives from its handler's call until it has been answered and sent, or its
 * connection broke. A handler answers at once or later, exactly once. */
#ifndef ER_SERVE_HTTP_H
#define ER_SERVE_HTTP_H

#include "api/request.h"

struct uv_loop_s;
struct er_http; /* a server: one listening socket */

/* Serves on a listening descriptor, which it takes over. When `uid_check` is true the
 * peer of each connection must run as our own uid or as root (SO_PEERCRED), or else is
 * answered
 * 403. At most `max_connections` (further ones wait in the kernel's backlog).
 * Hardening: see the file's head. Returns 0 or ER_EIO / ER_ENOMEM. */
int er_http_start(struct uv_loop_s *loop, int listen_fd, bool uid_check,
                  unsigned max_connections, const struct er_request_ops *ops, void *ctx,
                  struct er_http **out, struct er_err *err) ER_MUSTCHECK;
/* Stops listening, ends the streams (after what they have to say now), waits for nothing:
 * closes all connections; on_end is called for what was open. Frees the server, once the
 * loop has closed its handles. Not from inside a handler's call. */
void er_http_stop(struct er_http *h);

#endif
