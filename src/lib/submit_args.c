/* SPDX-License-Identifier: MIT */
/* Arguments of a submit. Those that errand_args has made are an object with the one
 * member "$text" (which no parameter can be called): they go as `args_text`. What it was
 * given wrongly stands there as a text, with which every submit refuses them. */
#include <string.h>

#include "base/utf8.h"
#include "lib/handle.h"
#include "lib/submit_priv.h"
#include "wire/json.h"

char *
errand_args(const char *name, ...)
{
    struct er_buf b, fault;
    va_list ap;
    va_start(ap, name);
    er_buf_init(&b, 0);
    er_buf_init(&fault, 0);
    er_buf_add_str(&b, "{\"" ER_SUBMIT_TEXT "\":{");
    for (int i = 1; name && fault.len == 0; name = va_arg(ap, const char *), i++) {
        const char *text = va_arg(ap, const char *);
        if (!er_utf8_is_valid(name, strlen(name))) {
            er_buf_addf(&fault, "the name of argument %d is not UTF-8", i);
        } else if (!text || !er_utf8_is_valid(text, strlen(text))) {
            er_buf_addf(&fault, "'%s' %s", name, text ? "is not UTF-8" : "is NULL");
        } else {
            er_buf_add_str(&b, i == 1 ? "" : ",");
            er_buf_add_json_str(&b, name);
            er_buf_add_char(&b, ':');
            er_buf_add_json_str(&b, text);
        }
    }
    va_end(ap);
    er_buf_add_str(&b, "}}");
    if (fault.len > 0) { /* not NULL, which would submit a task without arguments */
        er_buf_clear(&b);
        er_buf_add_str(&b, "{\"" ER_SUBMIT_TEXT "\":");
        er_buf_add_json(&b, fault.data, fault.len);
        er_buf_add_char(&b, '}');
    }
    int failed = b.failed ? b.failed : fault.failed;
    er_buf_fini(&fault);
    if (failed) {
        er_buf_fini(&b);
        return NULL;
    }
    return er_buf_take(&b);
}

static int
refuse_args(const char *args, size_t n, bool texts, errand_error *error)
{
    struct er_err err = {""};
    json_t *o = NULL;
    int rc = texts ? 0 : er_json_parse(args, n, &o, &err);
    json_decref(o);
    if (!texts) {
        return er_handle_fail(error, ER_EINVALID, "args",
                              "args is not a JSON object: %.100s", rc ? err.text : args);
    }
    o = json_loadb(args, n, JSON_DECODE_ANY, NULL);
    const char *fault = json_string_value(o); /* as errand_args says it */
    rc = er_handle_fail(error, ER_EINVALID, "args", "args: %s",
                        fault ? fault
                              : "\"" ER_SUBMIT_TEXT "\" is not an object of texts");
    json_decref(o);
    return rc;
}

/* What stands behind `{"$text":`, or NULL; *n: its length, without the closing brace. */
static const char *
find_texts(const char *args, size_t *n)
{
    static const char blank[] = " \t\r\n";
    const char *at = args + strspn(args, blank), *end = args + *n;
    if (*at++ != '{') {
        return NULL;
    }
    at += strspn(at, blank);
    if (strncmp(at, "\"" ER_SUBMIT_TEXT "\"", sizeof ER_SUBMIT_TEXT + 1) != 0) {
        return NULL;
    }
    at += sizeof ER_SUBMIT_TEXT + 1;
    at += strspn(at, blank);
    if (*at++ != ':') {
        return NULL;
    }
    while (end > at && strchr(blank, end[-1])) {
        end--;
    }
    if (end == at || end[-1] != '}') {
        return NULL;
    }
    *n = (size_t)(end - at) - 1;
    return at;
}

int
er_submit_add_args(struct er_buf *b, const char *args, errand_error *error)
{
    args = args ? args : "{}";
    size_t n = strlen(args);
    const char *texts = find_texts(args, &n);
    args = texts ? texts : args;
    er_buf_add_str(b, texts ? "\"args_text\":" : "\"args\":");
    size_t at = b->len;
    int rc = er_json_text_compact(b, args, n);
    if (rc == 0 && b->data[at] != '{') {
        rc = ER_EINVALID;
    }
    return rc == ER_EINVALID ? refuse_args(args, n, texts != NULL, error)
           : rc ? er_handle_fail(error, rc, rc == ER_ETOOBIG ? "args" : NULL, "%s",
                                 er_error_meaning(rc))
                : 0;
}

bool
er_submit_lift_texts(json_t *document)
{
    json_t *args = json_object_get(document, "args");
    json_t *texts = json_object_get(args, ER_SUBMIT_TEXT);
    return texts && json_object_size(args) == 1 &&
           json_object_set(document, "args_text", texts) == 0 &&
           json_object_del(document, "args") == 0;
}
