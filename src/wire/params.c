/* SPDX-License-Identifier: MIT */
/* Parameters as they stand in a definition, and as JSON Schema. A definition is read by a
 * table of its members, then what they say of each other is looked at; the default is
 * checked as an argument would be. */
#include "wire/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/duration.h"
#include "model/task.h"
#include "wire/json.h"
#include "wire/params_priv.h"

#define HELP_MAX    1000
#define CHOICES_MAX 1000
#define URL_MIN     5 /* characters of the shortest, a://b */

/* ---- reading ---- */

struct raw {
    const char *name, *pattern, *help;
    int kind;
    bool required, secret;
    const json_t *fallback, *choices;
    double min, max;
};
#define AT(member) offsetof(struct raw, member)
#define KINDS      "string, integer, number, boolean, path, url, duration, strings or object"
static const struct er_json_field fields[] = {
    {"name", ER_JSON_STRING, true, 0, 0, AT(name), NULL, NULL},
    {"kind", ER_JSON_WORD, true, 0, 0, AT(kind), er_param_kind_find, KINDS},
    {"required", ER_JSON_BOOL, false, 0, 0, AT(required), NULL, NULL},
    {"default", ER_JSON_ANY, false, 0, 0, AT(fallback), NULL, NULL},
    {"min", ER_JSON_NUMBER, false, 0, 0, AT(min), NULL, NULL},
    {"max", ER_JSON_NUMBER, false, 0, 0, AT(max), NULL, NULL},
    {"pattern", ER_JSON_STRING, false, 1, ER_PARAMS_PATTERN_MAX, AT(pattern), NULL, NULL},
    {"choices", ER_JSON_ARRAY, false, 1, CHOICES_MAX, AT(choices), NULL, NULL},
    {"secret", ER_JSON_BOOL, false, 0, 0, AT(secret), NULL, NULL},
    {"help", ER_JSON_STRING, false, 0, HELP_MAX, AT(help), NULL, NULL},
};
static const struct er_json_form form = {fields, sizeof fields / sizeof *fields, false};

/* A definition on its way from the array into the arena. */
struct reading {
    struct er_arena *arena;
    struct er_params_fault *fault;
    struct er_param *params;
    size_t i; /* the one that is read */
};

static int refuse(struct reading *r, const char *member, const char *fmt, ...)
    ER_PRINTF(3, 4);

/* Names the parameter by its name once it has one, else by its place. */
static int
refuse(struct reading *r, const char *member, const char *fmt, ...)
{
    struct er_params_fault *f = r->fault;
    const char *name = r->params ? r->params[r->i].name : NULL;
    char place[ER_PARAM_NAME_MAX + 24];
    va_list ap;
    if (name) {
        (void)snprintf(place, sizeof place, "params.%s", name);
    } else {
        (void)snprintf(place, sizeof place, "params[%zu]", r->i);
    }
    (void)snprintf(f->field, sizeof f->field, "%s%s%s", place, *member ? "." : "",
                   member);
    va_start(ap, fmt);
    (void)vsnprintf(f->err.text, sizeof f->err.text, fmt, ap);
    va_end(ap);
    return ER_EINVALID;
}

static int
out_of_memory(struct reading *r)
{
    r->fault->field[0] = '\0';
    return er_fail(&r->fault->err, ER_ENOMEM, "out of memory");
}

static int
read_name(struct reading *r, const struct raw *raw)
{
    if (!er_param_is_name(raw->name)) {
        return refuse(r, "name",
                      "'%.60s' cannot be the name of a parameter: at most %d letters, "
                      "digits, _ and -, a letter first",
                      raw->name, ER_PARAM_NAME_MAX);
    }
    for (size_t i = 0; i < r->i; i++) {
        if (strcmp(r->params[i].name, raw->name) == 0) {
            return refuse(r, "name", "there are two parameters '%s'", raw->name);
        }
    }
    r->params[r->i].name = er_arena_strdup(r->arena, raw->name);
    return r->params[r->i].name ? 0 : out_of_memory(r);
}

/* The least and the greatest that a value of that kind can be: of numbers any. */
static void
range_of(enum er_param_kind kind, double *least, double *most)
{
    *least = -HUGE_VAL;
    *most = HUGE_VAL;
    if (kind == ER_PARAM_INTEGER) {
        *most = (double)ER_PARAMS_INTEGER_MAX;
        *least = -*most;
    } else if (kind == ER_PARAM_DURATION) {
        *most = (double)(ER_DURATION_MAX / ER_USEC_PER_SEC);
        *least = 0;
    } else if (er_params_is_text(kind)) {
        *most = ER_MAX_ARGS;
        *least = kind == ER_PARAM_PATH ? 1 : kind == ER_PARAM_URL ? URL_MIN : 0;
    }
}

