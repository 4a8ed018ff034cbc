/* SPDX-License-Identifier: MIT */
/* A type's definition as JSON, and rates as text: what the store keeps, what PUT
 * /v1/types/NAME takes and GET shows. Any thread.
 *
 *   {"help": "fetches a page", "concurrency": 4, "retries": 2, "backoff_s": 1,
 *    "timeout_s": 60, "heartbeat_s": 10, "success_percent": 95, "rate_limit_s": 60,
 *    "exit_codes": {"75": "retryable", "3": "fatal", "24": "completed"},
 *    "on_lost": "run", "idempotent": true, "expected_s": 1.5,
 *    "parameters": [{"name": "url", "kind": "url", "required": true}],   (wire/params.h)
 *    and one of
 *    "command": ["curl", "-sS", "{url}"], "stdin": "{body}"
 *    "program": ["/usr/lib/app/worker"]
 *    "handler": true }
 *
 *   {"n": 60, "per_s": 60, "burst": 1, "counts": "cost" or "starts"}     a rate
 *   60/1m   90000/1m:starts   5000/1h:burst=100                          as text */
#ifndef ER_WIRE_TYPE_JSON_H
#define ER_WIRE_TYPE_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/type.h"
#include "wire/json.h"

/* Reads a definition; texts go into the arena (the name is borrowed). What says how it is
 * executed and not how often or how long gets ER_TYPE_RETRIES and ER_TYPE_TIMEOUT_FOR.
 * ER_EINVALID: the words begin with the member ("retries is -1 ...", "params.depth.min:
 * ...") and say what would be right. */
int er_type_json_read(const char *name, const json_t *o, struct er_arena *arena,
                      struct er_type *out, struct er_err *err) ER_MUSTCHECK;
/* The same from text. */
int er_type_json_parse(const char *name, const char *json, struct er_arena *arena,
                       struct er_type *out, struct er_err *err) ER_MUSTCHECK;
/* The name and kind of the i-th member that a definition may have, from 0; NULL behind
 * the last. `origin`, which is kept with definitions from files, is none of them. */
const char *er_type_json_member(size_t i, enum er_json_kind *out_kind);
/* Adds the definition's object: only what differs from a type without one. Equal types
 * give equal text. */
void er_type_json_add(const struct er_type *t, struct er_buf *b);

/* Rates: an array of at most ER_MAX_RATES objects or texts. */
int er_rates_json_read(const json_t *array, struct er_rate out[ER_MAX_RATES],
                       size_t *out_n, struct er_err *err) ER_MUSTCHECK;
void er_rates_json_add(const struct er_rate *rates, size_t n, struct er_buf *b);

#endif
