/* SPDX-License-Identifier: MIT */
/* One value against its parameter, and the arguments of a task against all of them. What
 * is refused here is refused by the schema that params.c writes, and the other way round,
 * but for the bounds of a duration that is a text: JSON Schema has no word for these. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/duration.h"
#include "model/suggest.h"
#include "wire/json.h"
#include "wire/params_priv.h"

/* ---- words ---- */

const char *
er_params_kind_of(const json_t *v)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return v ? kinds[json_typeof(v)] : "nothing";
}

/* "an integer", "a URL such as https://host/": what a value of that kind is. */
static const char *
wanted(enum er_param_kind kind)
{
    switch (kind) {
    case ER_PARAM_STRING:
        return "a string";
    case ER_PARAM_INTEGER:
        return "an integer";
    case ER_PARAM_NUMBER:
        return "a number";
    case ER_PARAM_BOOLEAN:
        return "true or false";
    case ER_PARAM_PATH:
        return "a path";
    case ER_PARAM_URL:
        return "a URL such as https://host/path";
    case ER_PARAM_DURATION:
        return "a duration: seconds, or a text such as \"1h30m\"";
    case ER_PARAM_STRINGS:
        return "an array of strings";
    case ER_PARAM_OBJECT:
        break;
    }
    return "an object";
}

bool
er_params_is_text(enum er_param_kind kind)
{
    return kind == ER_PARAM_STRING || kind == ER_PARAM_PATH || kind == ER_PARAM_URL ||
           kind == ER_PARAM_STRINGS;
}

bool
er_params_has_bounds(enum er_param_kind kind)
{
    return kind != ER_PARAM_BOOLEAN && kind != ER_PARAM_OBJECT;
}

static int
fail_kind(const struct er_param *p, const json_t *v, struct er_err *err)
{
    return er_fail(err, ER_EINVALID, "%s must be %s, not %s", p->name, wanted(p->kind),
                   er_params_kind_of(v));
}

/* ---- bounds ---- */

static int
check_bounds(const struct er_param *p, double v, const char *of, struct er_err *err)
{
    char range[80];
    if ((!p->has_min || v >= p->min) && (!p->has_max || v <= p->max)) {
        return 0;
    }
    if (!p->has_max) {
        (void)snprintf(range, sizeof range, "at least %.15g", p->min);
    } else if (!p->has_min) {
        (void)snprintf(range, sizeof range, "at most %.15g", p->max);
    } else {
        (void)snprintf(range, sizeof range, "%.15g to %.15g", p->min, p->max);
    }
    if (p->secret) {
        return er_fail(err, ER_EINVALID, "%s is out of bounds (%s%s)", p->name, range,
                       of);
    }
    return er_fail(err, ER_EINVALID, "%s %s %.15g%s (%s)", p->name, *of ? "has" : "is", v,
                   of, range);
}

static double
count_characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return (double)n;
}

/* ---- texts ---- */

