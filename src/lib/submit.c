/* SPDX-License-Identifier: MIT */
/* Submitting one task: a document as POST /v1/tasks takes it, put together in one buffer
 * on the caller's thread. */
#include "lib/submit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lib/handle.h"
#include "lib/submit_priv.h"
#include "lib/testing.h"
#include "wire/json.h"

/* Where a task is too large as a whole the API has not read it, and knows no member: the
 * largest one is named here. */
int
er_submit_check_size(const struct er_buf *b, errand_error *error)
{
    const char *key, *largest = "args";
    json_t *v;
    size_t most = 0;
    if (b->failed || b->len <= ER_JSON_MAX) {
        return 0;
    }
    json_t *o = json_loadb(b->data, b->len, 0, NULL);
    json_object_foreach(o, key, v)
    {
        size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
        largest = n > most ? key : largest;
        most = n > most ? n : most;
    }
    int rc = er_handle_fail(error, ER_ETOOBIG, largest,
                            "%s has %zu bytes as JSON (a task may have %zu in all)",
                            largest, most, ER_JSON_MAX);
    json_decref(o);
    return er_submit_name_option(rc, error);
}

int
er_submit_make_body(struct er_buf *b, const char *type, const char *args,
                    const struct errand_submit_options *given, errand_error *error)
{
    struct errand_submit_options o;
    int rc = er_submit_read_options(&o, given, error);
    if (rc) {
        return rc;
    }
    er_buf_add_char(b, '{');
    rc = er_submit_add_args(b, args, error);
    if (rc) {
        return rc;
    }
    er_buf_add_str(b, ",\"type\":");
    er_buf_add_json_str(b, type);
    er_submit_add_options(b, &o);
    er_buf_add_char(b, '}');
    rc = er_submit_add_more(b, o.more, error);
    rc = rc ? rc : er_submit_check_size(b, error);
    return rc ? rc
           : b->failed
               ? er_handle_fail(error, b->failed, NULL, "%s", er_error_meaning(b->failed))
               : 0;
}

int64_t
er_submit_id(const struct er_buf *b)
{
    return b->data && strncmp(b->data, "{\"id\":", 6) == 0
               ? strtoll(b->data + 6, NULL, 10)
               : 0;
}

int
er_submit_send(errand *e, struct er_buf *body,
               const struct errand_submit_options *options, int64_t *out_id,
               errand_error *error)
{
    char key[ER_SUBMIT_KEY];
    struct er_buf answer;
    struct er_sync_spec spec = {
        .method = "POST", .target = "/v1/tasks?brief=1", .body = *body};
    er_submit_bear_key(e, options, &spec, key);
    int rc = er_submit_name_option(er_sync_run(e, &spec, &answer, error), error);
    if (rc == 0) {
        int64_t id = er_submit_id(&answer);
        er_buf_fini(&answer);
        if (out_id) {
            *out_id = id;
        }
        er_testing_run(e->testing);
    }
    return rc;
}

int
errand_submit(errand *e, const char *type, const char *args,
              const struct errand_submit_options *options, int64_t *out_id,
              errand_error *error)
{
    struct er_buf body;
    if (!e || !type) {
        return er_handle_fail(error, ER_EINVALID, e ? "type" : "e", "%s is NULL",
                              e ? "type" : "e");
    }
    er_buf_init(&body, 0);
    int rc = er_submit_make_body(&body, type, args, options, error);
    if (rc) {
        er_buf_fini(&body);
        return rc;
    }
    return er_submit_send(e, &body, options, out_id, error);
}

struct submitted {
    errand_submitted_fn *done;
    void *ctx;
};

static void
on_submitted(void *ctx, int code, struct er_sync_answer *a, const errand_error *error)
{
    struct submitted *s = ctx;
    errand_error refused = {0};
    if (a && a->status >= 300) {
        code = er_submit_name_option(er_handle_problem(&refused, a->status, &a->body),
                                     &refused);
        error = &refused;
    }
    s->done(s->ctx, code, a && code == 0 ? er_submit_id(&a->body) : 0, error);
    er_free(s);
}

int
errand_submit_async(errand *e, const char *type, const char *args,
                    const struct errand_submit_options *options,
                    errand_submitted_fn *done, void *ctx, errand_error *error)
{
    char key[ER_SUBMIT_KEY];
    struct er_sync_spec spec = {.method = "POST", .target = "/v1/tasks?brief=1"};
    if (!e || !type || !done) {
        const char *what = !e ? "e" : !type ? "type" : "done";
        return er_handle_fail(error, ER_EINVALID, what, "%s is NULL", what);
    }
    struct submitted *s = er_alloc(sizeof *s);
    int rc = s ? er_submit_make_body(&spec.body, type, args, options, error)
               : er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    if (rc == 0) {
        *s = (struct submitted){done, ctx};
        er_submit_bear_key(e, options, &spec, key);
        rc = er_sync_start(e, &spec, on_submitted, s, error);
    } else {
        er_buf_fini(&spec.body);
    }
    if (rc) {
        er_free(s);
    }
    return rc;
}
