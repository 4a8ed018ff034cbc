/* SPDX-License-Identifier: MIT */
/* The depth is looked at before the parser sees the text: it counts brackets outside of
 * strings, which is also right for texts that are not JSON, as they fail then anyway. */
#include "wire/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/suggest.h"

/* ---- parsing ---- */

/* Where the text is nested deeper than is allowed, or NULL. */
static const char *
find_too_deep(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (const char *p = text; p < text + len; p++) {
        if (in_string && *p == '\\') {
            p++;
        } else if (*p == '"') {
            in_string = !in_string;
        } else if (!in_string && (*p == '{' || *p == '[')) {
            if (++depth > ER_JSON_DEPTH) {
                return p;
            }
        } else if (!in_string && (*p == '}' || *p == ']')) {
            depth--;
        }
    }
    return NULL;
}

static int
fail_too_deep(const char *text, const char *at, struct er_err *err)
{
    int line = 1;
    const char *start = text;
    for (const char *p = text; p < at; p++) {
        if (*p == '\n') {
            line++;
            start = p + 1;
        }
    }
    return er_fail(err, ER_EINVALID,
                   "invalid JSON: nested deeper than %d at line %d, column %d",
                   ER_JSON_DEPTH, line, (int)(at - start) + 1);
}

json_t *
er_json_load(const char *text, size_t len, size_t flags, json_error_t *why)
{
    json_t *value = json_loadb(text, len, flags, why);
    if (!value) {
        *why = (json_error_t){0};
        value = json_loadb(text, len, flags, why);
    }
    return value;
}

bool
er_json_lacks_memory(const json_error_t *why)
{
    return !why->text[0] || json_error_code(why) == json_error_out_of_memory;
}

int
er_json_parse(const char *text, size_t len, json_t **out, struct er_err *err)
{
    json_error_t why;
    if (len > ER_JSON_MAX) {
        return er_fail(err, ER_ETOOBIG, "the JSON is %zu bytes long (at most %zu)", len,
                       ER_JSON_MAX);
    }
    const char *deep = find_too_deep(text, len);
    if (deep) {
        return fail_too_deep(text, deep, err);
    }
    json_t *value =
        er_json_load(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!value && er_json_lacks_memory(&why)) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    if (!value) {
        return er_fail(err, ER_EINVALID, "invalid JSON: %s at line %d, column %d",
                       why.text, why.line, why.column);
    }
    *out = value;
    return 0;
}

/* ---- reading ---- */

static int refuse(struct er_json_fault *fault, const char *field, const char *fmt, ...)
    ER_PRINTF(3, 4);

static int
refuse(struct er_json_fault *fault, const char *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(fault->err.text, sizeof fault->err.text, fmt, ap);
    va_end(ap);
    (void)snprintf(fault->field, sizeof fault->field, "%s", field);
    return ER_EINVALID;
}