static bool
is_choice(const struct er_param *p, const char *text)
{
    for (size_t i = 0; i < p->n_choices; i++) {
        if (strcmp(p->choices[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static int
fail_choice(const struct er_param *p, const char *text, struct er_err *err)
{
    char all[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < p->n_choices && used < sizeof all - 1; i++) {
        int n =
            snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", p->choices[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    const char *near = p->secret ? NULL : er_suggest_find(text, p->choices, p->n_choices);
    if (p->secret) {
        return er_fail(err, ER_EINVALID, "%s is none of those that are allowed", p->name);
    }
    return er_fail(err, ER_EINVALID, "%s is '%.60s' (%s%s%s)", p->name, text,
                   near ? "did you mean " : "one of ", near ? near : all,
                   near ? "?" : "");
}

/* Pattern and choices, of one text. */
static int
check_words(const struct er_param *p, const char *text, size_t len, struct er_err *err)
{
    if (strlen(text) != len) {
        return er_fail(err, ER_EINVALID, "%s contains a NUL", p->name);
    }
    if (p->choices && !is_choice(p, text)) {
        return fail_choice(p, text, err);
    }
    int got = p->pattern ? er_params_pattern_match(p->pattern, text, len) : 1;
    if (got == ER_ETOOBIG) {
        return er_fail(err, ER_EINVALID,
                       "%s: to match it with %.100s would take too long", p->name,
                       p->pattern);
    }
    if (got == 0) {
        return er_fail(err, ER_EINVALID, "%s does not match %.200s", p->name, p->pattern);
    }
    return got < 0 ? er_fail(err, got, "%s: %s", p->name, er_error_meaning(got)) : 0;
}

static int
check_text(const struct er_param *p, const json_t *v, struct er_err *err)
{
    const char *text = json_string_value(v);
    size_t len = json_string_length(v);
    if (!json_is_string(v)) {
        return fail_kind(p, v, err);
    }
    if (p->kind == ER_PARAM_PATH && len == 0) {
        return er_fail(err, ER_EINVALID, "%s is empty (a path is needed)", p->name);
    }
    if (p->kind == ER_PARAM_URL &&
        er_params_pattern_match(ER_PARAMS_URL, text, len) != 1) {
        return er_fail(err, ER_EINVALID, "%s is not %s", p->name, wanted(p->kind));
    }
    int rc = check_bounds(p, count_characters(text, len), " characters", err);
    return rc ? rc : check_words(p, text, len, err);
}

static int
check_strings(const struct er_param *p, const json_t *v, struct er_err *err)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(v)) {
        return fail_kind(p, v, err);
    }
    int rc = check_bounds(p, (double)json_array_size(v), " elements", err);
    json_array_foreach(v, i, one)
    {
        if (rc == 0 && !json_is_string(one)) {
            rc = er_fail(err, ER_EINVALID, "%s[%zu] must be a string, not %s", p->name, i,
                         er_params_kind_of(one));
        }
        if (rc == 0) {
            rc = check_words(p, json_string_value(one), json_string_length(one), err);
        }
    }
    return rc;
}

/* ---- numbers and spans ---- */

static int
read_integer(const struct er_param *p, const json_t *v, json_t **out, struct er_err *err)
{
    double d = json_number_value(v);
    if (!json_is_number(v) || floor(d) < d) {
        return fail_kind(p, v, err);
    }
    if (!(fabs(d) <= (double)ER_PARAMS_INTEGER_MAX)) {
        return er_fail(err, ER_EINVALID, "%s is beyond 2^53", p->name);
    }
    *out = json_integer((json_int_t)d);
    return check_bounds(p, d, "", err);
}

static json_t *
seconds(er_usec span)
{
    if (span % ER_USEC_PER_SEC == 0) {
        return json_integer(span / ER_USEC_PER_SEC);
    }
    return json_real((double)span / (double)ER_USEC_PER_SEC);
}

static int
read_duration(const struct er_param *p, const json_t *v, json_t **out, struct er_err *err)
{
    er_usec span = 0;
    struct er_err why = {""};
    double longest = (double)(ER_DURATION_MAX / ER_USEC_PER_SEC),
           d = json_number_value(v);
    if (!json_is_number(v) && !json_is_string(v)) {
        return fail_kind(p, v, err);
    }
    if (json_is_number(v)) {
        if (!(d >= 0 && d <= longest)) {
            return er_fail(err, ER_EINVALID, "%s is %.15g (0 to %.0f seconds)", p->name,
                           d, longest);
        }
        span = (er_usec)(d * 1e6 + 0.5);
    } else if (er_duration_parse(json_string_value(v), &span, &why)) {
        return er_fail(err, ER_EINVALID, "%s: %s", p->name, why.text);
    }
    *out = seconds(span);
    return check_bounds(p, (double)span / (double)ER_USEC_PER_SEC, "", err);
}

/* ---- values ---- */

static int
read_value(const struct er_param *p, const json_t *v, json_t **out, struct er_err *err)
{
    bool fits = true;
    switch (p->kind) {
    case ER_PARAM_INTEGER:
        return read_integer(p, v, out, err);
    case ER_PARAM_DURATION:
        return read_duration(p, v, out, err);
    case ER_PARAM_STRING:
    case ER_PARAM_PATH:
    case ER_PARAM_URL:
        *out = json_incref((json_t *)(uintptr_t)v);
        return check_text(p, v, err);
    case ER_PARAM_STRINGS:
        *out = json_incref((json_t *)(uintptr_t)v);
        return check_strings(p, v, err);
    case ER_PARAM_NUMBER:
        fits = json_is_number(v);
        break;
    case ER_PARAM_BOOLEAN:
        fits = json_is_boolean(v);
        break;
    case ER_PARAM_OBJECT:
        fits = json_is_object(v);
        break;
    }
    *out = json_incref((json_t *)(uintptr_t)v);
    if (!fits) {
        return fail_kind(p, v, err);
    }
    return p->kind == ER_PARAM_NUMBER ? check_bounds(p, json_number_value(v), "", err)
                                      : 0;
}

int
er_params_value(const struct er_param *p, const json_t *v, json_t **out,
                struct er_err *err)
{
    json_t *value = NULL;
    int rc = read_value(p, v, &value, err);
    if (rc == 0 && !value) {
        rc = er_fail(err, ER_ENOMEM, "out of memory");
    }
    if (rc) {
        json_decref(value);
        return rc;
    }
    *out = value;
    return 0;
}

/* ---- arguments ---- */

static const struct er_param *
find(const struct er_param *params, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(params[i].name, name) == 0) {
            return &params[i];
        }
    }
    return NULL;
}

static int
fail_unknown(const struct er_param *params, size_t n, const char *key,
             struct er_params_fault *fault)
{
    const char *names[ER_PARAMS_MAX];
    for (size_t i = 0; i < n; i++) {
        names[i] = params[i].name;
    }
    (void)snprintf(fault->field, sizeof fault->field, "%s", key);
    return er_suggest_fail(&fault->err, ER_EINVALID, "parameter", key, names, n);
}

static int
fail_missing(const struct er_param *p, struct er_params_fault *fault)
{
    return er_fail(&fault->err, ER_EINVALID, "%s is missing: %s%s%.200s%s", p->name,
                   wanted(p->kind), p->help ? " (" : "", p->help ? p->help : "",
                   p->help ? ")" : "");
}

/* The argument of a parameter, or its default; *out stays NULL when there is neither. */
static int
take_argument(const struct er_param *p, const json_t *v, json_t **out,
              struct er_params_fault *fault)
{
    json_error_t why;
    (void)snprintf(fault->field, sizeof fault->field, "%s", p->name);
    if (v) {
        return er_params_value(p, v, out, &fault->err);
    }
    if (p->required) {
        return fail_missing(p, fault);
    }
    if (!p->default_json) {
        return 0;
    }
    json_t *given = json_loads(p->default_json, JSON_DECODE_ANY, &why);
    int rc = given ? er_params_value(p, given, out, &fault->err)
                   : er_fail(&fault->err, ER_ENOMEM, "out of memory");
    json_decref(given);
    return rc;
}

int
er_params_check(const struct er_param *params, size_t n, const json_t *args, json_t **out,
                struct er_params_fault *fault)
{
    const char *key;
    json_t *value;
    *fault = (struct er_params_fault){"", {""}};
    if (!json_is_object(args)) {
        return er_fail(&fault->err, ER_EINVALID,
                       "the arguments must be an object, not %s",
                       er_params_kind_of(args));
    }
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        if (!find(params, n, key)) {
            return fail_unknown(params, n, key, fault);
        }
    }
    json_t *fine = json_object();
    int rc = fine ? 0 : ER_ENOMEM;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        json_t *one = NULL;
        rc =
            take_argument(&params[i], json_object_get(args, params[i].name), &one, fault);
        if (rc == 0 && one) {
            rc = json_object_set_new(fine, params[i].name, one) ? ER_ENOMEM : 0;
        }
    }
    if (rc) {
        json_decref(fine);
        return rc;
    }
    fault->field[0] = '\0';
    *out = fine;
    return 0;
}

