/* SPDX-License-Identifier: MIT */
/* PATCH /v1/tasks/{id}: the members are read as those of a submit are, null takes one
 * away, and what is there becomes an edit. Edits go one at a time, so that what If-Match
 * was compared with is still so when the edit is written. */
#include <stdio.h>
#include <string.h>

#include "api/draft.h"
#include "api/tasks.h"
#include "base/mem.h"

struct edit {
    struct er_serial_job job;
    struct er_call *call;
    struct er_change_request *change; /* NULL once the engine has it */
};

/* ---- from the body ---- */

static void
take_name(struct er_edit *e, const struct er_draft *d)
{
    e->name = d->row->name;
}
static void
take_queue(struct er_edit *e, const struct er_draft *d)
{
    e->queue = d->row->queue;
}
static void
take_limit_key(struct er_edit *e, const struct er_draft *d)
{
    e->limit_key = d->row->limit_key ? d->row->limit_key : "";
}
static void
take_priority(struct er_edit *e, const struct er_draft *d)
{
    e->has_priority = true;
    e->priority = d->row->priority;
}
static void
take_cost(struct er_edit *e, const struct er_draft *d)
{
    e->has_cost = true;
    e->cost = d->row->cost;
}
static void
take_retries(struct er_edit *e, const struct er_draft *d)
{
    e->has_retries = true;
    e->retries = d->row->retries;
}
static void
take_backoff(struct er_edit *e, const struct er_draft *d)
{
    e->has_backoff = true;
    e->backoff_for = d->row->backoff_for;
}
static void
take_timeout(struct er_edit *e, const struct er_draft *d)
{
    e->has_timeout = true;
    e->timeout_for = d->row->timeout_for > 0 ? d->row->timeout_for : 0;
}
static void
take_grace(struct er_edit *e, const struct er_draft *d)
{
    e->has_grace = true;
    e->grace_for = d->row->grace_for;
}
static void
take_heartbeat(struct er_edit *e, const struct er_draft *d)
{
    e->has_heartbeat = true;
    e->heartbeat_for = d->row->heartbeat_for > 0 ? d->row->heartbeat_for : 0;
}
static void
take_expires(struct er_edit *e, const struct er_draft *d)
{
    e->has_expires = true;
    e->expires_at = d->row->expires_at;
}
static void
take_on_lost(struct er_edit *e, const struct er_draft *d)
{
    e->has_on_lost = true;
    e->on_lost = d->row->on_lost;
}
static void
take_run_at(struct er_edit *e, const struct er_draft *d)
{
    e->has_run_at = true;
    e->run_at = d->row->run_at != ER_NEVER ? d->row->run_at : d->now;
    e->run_at_fixed = d->row->run_at_fixed;
}
static void
take_after(struct er_edit *e, const struct er_draft *d)
{
    e->has_after = true;
    e->after = d->row->after;
    e->n_after = d->row->n_after;
}

static const struct member {
    const char *name;
    bool nullable; /* null takes it away */
    void (*take)(struct er_edit *e, const struct er_draft *d);
} members[] = {
    {"name", false, take_name},          {"queue", false, take_queue},
    {"limit_key", true, take_limit_key}, {"priority", false, take_priority},
    {"cost", false, take_cost},          {"retries", false, take_retries},
    {"backoff_s", false, take_backoff},  {"timeout_s", true, take_timeout},
    {"grace_s", false, take_grace},      {"heartbeat_s", true, take_heartbeat},
    {"expires_s", true, take_expires},   {"on_lost", false, take_on_lost},
    {"run_at", true, take_run_at},       {"delay_s", true, take_run_at},
    {"after", true, take_after},
};
#define N_MEMBERS (sizeof members / sizeof members[0])

/* What a submit checks elsewhere, or not at all. */
static int
check_more(struct er_draft *d)
{
    if (d->row->name && !*d->row->name) {
        return er_draft_bad(d, "name", "name is empty");
    }
    for (size_t i = 0; i < d->row->n_after; i++) {
        if (d->after_refs[i]) {
            return er_draft_bad(d, "after",
                                "after: ref names a task of a batch: an edit "
                                "takes ids");
        }
    }
    return er_draft_moment(d);
}

static bool
refuse(struct er_call *call, const struct er_draft *d, int rc)
{
    er_call_problem(call, rc, d->field[0] ? d->field : NULL, "%s",
                    d->err.text[0] ? d->err.text : er_error_meaning(rc));
    return false;
}