static const char *
kind_of(const json_t *v)
{
    static const char *const words[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return v ? words[json_typeof(v)] : "nothing";
}

static const char *
kind_wanted(enum er_json_kind kind)
{
    switch (kind) {
    case ER_JSON_STRING:
    case ER_JSON_WORD:
        return "a string";
    case ER_JSON_INT:
        return "an integer";
    case ER_JSON_NUMBER:
        return "a number";
    case ER_JSON_BOOL:
        return "true or false";
    case ER_JSON_SPAN:
        return "a number of seconds";
    case ER_JSON_TIME:
        return "a time such as \"2026-01-31T09:30:00Z\"";
    case ER_JSON_OBJECT:
        return "an object";
    case ER_JSON_ARRAY:
        return "an array";
    case ER_JSON_ANY:
        break;
    }
    return "any value";
}

static bool
is_of_kind(const json_t *v, enum er_json_kind kind)
{
    switch (kind) {
    case ER_JSON_STRING:
    case ER_JSON_WORD:
    case ER_JSON_TIME:
        return json_is_string(v);
    case ER_JSON_INT:
        return json_is_integer(v);
    case ER_JSON_NUMBER:
    case ER_JSON_SPAN:
        return json_is_number(v);
    case ER_JSON_BOOL:
        return json_is_boolean(v);
    case ER_JSON_OBJECT:
        return json_is_object(v);
    case ER_JSON_ARRAY:
        return json_is_array(v);
    case ER_JSON_ANY:
        break;
    }
    return true;
}

static int
check_bounds(const struct er_json_field *f, const json_t *v, struct er_json_fault *fault)
{
    bool is_text = f->kind == ER_JSON_STRING, is_array = f->kind == ER_JSON_ARRAY;
    bool is_integer = json_is_integer(v);
    double value = json_number_value(v);
    if (f->min == f->max || !(is_text || is_array || json_is_number(v))) {
        return 0;
    }
    if (is_text || is_array) {
        size_t n = is_text ? json_string_length(v) : json_array_size(v);
        if (n < (uint64_t)f->min || n > (uint64_t)f->max) {
            return refuse(fault, f->name, "%s has %zu %s (%lld to %lld are allowed)",
                          f->name, n, is_text ? "bytes" : "elements", (long long)f->min,
                          (long long)f->max);
        }
        return 0;
    }
    bool below = is_integer ? json_integer_value(v) < f->min : !(value >= (double)f->min);
    bool above = is_integer ? json_integer_value(v) > f->max : !(value <= (double)f->max);
    if (below || above) {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        int rc =
            refuse(fault, f->name, "%s is %.40s (%lld to %lld is allowed)", f->name,
                   text ? text : "out of range", (long long)f->min, (long long)f->max);
        free(text);
        return rc;
    }
    return 0;
}

static int
store_span(const struct er_json_field *f, const json_t *v, er_usec *dest,
           struct er_json_fault *fault)
{
    double usec = json_number_value(v) * (double)ER_USEC_PER_SEC;
    if (!(usec > -9e18 && usec < 9e18)) {
        return refuse(fault, f->name, "%s is too long a time", f->name);
    }
    *dest = (er_usec)(usec < 0 ? usec - 0.5 : usec + 0.5);
    return 0;
}

static int
store_word(const struct er_json_field *f, const json_t *v, int *dest,
           struct er_json_fault *fault)
{
    int found = f->find(json_string_value(v));
    if (found < 0) {
        return refuse(fault, f->name, "invalid %s '%.100s' (%s)", f->name,
                      json_string_value(v), f->words);
    }
    *dest = found;
    return 0;
}

static int
store_value(const struct er_json_field *f, const json_t *v, void *dest,
            struct er_json_fault *fault)
{
    switch (f->kind) {
    case ER_JSON_STRING:
        *(const char **)dest = json_string_value(v);
        return 0;
    case ER_JSON_INT:
        *(int64_t *)dest = json_integer_value(v);
        return 0;
    case ER_JSON_NUMBER:
        *(double *)dest = json_number_value(v);
        return 0;
    case ER_JSON_BOOL:
        *(bool *)dest = json_is_true(v);
        return 0;
    case ER_JSON_SPAN:
        return store_span(f, v, dest, fault);
    case ER_JSON_TIME:
        if (er_time_parse(json_string_value(v), dest)) {
            return refuse(fault, f->name, "invalid %s '%.100s' (%s is needed)", f->name,
                          json_string_value(v), kind_wanted(f->kind));
        }
        return 0;
    case ER_JSON_WORD:
        return store_word(f, v, dest, fault);
    case ER_JSON_OBJECT:
    case ER_JSON_ARRAY:
    case ER_JSON_ANY:
        break;
    }
    *(const json_t **)dest = v;
    return 0;
}

/* Reads one member that is there. */
static int
read_field(const struct er_json_field *f, const json_t *v, void *dest,
           struct er_json_fault *fault)
{
    if (!is_of_kind(v, f->kind)) {
        return refuse(fault, f->name, "%s must be %s, not %s", f->name,
                      kind_wanted(f->kind), kind_of(v));
    }
    int rc = check_bounds(f, v, fault);
    return rc ? rc : store_value(f, v, (char *)dest + f->offset, fault);
}

static int
refuse_unknown(const struct er_json_form *form, const char *name,
               struct er_json_fault *fault)
{
    const char *names[64];
    for (size_t i = 0; i < form->n; i++) {
        names[i] = form->fields[i].name;
    }
    (void)refuse(fault, name, "%s", "");
    return er_suggest_fail(&fault->err, ER_EINVALID, "member", name, names, form->n);
}

static bool
is_in_form(const struct er_json_form *form, const char *name)
{
    for (size_t i = 0; i < form->n; i++) {
        if (strcmp(form->fields[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int
check_names(const json_t *o, const struct er_json_form *form, struct er_json_fault *fault)
{
    /* jansson's iterators are not const, and do not change the object */
    json_t *mutable = (json_t *)(uintptr_t)o;
    for (void *i = json_object_iter(mutable); i; i = json_object_iter_next(mutable, i)) {
        if (!is_in_form(form, json_object_iter_key(i))) {
            return refuse_unknown(form, json_object_iter_key(i), fault);
        }
    }
    return 0;
}

int
er_json_read(const json_t *o, const struct er_json_form *form, void *dest,
             uint64_t *given, struct er_json_fault *fault)
{
    uint64_t seen = 0;
    ER_ASSERT(form->n <= 64);
    if (!json_is_object(o)) {
        return refuse(fault, "", "an object is needed, not %s", kind_of(o));
    }
    int rc = form->lenient ? 0 : check_names(o, form, fault);
    for (size_t i = 0; rc == 0 && i < form->n; i++) {
        const struct er_json_field *f = &form->fields[i];
        const json_t *v = json_object_get(o, f->name);
        if (v && (!json_is_null(v) || f->kind == ER_JSON_ANY)) {
            rc = read_field(f, v, dest, fault);
            seen |= (uint64_t)1 << i;
        } else if (f->required) {
            rc = refuse(fault, f->name, "%s is missing (%s)", f->name,
                        kind_wanted(f->kind));
        }
    }
    if (rc == 0 && given) {
        *given = seen;
    }
    return rc;
}

/* ---- texts that people type ---- */

json_t *
er_json_number_of(const char *text)
{
    json_error_t why;
    json_t *v = json_loads(text, JSON_DECODE_ANY, &why);
    if (v && !json_is_number(v)) {
        json_decref(v);
        return NULL;
    }
    return v;
}

json_t *
er_json_bool_of(const char *text)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no",
                                                                           "off"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0) {
            return json_true();
        }
        if (strcmp(text, no[i]) == 0) {
            return json_false();
        }
    }
    return NULL;
}