/* ---- texts that people type ---- */

static json_t *
boolean_of(const char *text)
{
    return strcmp(text, "1") == 0   ? json_true()
           : strcmp(text, "0") == 0 ? json_false()
                                    : er_json_bool_of(text);
}

/* An array as JSON, or texts with commas between them; an empty text is an empty
 * array. */
static json_t *
strings_of(const char *text)
{
    json_error_t why;
    if (*text == '[') {
        return json_loads(text, JSON_REJECT_DUPLICATES, &why);
    }
    json_t *all = json_array();
    while (all && *text) {
        size_t n = strcspn(text, ",");
        (void)json_array_append_new(all, json_stringn(text, n));
        if (text[n] == ',' && text[n + 1] == '\0') {
            (void)json_array_append_new(all, json_string(""));
        }
        text += n + (text[n] == ',');
    }
    return all;
}

/* What the text means for that parameter; the text itself where it means nothing, so that
 * the check refuses it. */
static json_t *
read_text(const struct er_param *p, const json_t *text)
{
    struct er_err none;
    json_t *v = NULL;
    switch (p->kind) {
    case ER_PARAM_INTEGER:
    case ER_PARAM_NUMBER:
    case ER_PARAM_DURATION:
        v = er_json_number_of(json_string_value(text));
        break;
    case ER_PARAM_BOOLEAN:
        v = boolean_of(json_string_value(text));
        break;
    case ER_PARAM_STRINGS:
        v = strings_of(json_string_value(text));
        break;
    case ER_PARAM_OBJECT:
        if (er_json_parse(json_string_value(text), json_string_length(text), &v, &none)) {
            v = NULL;
        }
        break;
    case ER_PARAM_STRING:
    case ER_PARAM_PATH:
    case ER_PARAM_URL:
        break;
    }
    return v ? v : json_incref((json_t *)(uintptr_t)text);
}

