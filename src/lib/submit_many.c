/* SPDX-License-Identifier: MIT */
/* Submitting many tasks at once: their documents as lines in one buffer, and an answer a
 * line. Not atomic: each is stored or refused for itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lib/handle.h"
#include "lib/submit_priv.h"
#include "lib/testing.h"
#include "wire/json.h"
#include "wire/json_dump.h"

#define MANY_MAX  ((size_t)100000)
#define MANY_BODY ((size_t)256 << 20)

/* Writes the line from `at` on anew when its arguments are what errand_args has made. */
static void
lift_line(struct er_buf *b, size_t at)
{
    if (!memmem(b->data + at, b->len - at, "\"" ER_SUBMIT_TEXT "\"",
                sizeof ER_SUBMIT_TEXT + 1)) {
        return;
    }
    json_t *o = json_loadb(b->data + at, b->len - at, 0, NULL);
    char *text = o && er_submit_lift_texts(o) ? er_json_dumps(o, JSON_COMPACT) : NULL;
    if (text) {
        b->len = at;
        er_buf_add_str(b, text);
    }
    free(text);
    json_decref(o);
}

/* Adds a document as one line; for a daemon with a key of its own, if it has none. */
static int
add_document(errand *e, struct er_buf *b, const char *document)
{
    char key[ER_SUBMIT_KEY];
    size_t at = b->len;
    int rc = document ? er_json_text_compact(b, document, strlen(document)) : ER_EINVALID;
    if (rc == 0 && b->data[at] != '{') {
        b->len = at;
        rc = ER_EINVALID;
    }
    if (rc) {
        return rc;
    }
    lift_line(b, at);
    if (er_submit_make_key(e, key)) {
        json_t *o = json_loadb(b->data + at, b->len - at, 0, NULL);
        if (o && !json_object_get(o, "key")) {
            bool is_empty = json_object_size(o) == 0;
            b->len--;
            er_buf_addf(b, "%s\"key\":\"%s\"}", is_empty ? "" : ",", key);
        }
        json_decref(o);
    }
    er_buf_add_char(b, '\n');
    return b->failed;
}

/* Reads the answers, a line each. Returns the first code. */
static int
read_answers(const struct er_buf *b, size_t n, int64_t *ids, int *codes,
             errand_error *error)
{
    const char *at = b->data ? b->data : "";
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(at, "\n");
        struct er_buf line = {.data = (char *)(uintptr_t)at, .len = len};
        int64_t id = er_submit_id(&line);
        int code = 0;
        if (id == 0) {
            errand_error one = {0};
            char *copy = er_strndup(at, len);
            struct er_buf text = {.data = copy, .len = copy ? len : 0};
            code = er_handle_problem(&one, 500, copy ? &text : NULL);
            er_free(copy);
            if (first == 0) {
                first = er_handle_fail(error, code, one.field, "entry %zu: %s", i,
                                       one.message);
            }
        }
        ids[i] = id;
        if (codes) {
            codes[i] = code;
        }
        at += len + (at[len] == '\n');
    }
    return first;
}

/* "line 2: ..." of the refusal of all is "entry 1: ..." here. */
static void
name_entry(errand_error *error)
{
    char *words = NULL;
    if (error && strncmp(error->message, "line ", 5) == 0) {
        long line = strtol(error->message + 5, &words, 10);
        char *rest = line > 0 && *words == ':' ? er_strdup(words) : NULL;
        if (rest) {
            (void)snprintf(error->message, sizeof error->message, "entry %ld%s", line - 1,
                           rest);
        }
        er_free(rest);
    }
}

/* All documents as lines. One that is none spoils all only when they are atomic; else the
 * API refuses its line, and takes the others. */
static int
add_documents(errand *e, struct er_buf *b, const char *const *documents, size_t n,
              bool atomic, errand_error *error)
{
    for (size_t i = 0; i < n; i++) {
        int rc = add_document(e, b, documents[i]);
        if (rc == ER_EINVALID && !atomic) {
            er_buf_add_str(b, "null\n");
            rc = b->failed;
        }
        if (rc) {
            return er_handle_fail(error, rc, "documents", "entry %zu: %s", i,
                                  rc == ER_EINVALID ? "it is not a JSON object"
                                                    : er_error_meaning(rc));
        }
    }
    return 0;
}

/* Nothing of it was stored: each task is told so. */
static int
fail_all(size_t n, int64_t *ids, int *codes, int code)
{
    for (size_t i = 0; i < n; i++) {
        ids[i] = 0;
        if (codes) {
            codes[i] = code;
        }
    }
    return code;
}

int
errand_submit_many(errand *e, const char *const *documents, size_t n, int atomic,
                   int64_t *ids, int *codes, errand_error *error)
{
    struct er_buf answer;
    if (ids) {
        (void)fail_all(n, ids, codes, ER_EINVALID);
    }
    if (!e || (n > 0 && (!documents || !ids))) {
        return er_handle_fail(error, ER_EINVALID, e ? "documents" : "e",
                              "a pointer is NULL");
    }
    if (!atomic && !codes) {
        return er_handle_fail(error, ER_EINVALID, "codes",
                              "codes is NULL: without atomic nothing else says which "
                              "were stored");
    }
    if (n == 0) {
        return er_handle_fine(error);
    }
    if (n > MANY_MAX) {
        return fail_all(n, ids, codes,
                        er_handle_fail(error, ER_ETOOBIG, "n",
                                       "%zu tasks: at most %zu at a time", n, MANY_MAX));
    }
    struct er_sync_spec spec = {.method = "POST",
                                .target = atomic ? "/v1/tasks?brief=1&atomic=1"
                                                 : "/v1/tasks?brief=1",
                                .type = "application/x-ndjson",
                                .bound = 10 * ER_SYNC_BOUND};
    er_buf_init(&spec.body, MANY_BODY);
    int rc = add_documents(e, &spec.body, documents, n, atomic != 0, error);
    if (rc) {
        er_buf_fini(&spec.body);
        return fail_all(n, ids, codes, rc);
    }
    rc = er_sync_run(e, &spec, &answer, error);
    if (rc && atomic) {
        name_entry(error);
    }
    if (rc) {
        (void)fail_all(n, ids, codes, rc);
    } else {
        rc = read_answers(&answer, n, ids, codes, error);
        er_buf_fini(&answer);
        er_testing_run(e->testing);
    }
    return rc;
}
