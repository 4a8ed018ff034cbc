/* SPDX-License-Identifier: MIT */
/* Errors as users of the library see them, and structs that begin with their size. */
#include <stdio.h>
#include <string.h>

#include "lib/handle.h"
#include "wire/json.h"

int
er_handle_fail(errand_error *error, int code, const char *field, const char *fmt, ...)
{
    if (error) {
        va_list ap;
        va_start(ap, fmt);
        error->code = code;
        (void)snprintf(error->field, sizeof error->field, "%s", field ? field : "");
        (void)vsnprintf(error->message, sizeof error->message, fmt, ap);
        va_end(ap);
    }
    return code;
}

int
er_handle_fine(errand_error *error)
{
    if (error) {
        *error = (errand_error){0};
    }
    return 0;
}

/* A problem without a code that we know: by its status. */
static int
code_of_status(int status)
{
    switch (status) {
    case 403:
        return ER_EAUTH;
    case 404:
        return ER_ENOTFOUND;
    case 409:
    case 412:
        return ER_ESTATE;
    case 413:
        return ER_ETOOBIG;
    case 429:
        return ER_EFULL;
    default:
        return status < 500 ? ER_EINVALID : ER_EIO;
    }
}

/* Inner codes that errand.h does not have. */
static int
public_code(int code)
{
    switch (code) {
    case ER_ELOST:
        return ER_ESTATE;
    case ER_ECORRUPT:
    case ER_ESCHEMA:
        return ER_EIO;
    default:
        return code;
    }
}

int
er_handle_problem(errand_error *error, int status, const struct er_buf *body)
{
    const char *text = body && body->data ? body->data : "";
    if (status >= 200 && status < 300) {
        return er_handle_fine(error);
    }
    if (status < 0) {
        return er_handle_fail(error, public_code(status), NULL, "%s",
                              *text ? text : er_error_meaning(status));
    }
    json_t *o = body ? json_loadb(text, body->len, 0, NULL) : NULL;
    const char *word = json_string_value(json_object_get(o, "code"));
    const char *detail = json_string_value(json_object_get(o, "detail"));
    int code = word ? er_error_find(word) : 0;
    code = public_code(code ? code : code_of_status(status));
    if (detail) {
        (void)er_handle_fail(error, code, json_string_value(json_object_get(o, "field")),
                             "%s", detail);
    } else {
        (void)er_handle_fail(error, code, NULL, "answered with status %d", status);
    }
    json_decref(o);
    return code;
}

int
er_handle_read(void *out, size_t out_size, const void *in, errand_error *error)
{
    size_t size = out_size;
    memset(out, 0, out_size);
    if (!in) {
        memcpy(out, &size, sizeof size);
        return 0;
    }
    memcpy(&size, in, sizeof size);
    if (size < sizeof size || size > 4096) {
        return er_handle_fail(error, ER_EINVALID, "size",
                              "size %zu is none: set the struct up with ERRAND_INIT",
                              size);
    }
    memcpy(out, in, size < out_size ? size : out_size);
    for (size_t i = out_size; i < size; i++) {
        if (((const char *)in)[i] != 0) {
            return er_handle_fail(error, ER_EINVALID, "size",
                                  "this program uses a member that this version of the "
                                  "library (%d) does not know",
                                  ERRAND_VERSION);
        }
    }
    memcpy(out, &out_size, sizeof out_size);
    return 0;
}