static int
check_bound(struct reading *r, const struct er_param *p, const char *member, bool has,
            double v)
{
    bool counts = er_params_is_text(p->kind), is_min = strcmp(member, "min") == 0;
    double least, most;
    if (!has) {
        return 0;
    }
    if (!er_params_has_bounds(p->kind)) {
        return refuse(r, member, "%s is not for kind %s", member,
                      er_param_kind_word(p->kind));
    }
    if ((counts || p->kind == ER_PARAM_DURATION) && v < 0) {
        return refuse(r, member, "%s is %.15g, but a %s has none below 0", member, v,
                      counts ? "length" : "duration");
    }
    if (counts && floor(v) < v) {
        return refuse(r, member,
                      "%s is %.15g, but min and max of kind %s are whole numbers", member,
                      v, er_param_kind_word(p->kind));
    }
    range_of(p->kind, &least, &most);
    if (is_min ? v > most : v < least) {
        return refuse(r, member, "%s is %.15g, but no value of kind %s is %s %.15g",
                      member, v, er_param_kind_word(p->kind), is_min ? "above" : "below",
                      is_min ? most : least);
    }
    return 0;
}

static int
check_bounds(struct reading *r, const struct er_param *p)
{
    int rc = check_bound(r, p, "min", p->has_min, p->min);
    rc = rc ? rc : check_bound(r, p, "max", p->has_max, p->max);
    if (rc == 0 && p->has_min && p->has_max && p->min > p->max) {
        return refuse(r, "min", "min is %.15g, which is above max, %.15g", p->min,
                      p->max);
    }
    if (rc == 0 && p->kind == ER_PARAM_INTEGER && p->has_min && p->has_max &&
        ceil(p->min) > floor(p->max)) {
        return refuse(r, "min",
                      "there is no whole number between min, %.15g, and max, %.15g",
                      p->min, p->max);
    }
    return rc;
}

static int
read_pattern(struct reading *r, const struct raw *raw)
{
    struct er_param *p = &r->params[r->i];
    struct er_err err;
    if (!raw->pattern) {
        return 0;
    }
    if (!er_params_is_text(p->kind)) {
        return refuse(r, "pattern", "pattern is not for kind %s",
                      er_param_kind_word(p->kind));
    }
    int rc = er_params_pattern_check(raw->pattern, &err);
    if (rc == ER_ENOMEM) {
        return out_of_memory(r);
    }
    if (rc) {
        return refuse(r, "pattern", "%s", err.text);
    }
    p->pattern = er_arena_strdup(r->arena, raw->pattern);
    return p->pattern ? 0 : out_of_memory(r);
}

static int
read_choices(struct reading *r, const struct raw *raw)
{
    struct er_param *p = &r->params[r->i];
    size_t n = json_array_size(raw->choices);
    if (!raw->choices) {
        return 0;
    }
    if (!er_params_is_text(p->kind)) {
        return refuse(r, "choices", "choices are not for kind %s",
                      er_param_kind_word(p->kind));
    }
    p->choices = er_arena_alloc(r->arena, (n + 1) * sizeof *p->choices);
    for (size_t i = 0; p->choices && i < n; i++) {
        const json_t *one = json_array_get(raw->choices, i);
        if (!json_is_string(one)) {
            return refuse(r, "choices", "choices[%zu] must be a string, not %s", i,
                          er_params_kind_of(one));
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(p->choices[k], json_string_value(one)) == 0) {
                return refuse(r, "choices", "'%.60s' is there twice",
                              json_string_value(one));
            }
        }
        p->choices[i] = er_arena_strdup(r->arena, json_string_value(one));
        if (!p->choices[i]) {
            return out_of_memory(r);
        }
    }
    p->n_choices = n;
    return p->choices ? 0 : out_of_memory(r);
}

/* Each of them must be one that could be given: of the kind, within the bounds, and as
 * the pattern says. */
static int
check_choices(struct reading *r, const struct er_param *p)
{
    struct er_param alone = *p; /* one text of it */
    if (p->kind == ER_PARAM_STRINGS) {
        alone.kind = ER_PARAM_STRING;
        alone.has_min = alone.has_max = false; /* of how many there are */
    }
    for (size_t i = 0; i < p->n_choices; i++) {
        struct er_err err = {""};
        json_t *value = NULL, *text = json_string(p->choices[i]);
        int rc = text ? er_params_value(&alone, text, &value, &err) : ER_ENOMEM;
        json_decref(text);
        json_decref(value);
        if (rc) {
            return rc == ER_ENOMEM
                       ? out_of_memory(r)
                       : refuse(r, "choices", "choices[%zu] cannot be: %s", i, err.text);
        }
    }
    return 0;
}

