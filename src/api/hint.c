/* SPDX-License-Identifier: MIT */
/* One table: a line a hint, a column for each who may ask. */
#include "api/hint.h"

#include <stdio.h>

/* '#' stands for what it is about. */
static const struct {
    const char *command, *function;
} hints[] = {
    [ER_HINT_RETRY] = {"errand retry #", "errand_retry(e, #, ...)"},
    [ER_HINT_CANCEL] = {"errand cancel #", "errand_cancel(e, #, ...)"},
    [ER_HINT_REQUEUE_HELD] = {"errand requeue --hold #",
                              "errand_request: POST /v1/tasks/#/requeue {\"hold\":true}"},
    [ER_HINT_RESUME] = {"errand resume #", "errand_resume(e, #, ...)"},
    [ER_HINT_SHOW] = {"errand show #", "errand_get(e, #, ...)"},
    [ER_HINT_RESUME_QUEUE] = {"errand queue # --resume",
                              "errand_request: POST /v1/resume {\"queue\":\"#\"}"},
    [ER_HINT_CANCEL_QUEUE] = {"errand cancel --queue #",
                              "errand_request: POST /v1/actions/cancel "
                              "{\"queue\":\"#\"}"},
    [ER_HINT_RESUME_ALL] = {"errand resume --all",
                            "errand_request: POST /v1/resume {\"all\":true}"},
    [ER_HINT_CLEAN] = {"errand clean", "errand_request: POST /v1/clean"},
    [ER_HINT_INPUT] = {"errand add --input", "\"input\": true among its args"},
};

void
er_hint_add(const struct er_call *call, enum er_hint hint, const char *what,
            struct er_buf *b)
{
    bool is_inside = call->req && call->req->inside;
    const char *text = is_inside ? hints[hint].function : hints[hint].command;
    for (; *text; text++) {
        if (*text == '#') {
            er_buf_add_str(b, what);
        } else {
            er_buf_add_char(b, *text);
        }
    }
}

void
er_hint_add_task(const struct er_call *call, enum er_hint hint, er_task_id id,
                 struct er_buf *b)
{
    char what[24];
    (void)snprintf(what, sizeof what, "%lld", (long long)id);
    er_hint_add(call, hint, what, b);
}

const char *
er_hint_host(const struct er_api *api)
{
    return api->on_shutdown ? "the daemon" : "the program that has the store open";
}
