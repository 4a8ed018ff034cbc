/* SPDX-License-Identifier: MIT */
/* Bodies of requests that are one JSON object, and the checks of single members. What is
 * wrong is answered here, with the member's name. */
#include <string.h>

#include "api/api.h"
#include "model/suggest.h"
#include "wire/json.h"

json_t *
er_call_object(struct er_call *call)
{
    const struct er_buf *body = er_request_body(call->req);
    struct er_err err;
    json_t *o = NULL;
    if (body->len == 0) {
        return json_object();
    }
    int rc = er_json_parse(body->data, body->len, &o, &err);
    if (rc == 0 && !json_is_object(o)) {
        rc = er_fail(&err, ER_EINVALID, "the body is not a JSON object");
    }
    if (rc) {
        er_call_problem(call, rc, NULL, "%s", err.text);
        json_decref(o);
        return NULL;
    }
    return o;
}

bool
er_call_known(struct er_call *call, const json_t *o, const char *const *names, size_t n)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        size_t i = 0;
        while (i < n && strcmp(names[i], key) != 0) {
            i++;
        }
        if (i == n) {
            struct er_err err;
            int rc = er_suggest_fail(&err, ER_EINVALID, "member", key, names, n);
            er_call_problem(call, rc, key, "%s", err.text);
            return false;
        }
    }
    return true;
}

bool
er_call_check_flag(struct er_call *call, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (v && !json_is_boolean(v)) {
        er_call_problem(call, ER_EINVALID, name, "%s is not true or false", name);
        return false;
    }
    return true;
}

bool
er_call_check_text(struct er_call *call, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    size_t len = json_string_length(v);
    bool ok = !v || (json_is_string(v) && len > 0 && len <= ER_MAX_NAME);
    for (const char *p = v && ok ? json_string_value(v) : ""; *p && ok; p++) {
        ok = (unsigned char)*p >= 0x20 && *p != 0x7f;
    }
    if (!ok) {
        er_call_problem(call, ER_EINVALID, name,
                        "%s is not a string of 1 to %d bytes without control characters",
                        name, ER_MAX_NAME);
    }
    return ok;
}
