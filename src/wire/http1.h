/* SPDX-License-Identifier: MIT */
/* The client's half of HTTP/1.1 (RFC 9112), as small as errand needs it: requests with a
 * Content-Length, and an incremental parser of responses (Content-Length, chunked, until
 * close, no body). No I/O: bytes in, pieces out. One thread. */
#ifndef ER_WIRE_HTTP1_H
#define ER_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Adds the head of a request to b, with Host: errand, Content-Length when body_len >= 0
 * and the given extra headers (complete lines with CRLF, or NULL). */
void er_http1_request(struct er_buf *b, const char *method, const char *target,
                      const char *content_type, int64_t body_len, const char *headers);

typedef void er_http1_body_fn(void *ctx, const char *data, size_t len);

struct er_http1 {
    int phase;  /* private */
    int status; /* of the response, once head_done */
    bool head_done, done, keep_alive, chunked;
    int64_t left;       /* private */
    struct er_buf head; /* the raw head, at most 16 KiB */
    er_http1_body_fn *on_body;
    void *ctx;
};
void er_http1_init(struct er_http1 *h, er_http1_body_fn *on_body, void *ctx);
void er_http1_fini(struct er_http1 *h);
/* Feeds n bytes; returns how many were used (all, unless the response ended), or
 * ER_EINVALID / ER_ETOOBIG for what is not HTTP. */
int64_t er_http1_feed(struct er_http1 *h, const char *data, size_t n) ER_MUSTCHECK;
/* The connection closed: 0 when the response is complete by that, else ER_EIO. */
int er_http1_eof(struct er_http1 *h) ER_MUSTCHECK;
/* The value of a header (any case) copied to out (cut at size), or false. */
bool er_http1_header(const struct er_http1 *h, const char *name, char *out, size_t size);

#endif