static bool
read_body(struct er_call *call, struct er_change_request *c, const json_t *o)
{
    const char *names[N_MEMBERS];
    struct er_new_task row;
    struct er_draft d = {
        .row = &row, .arena = &c->arena, .api = call->api, .now = er_api_now(call->api)};
    er_draft_init(&d);
    row.name = NULL;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        names[i] = members[i].name;
    }
    if (!er_call_known(call, o, names, N_MEMBERS)) {
        return false;
    }
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const json_t *v = json_object_get(o, names[i]);
        int rc = 0;
        if (json_is_null(v) && !members[i].nullable) {
            rc = er_draft_bad(&d, names[i], "%s cannot be null", names[i]);
        } else if (v && !json_is_null(v)) {
            rc = er_draft_member(&d, names[i], v);
        }
        if (rc) {
            return refuse(call, &d, rc);
        }
    }
    int rc = check_more(&d);
    if (rc) {
        return refuse(call, &d, rc);
    }
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (json_object_get(o, names[i])) {
            members[i].take(&c->edit, &d);
        }
    }
    return true;
}

/* ---- to the store and back ---- */

static void
end_edit(struct edit *e)
{
    struct er_call *call = e->call;
    er_serial_next(&call->api->edits);
    if (e->change) {
        er_change_drop(e->change);
    }
    er_free(e);
    er_call_release(call);
}

/* "chain":[7,9,7], and in words. */
static void
answer_circle(struct er_call *call, const struct er_edit *edit)
{
    struct er_buf chain, words;
    er_buf_init(&chain, 0);
    er_buf_init(&words, 0);
    const er_task_id itself[2] = {call->id, call->id};
    const er_task_id *ids = edit->n_chain ? edit->chain : itself;
    size_t n = edit->n_chain ? edit->n_chain : 2;
    for (size_t i = 0; i < n; i++) {
        er_buf_addf(&chain, "%s%lld", i ? "," : "\"chain\":[", (long long)ids[i]);
        er_buf_addf(&words, "%s%lld", i ? " waits for " : "", (long long)ids[i]);
    }
    er_buf_add_char(&chain, ']');
    er_call_problem_extra(call, ER_EINVALID, "after", chain.data,
                          "task %lld would wait for itself: %s", (long long)call->id,
                          words.data ? words.data : "");
    er_buf_fini(&chain);
    er_buf_fini(&words);
}

static void
on_edited(struct er_change_request *c, int rc)
{
    struct edit *e = c->ctx;
    struct er_call *call = e->call;
    const struct er_change *row = &c->rows[0];
    char words[300], extra[40];
    if (rc) {
        er_call_problem(call, rc, NULL, "nothing was changed: %s", er_error_meaning(rc));
    } else if (row->status == ER_EINVALID) {
        answer_circle(call, &c->edit);
    } else if (row->status == ER_ENOTFOUND && c->edit.bad_after >= 0 &&
               (size_t)c->edit.bad_after < c->edit.n_after) {
        er_call_problem(call, ER_ENOTFOUND, "after", "there is no task %lld",
                        (long long)c->edit.after[c->edit.bad_after].id);
    } else if (row->status) {
        er_change_refusal(call, c, row, words, sizeof words);
        (void)snprintf(extra, sizeof extra, "\"state\":\"%s\"",
                       er_task_state_word(er_change_shown_state(row)));
        er_call_problem_extra(call, row->status, NULL,
                              row->status == ER_ESTATE ? extra : NULL, "%s", words);
    } else {
        er_call_task(call, row->id, 200, false);
    }
    er_arena_free(&c->arena);
    er_call_release(call); /* the change's own hold */
    er_free(c);
    end_edit(e);
}

static void
send_edit(struct edit *e)
{
    struct er_change_request *c = e->change;
    e->change = NULL;
    c->done = on_edited;
    c->ctx = e;
    er_engine_change(e->call->api->engine, c);
}

static void
on_compared(struct er_show *show)
{
    struct edit *e = show->ctx;
    struct er_call *call = e->call;
    char etag[ER_ETAG_SIZE];
    if (show->q.rc) {
        er_show_answer(show);
        end_edit(e);
        return;
    }
    er_show_etag(show, etag);
    if (!call->req || !er_call_matches(call, etag)) {
        er_call_problem_status(call, 412, ER_ESTATE, "If-Match",
                               "task %lld has changed since: read it again",
                               (long long)call->id);
        end_edit(e);
        return;
    }
    send_edit(e);
}

static void
start_edit(struct er_serial_job *job)
{
    struct edit *e = (struct edit *)(void *)job;
    struct er_call *call = e->call;
    if (call->req && er_request_header(call->req, "If-Match")) {
        struct er_show *show = er_show_new(call, call->id, on_compared);
        show->ctx = e;
        er_show_start(show);
    } else {
        send_edit(e);
    }
}

void
er_api_edit(struct er_call *call)
{
    json_t *o = er_call_object(call);
    if (!o) {
        return;
    }
    struct er_change_request *c = er_change_new(call, ER_CHANGE_EDIT, 1);
    if (!c) {
        json_decref(o);
        return;
    }
    c->rows[0].id = call->id;
    if (!read_body(call, c, o)) {
        er_change_drop(c);
    } else {
        struct edit *e = er_xzalloc(sizeof *e);
        e->job.start = start_edit;
        e->call = call;
        e->change = c;
        er_call_hold(call);
        er_serial_post(&call->api->edits, &e->job);
    }
    json_decref(o);
}