static int
read_default(struct reading *r, const struct raw *raw)
{
    struct er_param *p = &r->params[r->i];
    struct er_err err;
    json_t *value = NULL;
    if (!raw->fallback || json_is_null(raw->fallback)) {
        return 0;
    }
    if (p->required) {
        return refuse(r, "default", "what is required has no default");
    }
    if (p->secret) {
        return refuse(r, "default",
                      "what is secret has no default: definitions are shown");
    }
    int rc = er_params_value(p, raw->fallback, &value, &err);
    json_decref(value);
    if (rc) {
        return rc == ER_EINVALID ? refuse(r, "default", "%s", err.text)
                                 : out_of_memory(r);
    }
    char *text = json_dumps(raw->fallback,
                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    p->default_json = er_arena_strdup(r->arena, text);
    free(text);
    return p->default_json ? 0 : out_of_memory(r);
}

static int
read_one(struct reading *r, const json_t *o)
{
    struct er_json_fault fault = {{""}, ""};
    struct raw raw = {.min = NAN, .max = NAN};
    struct er_param *p = &r->params[r->i];
    if (er_json_read(o, &form, &raw, NULL, &fault)) {
        const char *name = json_string_value(json_object_get(o, "name"));
        p->name = name && er_param_is_name(name) ? name : NULL; /* for the words */
        return refuse(r, fault.field, "%s", fault.err.text);
    }
    int rc = read_name(r, &raw);
    if (rc) {
        return rc;
    }
    p->kind = (enum er_param_kind)raw.kind;
    p->required = raw.required;
    p->secret = raw.secret;
    p->has_min = !isnan(raw.min);
    p->has_max = !isnan(raw.max);
    p->min = p->has_min ? raw.min : 0;
    p->max = p->has_max ? raw.max : 0;
    p->help = er_arena_strdup(r->arena, raw.help);
    if (raw.help && !p->help) {
        return out_of_memory(r);
    }
    rc = check_bounds(r, p);
    rc = rc ? rc : read_pattern(r, &raw);
    rc = rc ? rc : read_choices(r, &raw);
    rc = rc ? rc : check_choices(r, p);
    return rc ? rc : read_default(r, &raw);
}

int
er_params_read(const json_t *array, struct er_arena *arena, struct er_param **out,
               size_t *out_n, struct er_params_fault *fault)
{
    size_t n = json_array_size(array);
    struct reading r = {.arena = arena, .fault = fault};
    *fault = (struct er_params_fault){"params", {""}};
    if (!json_is_array(array) || n > ER_PARAMS_MAX) {
        return er_fail(&fault->err, ER_EINVALID,
                       "parameters must be an array of at most %d", ER_PARAMS_MAX);
    }
    r.params = er_arena_alloc(arena, (n + 1) * sizeof *r.params);
    int rc = r.params ? 0 : out_of_memory(&r);
    for (; rc == 0 && r.i < n; r.i++) {
        rc = read_one(&r, json_array_get(array, r.i));
        if (rc) {
            return rc;
        }
    }
    if (rc == 0) {
        fault->field[0] = '\0';
        *out = r.params;
        *out_n = n;
    }
    return rc;
}

/* ---- writing ---- */

static void
add_text(struct er_buf *b, const char *name, const char *text)
{
    if (text) {
        er_buf_addf(b, ",\"%s\":", name);
        er_buf_add_json_str(b, text);
    }
}

static void
add_number(struct er_buf *b, const char *name, double v)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) < v || strtod(text, NULL) > v) {
        (void)snprintf(text, sizeof text, "%.17g", v);
    }
    er_buf_addf(b, ",\"%s\":%s", name, text);
}

static void
add_bounds(struct er_buf *b, const struct er_param *p, const char *min, const char *max)
{
    if (p->has_min) {
        add_number(b, min, p->min);
    }
    if (p->has_max) {
        add_number(b, max, p->max);
    }
}

static void
add_choices(struct er_buf *b, const char *name, const struct er_param *p)
{
    if (p->choices) {
        er_buf_addf(b, ",\"%s\":[", name);
        for (size_t i = 0; i < p->n_choices; i++) {
            er_buf_add_str(b, i ? "," : "");
            er_buf_add_json_str(b, p->choices[i]);
        }
        er_buf_add_char(b, ']');
    }
}

void
er_params_add(const struct er_param *params, size_t n, struct er_buf *b)
{
    er_buf_add_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        const struct er_param *p = &params[i];
        er_buf_addf(b, "%s{\"name\":\"%s\",\"kind\":\"%s\"", i ? "," : "", p->name,
                    er_param_kind_word(p->kind));
        er_buf_add_str(b, p->required ? ",\"required\":true" : "");
        if (p->default_json) {
            er_buf_add_str(b, ",\"default\":");
            er_buf_add_str(b, p->default_json);
        }
        add_bounds(b, p, "min", "max");
        add_text(b, "pattern", p->pattern);
        add_choices(b, "choices", p);
        er_buf_add_str(b, p->secret ? ",\"secret\":true" : "");
        add_text(b, "help", p->help);
        er_buf_add_char(b, '}');
    }
    er_buf_add_char(b, ']');
}

