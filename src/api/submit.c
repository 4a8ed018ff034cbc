/* SPDX-License-Identifier: MIT */
/* POST /v1/tasks: one task, or one a line. A document becomes a row of the store's
 * submit; which member goes where stands in one table. Many lines without names for each
 * other go in groups of GROUP (of FIRST while the store has nothing to do for them): the
 * store writes one while the next is read, and a long request does not hold up other
 * people's commits. Once a `ref` is seen the rest stays together, since names may point
 * forward.
 *
 * Nothing is answered before all of it is on disk (or refused). */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "api/draft.h"
#include "api/hint.h"
#include "api/submit.h"
#include "base/mem.h"
#include "wire/problem.h"

#define LINES_MAX 100000
#define GROUP     ((size_t)250)
#define FIRST     ((size_t)50)
#define BYTES_MAX ((size_t)256 << 20) /* of all lines of a request */
/* Lines beyond those of which each is answered. */
#define BEYOND_MAX ((size_t)500000)
#define BEYOND     "more than %d lines, or %zu MiB of them, in one request: not taken"

/* ---- groups ---- */

static struct er_result *
add_result(struct er_submission *s)
{
    if (s->n == s->size) {
        s->size = s->size ? s->size * 2 : s->many ? 64 : 1;
        s->results = er_xrealloc_array(s->results, s->size, sizeof *s->results);
    }
    struct er_result *r = &s->results[s->n++];
    *r = (struct er_result){0};
    return r;
}

static struct er_submit_group *
get_group(struct er_submission *s)
{
    if (!s->group) {
        s->group = er_xzalloc(sizeof *s->group);
        s->group->submit = er_xzalloc(sizeof *s->group->submit);
        s->group->submit->atomic = s->atomic;
    }
    struct er_submit_group *g = s->group;
    if (g->submit->n == g->size) {
        g->size = g->size ? g->size * 2 : s->many ? 64 : 1;
        g->submit->rows =
            er_xrealloc_array(g->submit->rows, g->size, sizeof *g->submit->rows);
        g->lines = er_xrealloc_array(g->lines, g->size, sizeof *g->lines);
        g->after_refs = er_xrealloc_array(g->after_refs, g->size, sizeof *g->after_refs);
    }
    return g;
}

static void
group_free(struct er_submit_group *g)
{
    struct er_ref *ref, *next;
    HASH_ITER (hh, g->refs, ref, next) {
        HASH_DEL(g->refs, ref);
        er_free(ref);
    }
    er_arena_free(&g->submit->arena);
    er_free(g->submit->rows);
    er_free(g->submit);
    er_free(g->lines);
    er_free(g->after_refs);
    er_free(g);
}

static void answer(struct er_submission *s);

const char *
er_submit_words(const struct er_call *call, int code, char *words, size_t size)
{
    struct statvfs disk;
    struct er_buf hint;
    const struct er_api *api = call->api;
    const char *folder = api->places->state_dir;
    if (code == ER_EIO) {
        (void)snprintf(
            words, size,
            "the store '%.200s' cannot be written (%s): nothing was queued. It "
            "is tried again every second",
            api->places->store, er_error_meaning(code));
        return words;
    }
    if (code != ER_EDISKFULL || statvfs(folder, &disk) != 0) {
        (void)snprintf(words, size, "%s", er_error_meaning(code));
        return words;
    }
    struct er_engine_stats st;
    er_engine_stats(api->engine, &st);
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (left >= (uint64_t)st.disk_wanted) {
        (void)snprintf(words, size,
                       "the disk of '%.200s' was full a moment ago: nothing was queued. "
                       "There is room now: try again in a second",
                       folder);
        return words;
    }
    er_buf_init(&hint, 0);
    er_hint_add(call, ER_HINT_CLEAN, NULL, &hint);
    (void)snprintf(words, size,
                   "the disk of '%.200s' is full: nothing was queued. %llu KiB are free, "
                   "%lld KiB are needed: make room (%s removes finished tasks and their "
                   "output), then try again",
                   folder, (unsigned long long)(left >> 10),
                   (long long)(st.disk_wanted >> 10), hint.data);
    er_buf_fini(&hint);
    return words;
}