/* A text that is not what its kind wants: with what it was, unless it is secret. */
static int
fail_text(const struct er_param *p, const json_t *text, struct er_params_fault *fault)
{
    (void)snprintf(fault->field, sizeof fault->field, "%s", p->name);
    if (p->secret) {
        return er_fail(&fault->err, ER_EINVALID, "%s must be %s", p->name,
                       wanted(p->kind));
    }
    return er_fail(&fault->err, ER_EINVALID, "%s must be %s, not '%.60s'", p->name,
                   wanted(p->kind), json_string_value(text));
}

/* Whether texts of that kind that mean nothing stay texts, which the check refuses. */
static bool
is_read(enum er_param_kind kind)
{
    return kind == ER_PARAM_INTEGER || kind == ER_PARAM_NUMBER ||
           kind == ER_PARAM_BOOLEAN || kind == ER_PARAM_STRINGS ||
           kind == ER_PARAM_OBJECT;
}

static int
read_texts(const struct er_param *params, size_t n, const json_t *args, json_t *values,
           struct er_params_fault *fault)
{
    const char *key;
    json_t *text;
    json_object_foreach((json_t *)(uintptr_t)args, key, text)
    {
        const struct er_param *p = find(params, n, key);
        if (!p) {
            return fail_unknown(params, n, key, fault);
        }
        if (!json_is_string(text)) {
            (void)snprintf(fault->field, sizeof fault->field, "%s", key);
            return er_fail(&fault->err, ER_EINVALID, "%s must be a text, not %s", key,
                           er_params_kind_of(text));
        }
        json_t *v = read_text(p, text);
        bool bad = v == text && is_read(p->kind);
        if (json_object_set_new(values, key, v)) {
            return er_fail(&fault->err, ER_ENOMEM, "out of memory");
        }
        if (bad) {
            return fail_text(p, text, fault);
        }
    }
    return 0;
}

int
er_params_check_text(const struct er_param *params, size_t n, const json_t *args,
                     json_t **out, struct er_params_fault *fault)
{
    *fault = (struct er_params_fault){"", {""}};
    if (!json_is_object(args)) {
        return er_fail(&fault->err, ER_EINVALID,
                       "the arguments must be an object of texts, not %s",
                       er_params_kind_of(args));
    }
    json_t *values = json_object();
    int rc = values ? read_texts(params, n, args, values, fault)
                    : er_fail(&fault->err, ER_ENOMEM, "out of memory");
    if (rc == 0) {
        rc = er_params_check(params, n, values, out, fault);
    }
    json_decref(values);
    return rc;
}
