/* SPDX-License-Identifier: MIT */
/* The type `http.request`: one request over http or https. The body of the answer is the
 * result, its status and headers are in the output. What an answer means for the task:
 *
 *   2xx, 3xx that is not followed   completed
 *   429; 503 with Retry-After       rate limited: goes on after Retry-After (429 without:
 *                                   60 s)
 *   408, 425, 5xx                   failed, may be retried
 *   401, 403, 407                   failed, a person must do something
 *   other 4xx                       failed for good
 *   no connection, a name that is not known, an answer that is cut off or comes to a
 *   standstill for a minute         failed, may be retried
 *   a certificate that is not good  failed, a person must do something
 *   another protocol, too many redirections, more bytes than max_bytes
 *                                   failed for good
 *
 * A name that is not known may be retried, since a network that is down looks the
 * same. */
#ifndef ER_TYPES_HTTP_REQUEST_H
#define ER_TYPES_HTTP_REQUEST_H

#include <errand.h>

/* Fills in the definition; what it refers to lives as long as the program. */
void er_http_request_type(struct errand_type *t);

#endif
