/* SPDX-License-Identifier: MIT */
/* To a running task: bytes for its standard input, and progress from somebody else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/hint.h"
#include "api/tasks.h"
#include "base/base64.h"
#include "base/mem.h"
#include "wire/json_dump.h"

/* The bytes of an input request wait here while the task is looked at. */
struct input {
    struct er_buf bytes;
    bool eof;
};

static void
free_input(struct er_call *call)
{
    struct input *in = call->state;
    er_buf_fini(&in->bytes);
    er_free(in);
}

/* Whether its standard input was asked to stay open: of commands only, since a program's
 * is where its orders come from. */
static bool
takes_input(const struct er_task *t)
{
    json_error_t je;
    if (strcmp(t->type, "shell") != 0) {
        return false;
    }
    json_t *args = json_loads(t->args_json, 0, &je);
    bool takes = json_is_true(json_object_get(args, "input"));
    json_decref(args);
    return takes;
}

static void
on_input_task(struct er_show *show)
{
    struct er_call *call = show->call;
    struct input *in = call->state;
    char extra[40];
    if (show->q.rc) {
        er_show_answer(show);
        return;
    }
    (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"",
                   er_task_state_word(er_task_shown_state(&show->task)));
    if (!takes_input(&show->task)) {
        struct er_buf hint;
        er_buf_init(&hint, 0);
        er_hint_add(call, ER_HINT_INPUT, NULL, &hint);
        er_call_problem_extra(
            call, ER_ESTATE, NULL, extra,
            "cannot send to %lld: its standard input is not open (%s keeps it open)",
            (long long)call->id, hint.data);
        er_buf_fini(&hint);
        return;
    }
    if (er_engine_input(call->api->engine, call->id, in->bytes.data ? in->bytes.data : "",
                        in->bytes.len, in->eof)) {
        er_call_problem_extra(call, ER_ESTATE, NULL, extra,
                              "cannot send to %lld: it is %s, not "
                              "running",
                              (long long)call->id,
                              er_task_state_word(er_task_shown_state(&show->task)));
        return;
    }
    er_show_answer(show);
}

void
er_api_input(struct er_call *call)
{
    static const char *const known[] = {"data", "base64", "eof"};
    json_t *o = er_call_object(call);
    if (!o || !er_call_known(call, o, known, 3)) {
        json_decref(o);
        return;
    }
    if (!er_call_check_flag(call, o, "eof")) {
        json_decref(o);
        return;
    }
    const json_t *data = json_object_get(o, "data"), *b64 = json_object_get(o, "base64");
    struct input *in = er_xzalloc(sizeof *in);
    call->state = in;
    call->free_state = free_input;
    in->eof = json_is_true(json_object_get(o, "eof"));
    int rc = 0;
    if (json_is_string(data)) {
        er_buf_add(&in->bytes, json_string_value(data), json_string_length(data));
    } else if (json_is_string(b64)) {
        rc =
            er_base64_decode(&in->bytes, json_string_value(b64), json_string_length(b64));
    }
    if (rc || (data && !json_is_string(data)) || (b64 && !json_is_string(b64)) ||
        (data && b64)) {
        er_call_problem(call, ER_EINVALID, b64 ? "base64" : "data",
                        "give data (a string) or base64");
    } else {
        er_show_start(er_show_new(call, call->id, on_input_task));
    }
    json_decref(o);
}

/* Nothing of it runs: since there is none, or by the state that it has. */
static void
refuse_progress(struct er_show *show)
{
    char extra[40];
    if (show->q.rc) {
        er_show_answer(show);
        return;
    }
    const char *state = er_task_state_word(er_task_shown_state(&show->task));
    (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"", state);
    er_call_problem_extra(
        show->call, ER_ESTATE, NULL, extra,
        "cannot report progress of %lld: no worker runs it now (it is %s)",
        (long long)show->id, state);
}

void
er_api_progress(struct er_call *call)
{
    json_t *o = er_call_object(call);
    if (!o) {
        return;
    }
    char *text = er_json_dumps(o, JSON_COMPACT);
    int rc = er_engine_tell(call->api->engine, call->id, text ? text : "{}");
    free(text);
    json_decref(o);
    if (rc) {
        er_show_start(er_show_new(call, call->id, refuse_progress));
    } else {
        er_call_task(call, call->id, 200, false);
    }
}
