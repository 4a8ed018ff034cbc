/* SPDX-License-Identifier: MIT */
/* The list of routes, and the end. */
#include <unistd.h>

#include "api/tasks.h"

void
er_api_index(struct er_call *call)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"routes\":[");
    for (size_t i = 0; i < er_routes_n; i++) {
        er_buf_addf(&b, "%s{\"method\":\"%s\",\"path\":\"%s\",\"summary\":", i ? "," : "",
                    er_routes[i].method, er_routes[i].pattern);
        er_buf_add_json_str(&b, er_routes[i].summary);
        er_buf_add_char(&b, '}');
    }
    er_buf_add_str(&b, "]}");
    er_call_json(call, 200, &b);
}

void
er_api_shutdown(struct er_call *call)
{
    static const char *const known[] = {"now", "keep_running"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 2) || !er_call_check_flag(call, o, "now") ||
        !er_call_check_flag(call, o, "keep_running")) {
        json_decref(o);
        return;
    }
    if (!call->api->on_shutdown) {
        json_decref(o);
        er_call_problem(
            call, ER_ESTATE, NULL,
            "this engine is inside a program (pid %d): it ends with its program",
            (int)getpid());
        return;
    }
    bool now = json_is_true(json_object_get(o, "now"));
    bool keep = json_is_true(json_object_get(o, "keep_running"));
    json_decref(o);
    if (now && keep) {
        er_call_problem(call, ER_EINVALID, "keep_running",
                        "now and keep_running are both given: choose one");
        return;
    }
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_addf(&b, "{\"pid\":%d}", (int)getpid());
    er_call_json(call, 200, &b);
    call->api->on_shutdown(call->api, now    ? ER_SHUTDOWN_NOW
                                      : keep ? ER_SHUTDOWN_KEEP
                                             : ER_SHUTDOWN_DRAIN);
}