const char *
er_submit_refusal(const struct er_call *call, const struct er_new_task *row, char *words,
                  size_t size)
{
    const char *field = NULL;
    struct er_buf hint;
    switch (row->status) {
    case ER_EEXISTS:
        field = "key";
        er_buf_init(&hint, 0);
        er_hint_add_task(call, ER_HINT_SHOW, row->id, &hint);
        (void)snprintf(words, size,
                       "key '%.100s' was used for task %lld with another body "
                       "(another key queues this one; %s tells what that was)",
                       row->key, (long long)row->id, hint.data);
        er_buf_fini(&hint);
        break;
    case ER_ENOTFOUND:
        field = row->bad_after < 0 ? "parent" : "after";
        (void)snprintf(words, size, "there is no task %lld",
                       (long long)(row->bad_after < 0 ? row->parent
                                                      : row->after[row->bad_after].id));
        break;
    case ER_EINVALID:
        field = "after";
        (void)snprintf(words, size, "these tasks wait for each other in a circle");
        break;
    case ER_EFULL:
        field = "queue";
        (void)snprintf(words, size,
                       "queue '%.100s' is full: %lld queued tasks (max: "
                       "%lld)",
                       row->queue, (long long)row->waiting, (long long)row->queue_size);
        break;
    case ER_ECANCELLED:
        (void)snprintf(words, size, "not stored: another task of the request failed");
        break;
    default:
        (void)er_submit_words(call, row->status, words, size);
    }
    return field;
}

static void
store_row_result(const struct er_call *call, struct er_result *r,
                 const struct er_new_task *row)
{
    char words[ER_SUBMIT_WORDS];
    r->id = row->id;
    r->state = row->state;
    r->existing = row->existing;
    if (row->status) {
        const char *field = er_submit_refusal(call, row, words, sizeof words);
        er_submit_fail(r, row->status, field, words);
    }
}

struct group_done {
    struct er_submission *s;
    struct er_submit_group *g;
};

static void
on_stored(struct er_submit *submit, int rc)
{
    struct group_done *gd = submit->ctx;
    struct er_submission *s = gd->s;
    struct er_submit_group *g = gd->g;
    struct er_call *call = s->call;
    for (size_t i = 0; i < submit->n; i++) {
        struct er_result *r = &s->results[g->lines[i]];
        if (rc) {
            char words[ER_SUBMIT_WORDS];
            er_submit_fail(r, rc, NULL, er_submit_words(call, rc, words, sizeof words));
        } else {
            store_row_result(call, r, &submit->rows[i]);
        }
    }
    s->failed = rc ? rc : s->failed;
    group_free(g);
    er_free(gd);
    s->under_way--;
    answer(s);
    er_call_release(call);
}

static void
send_group(struct er_submission *s)
{
    struct er_submit_group *g = s->group;
    s->group = NULL;
    if (!g) {
        return;
    }
    er_submit_resolve(s, g);
    if (g->submit->n == 0) {
        group_free(g);
        return;
    }
    struct group_done *gd = er_xzalloc(sizeof *gd);
    *gd = (struct group_done){s, g};
    g->submit->done = on_stored;
    g->submit->ctx = gd;
    s->under_way++;
    er_call_hold(s->call);
    er_engine_submit(s->call->api->engine, g->submit);
}

/* ---- requests ---- */

static void
free_submission(struct er_call *call)
{
    struct er_submission *s = call->state;
    for (size_t i = 0; i < s->n; i++) {
        er_free(s->results[i].field);
        er_free(s->results[i].extra);
    }
    if (s->group) {
        group_free(s->group);
    }
    er_free(s->results);
    er_free(s);
}