/* ---- JSON Schema ---- */

static void
add_integer(struct er_buf *b, const struct er_param *p)
{
    struct er_param bounds = *p;
    double most = (double)ER_PARAMS_INTEGER_MAX;
    bounds.min = p->has_min && p->min > -most ? p->min : -most;
    bounds.max = p->has_max && p->max < most ? p->max : most;
    bounds.has_min = bounds.has_max = true;
    er_buf_add_str(b, "\"type\":\"integer\"");
    add_bounds(b, &bounds, "minimum", "maximum");
}

/* Seconds or a text; how long the text may be is for the check alone. */
static void
add_duration(struct er_buf *b, const struct er_param *p)
{
    struct er_param bounds = *p;
    bounds.min = p->has_min && p->min > 0 ? p->min : 0;
    bounds.has_min = bounds.has_max = true;
    bounds.max = p->has_max ? p->max : (double)(ER_DURATION_MAX / ER_USEC_PER_SEC);
    er_buf_add_str(b, "\"anyOf\":[{\"type\":\"number\"");
    add_bounds(b, &bounds, "minimum", "maximum");
    er_buf_add_str(b, "},{\"type\":\"string\"");
    add_text(b, "pattern", ER_PARAMS_DURATION);
    er_buf_add_str(b, "}]");
}

static void
add_string(struct er_buf *b, const struct er_param *p)
{
    struct er_param bounds = *p;
    er_buf_add_str(b, "\"type\":\"string\"");
    if (p->kind == ER_PARAM_PATH && !(p->has_min && p->min > 1)) {
        bounds.has_min = true;
        bounds.min = 1;
    }
    add_bounds(b, &bounds, "minLength", "maxLength");
    add_text(b, "pattern", p->kind == ER_PARAM_URL ? ER_PARAMS_URL : p->pattern);
    if (p->kind == ER_PARAM_URL && p->pattern) {
        er_buf_add_str(b, ",\"allOf\":[{\"pattern\":");
        er_buf_add_json_str(b, p->pattern);
        er_buf_add_str(b, "}]");
    }
    add_choices(b, "enum", p);
}

static void
add_strings(struct er_buf *b, const struct er_param *p)
{
    er_buf_add_str(b, "\"type\":\"array\",\"items\":{\"type\":\"string\"");
    add_text(b, "pattern", p->pattern);
    add_choices(b, "enum", p);
    er_buf_add_char(b, '}');
    add_bounds(b, p, "minItems", "maxItems");
}

static void
add_property(struct er_buf *b, const struct er_param *p)
{
    er_buf_addf(b, "\"%s\":{", p->name);
    switch (p->kind) {
    case ER_PARAM_STRING:
    case ER_PARAM_PATH:
    case ER_PARAM_URL:
        add_string(b, p);
        break;
    case ER_PARAM_INTEGER:
        add_integer(b, p);
        break;
    case ER_PARAM_NUMBER:
        er_buf_add_str(b, "\"type\":\"number\"");
        add_bounds(b, p, "minimum", "maximum");
        break;
    case ER_PARAM_BOOLEAN:
        er_buf_add_str(b, "\"type\":\"boolean\"");
        break;
    case ER_PARAM_DURATION:
        add_duration(b, p);
        break;
    case ER_PARAM_STRINGS:
        add_strings(b, p);
        break;
    case ER_PARAM_OBJECT:
        er_buf_add_str(b, "\"type\":\"object\"");
        break;
    }
    if (p->default_json) {
        er_buf_add_str(b, ",\"default\":");
        er_buf_add_str(b, p->default_json);
    }
    er_buf_add_str(b, p->secret ? ",\"writeOnly\":true" : "");
    add_text(b, "description", p->help);
    er_buf_add_char(b, '}');
}

void
er_params_schema_add(const struct er_param *params, size_t n, struct er_buf *b)
{
    const char *sep = "";
    er_buf_add_str(b, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                      "\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < n; i++) {
        er_buf_add_str(b, i ? "," : "");
        add_property(b, &params[i]);
    }
    er_buf_add_str(b, "},\"required\":[");
    for (size_t i = 0; i < n; i++) {
        if (params[i].required) {
            er_buf_addf(b, "%s\"%s\"", sep, params[i].name);
            sep = ",";
        }
    }
    er_buf_add_str(b, "],\"additionalProperties\":false}");
}