static struct er_submission *
get_submission(struct er_call *call)
{
    struct er_submission *s = call->state;
    if (!s) {
        s = er_xzalloc(sizeof *s);
        s->call = call;
        s->many = call->is_lines;
        const char *atomic = er_request_query(call->req, "atomic");
        const char *brief = er_request_query(call->req, "brief");
        s->atomic = atomic && strcmp(atomic, "0") != 0;
        s->brief = brief && strcmp(brief, "0") != 0;
        s->now = er_api_now(call->api);
        call->state = s;
        call->free_state = free_submission;
    }
    return s;
}

/* Reads one document into the group; a bad one leaves a result only. */
static void
add_document(struct er_submission *s, const char *text, size_t len,
             const char *header_key)
{
    struct er_submit_group *g = get_group(s);
    struct er_draft d = {.row = &g->submit->rows[g->submit->n],
                         .arena = &g->submit->arena,
                         .api = s->call->api,
                         .now = s->now};
    struct er_result *r = add_result(s);
    int rc = er_draft_read(&d, text, len);
    if (rc == 0 && header_key && d.row->key && strcmp(d.row->key, header_key) != 0) {
        rc = er_draft_bad(&d, "key", "key and the header Idempotency-Key differ");
    }
    if (rc == 0 && header_key && !d.row->key) {
        d.row->key = er_arena_strdup(d.arena, header_key);
        rc = d.row->key ? 0 : ER_ENOMEM; /* without it, it would be another task */
    }
    if (rc == 0 && (d.ref || d.after_refs)) {
        rc = d.ref ? er_submit_add_ref(g, &d) : 0;
        for (size_t i = 0; d.after_refs && i < d.row->n_after; i++) {
            g->named = g->named || d.after_refs[i];
        }
    }
    if (rc) {
        er_submit_fail(r, rc, d.field, d.err.text[0] ? d.err.text : er_error_meaning(rc));
        s->failed = s->atomic ? rc : s->failed;
        return;
    }
    g->lines[g->submit->n] = s->n - 1;
    g->after_refs[g->submit->n] = d.after_refs;
    g->submit->n++;
    if (!s->atomic && !g->named && g->submit->n >= (s->under_way ? GROUP : FIRST)) {
        send_group(s);
        er_engine_flush(s->call->api->engine);
    }
}

/* Of an atomic request nothing is stored yet; of another the lines before it are tasks
 * already, whose ids the answer must tell. */
static void
refuse_beyond(struct er_submission *s)
{
    s->beyond++;
    if (s->atomic) {
        er_call_problem(s->call, ER_ETOOBIG, NULL, BEYOND, LINES_MAX, BYTES_MAX >> 20);
    }
}

/* One of the others' may be stored already: it is refused by its number. */
static void
refuse_long(struct er_submission *s, size_t max)
{
    char words[80];
    (void)snprintf(words, sizeof words, "the line is larger than %zu bytes", max);
    er_submit_fail(add_result(s), ER_ETOOBIG, NULL, words);
    s->failed = s->atomic ? ER_ETOOBIG : s->failed;
}

void
er_api_submit_line(struct er_call *call, const char *line, size_t len)
{
    struct er_submission *s = get_submission(call);
    s->bytes += len;
    if (s->n >= LINES_MAX || s->bytes > BYTES_MAX) {
        refuse_beyond(s);
        return;
    }
    if (s->n == 0 && er_request_header(call->req, "Idempotency-Key")) {
        er_call_problem(
            call, ER_EINVALID, "Idempotency-Key",
            "a request of many lines has no key of its own: give each line its key");
        return;
    }
    if (!line) {
        refuse_long(s, len);
        return;
    }
    add_document(s, line, len, NULL);
}

/* What a line's problem has beyond its words. */
static char *
line_extra(const struct er_result *r, size_t line)
{
    return er_xasprintf("\"line\":%zu%s%s", line, r->extra ? "," : "",
                        r->extra ? r->extra : "");
}

static void
add_line(struct er_buf *b, const struct er_result *r, size_t line)
{
    if (r->status == 0) {
        er_buf_add_str(b, "{\"id\":");
        er_buf_add_i64(b, r->id);
        er_buf_add_str(b, ",\"state\":\"");
        er_buf_add_str(b, er_task_state_word(r->state));
        er_buf_add_str(b, r->existing ? "\",\"existing\":true}\n" : "\"}\n");
    } else {
        char *extra = line_extra(r, line);
        er_problem_json(b, r->status, r->err.text, r->field, extra);
        er_buf_add_char(b, '\n');
        er_free(extra);
    }
}

/* A line for each that was one too many; when even those are too many, the last one says
 * how many it stands for. */
static void
add_beyond(const struct er_submission *s, struct er_buf *b)
{
    for (size_t i = 0; i < s->beyond && i < BEYOND_MAX; i++) {
        char words[100], extra[80];
        size_t rest = i + 1 == BEYOND_MAX ? s->beyond - i : 1;
        (void)snprintf(words, sizeof words, BEYOND, LINES_MAX, BYTES_MAX >> 20);
        (void)snprintf(extra, sizeof extra, "\"line\":%zu,\"lines\":%zu", s->n + i + 1,
                       rest);
        er_problem_json(b, ER_ETOOBIG, words, NULL, extra);
        er_buf_add_char(b, '\n');
    }
}

static void
answer_many(struct er_submission *s)
{
    struct er_buf b;
    if (s->atomic && s->failed) {
        for (size_t i = 0; i < s->n; i++) {
            const struct er_result *r = &s->results[i];
            if (r->status && r->status != ER_ECANCELLED) {
                char *extra = line_extra(r, i + 1);
                er_call_problem_extra(s->call, r->status, r->field, extra, "line %zu: %s",
                                      i + 1, r->err.text);
                er_free(extra);
                return;
            }
        }
    }
    er_buf_init(&b, (size_t)256 << 20);
    for (size_t i = 0; i < s->n; i++) {
        add_line(&b, &s->results[i], i + 1);
    }
    add_beyond(s, &b);
    er_call_ndjson(s->call, 200, &b);
}

static void
answer_one(struct er_submission *s)
{
    const struct er_result *r = &s->results[0];
    if (r->status) {
        er_call_problem_extra(s->call, r->status, r->field, r->extra, "%s", r->err.text);
        return;
    }
    int status = r->existing ? 200 : 201;
    if (!s->brief) {
        er_call_task(s->call, r->id, status, true);
        return;
    }
    struct er_buf b;
    er_buf_init(&b, 0);
    er_buf_add_str(&b, "{\"id\":");
    er_buf_add_i64(&b, r->id);
    er_buf_add_str(&b, ",\"state\":\"");
    er_buf_add_str(&b, er_task_state_word(r->state));
    er_buf_add_str(&b, "\"}");
    er_call_json(s->call, status, &b);
}

static void
answer(struct er_submission *s)
{
    if (!s->complete || s->under_way > 0 || !s->call->req) {
        return;
    }
    for (size_t i = 0; s->atomic && !s->failed && i < s->n; i++) {
        s->failed = s->results[i].status;
    }
    if (s->many) {
        answer_many(s);
    } else {
        answer_one(s);
    }
}

void
er_api_submit(struct er_call *call)
{
    struct er_submission *s = get_submission(call);
    if (call->api->stopping) {
        er_api_refuse_closed(call);
        return;
    }
    if (!s->many) {
        const struct er_buf *body = er_request_body(call->req);
        const char *key = er_request_header(call->req, "Idempotency-Key");
        if (key && (*key == '\0' || strlen(key) > ER_MAX_NAME)) {
            er_call_problem(call, ER_EINVALID, "Idempotency-Key", "the key is %s",
                            *key ? "longer than 1000 bytes" : "empty");
            return;
        }
        add_document(s, body->data ? body->data : "", body->len, key);
    }
    s->complete = true;
    if (s->atomic && s->failed) {
        answer(s);
        return;
    }
    send_group(s);
    answer(s);
}
