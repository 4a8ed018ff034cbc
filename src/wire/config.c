/* SPDX-License-Identifier: MIT */
/* How it works: the whole file is parsed into libyaml's tree, then its one mapping is
 * walked; each value is read by the kind of its setting into a struct er_config_value,
 * which replaces the one before unless that came from somewhere more important.
 *
 * Failure modes: what is not YAML, not a mapping, has unknown or repeated settings, or
 * values of the wrong kind. Each is told with its line; the walk goes on, so that
 * `errand config --check` shows all of them at once. */
#include "wire/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/io.h"
#include "base/mem.h"
#include "model/duration.h"
#include "model/env_rules.h"
#include "model/suggest.h"

#define FILE_MAX ((size_t)1 << 20)
#define CORES_ID INT64_C(0) /* the number that stands for `cores` */

enum kind { KIND_INT, KIND_CORES, KIND_SIZE, KIND_SPAN, KIND_STEP, KIND_LIST, KIND_WORD };

struct option {
    const char *key;
    enum kind kind;
    const char *fallback;
    int64_t min, max;
    const char *variable, *meaning;
};
static const struct option options[] = {
#define OPTION(name, key, kind, fallback, min, max, variable, meaning)                   \
    {key, KIND_##kind, fallback, min, max, variable, meaning},
#include "model/options.def"
#undef OPTION
};
#define N_OPTIONS (sizeof options / sizeof options[0])
_Static_assert(N_OPTIONS == ER_CONFIG_OPTIONS, "ER_CONFIG_OPTIONS counts options.def");

static const struct option *
find(const char *key)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (strcmp(options[i].key, key) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static int
fail_unknown(const char *key, struct er_err *err)
{
    const char *keys[N_OPTIONS];
    for (size_t i = 0; i < N_OPTIONS; i++) {
        keys[i] = options[i].key;
    }
    return er_suggest_fail(err, ER_EINVALID, "setting", key, keys, N_OPTIONS);
}

static void
value_fini(struct er_config_value *v)
{
    for (size_t i = 0; i < v->n_list; i++) {
        er_free(v->list[i]);
    }
    er_free(v->list);
    er_free(v->where);
    er_free(v->text);
    *v = (struct er_config_value){0};
}

/* ---- reading values by their kind ---- */

/* A whole number at the start of text; *end is what follows. */
static bool
read_int(const char *text, int64_t *out, const char **end)
{
    int64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *p - '0', &v)) {
            return false;
        }
    }
    *out = v;
    *end = p;
    return p > text;
}

static int
parse_int(const struct option *o, const char *text, int64_t *out, struct er_err *err)
{
    const char *end;
    bool cores = o->kind == KIND_CORES;
    if (cores && strcmp(text, "cores") == 0) {
        *out = CORES_ID;
        return 0;
    }
    if (!read_int(text, out, &end) || *end || *out < o->min || *out > o->max) {
        return er_fail(err, ER_EINVALID,
                       "invalid number '%.60s': it takes a whole number from %" PRId64
                       " to %" PRId64 "%s",
                       text, o->min, o->max, cores ? ", or cores" : "");
    }
    return 0;
}

static int
parse_size(const struct option *o, const char *text, int64_t *out, struct er_err *err)
{
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    const char *end;
    if (read_int(text, out, &end)) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            if (strcmp(end, units[i].unit) == 0 && *out <= INT64_MAX >> units[i].shift) {
                *out <<= units[i].shift;
                if (*out >= o->min && *out <= o->max) {
                    return 0;
                }
                return er_fail(err, ER_EINVALID,
                               "invalid size '%.60s': it must be from %" PRId64
                               " to %" PRId64 " bytes",
                               text, o->min, o->max);
            }
        }
    }
    return er_fail(err, ER_EINVALID, "invalid size '%.60s' (try 512KiB, 8MiB, 1GiB)",
                   text);
}

static int
parse_span(const struct option *o, const char *text, int64_t *out, struct er_err *err)
{
    char min[ER_DURATION_SIZE], max[ER_DURATION_SIZE];
    bool step = o->kind == KIND_STEP;
    if (step && strcmp(text, "off") == 0) {
        *out = ER_NEVER;
        return 0;
    }
    int rc = er_duration_parse(text, out, err);
    if (rc || (*out >= o->min && *out <= o->max)) {
        return rc;
    }
    er_duration_format(o->min, min);
    er_duration_format(o->max, max);
    return er_fail(err, ER_EINVALID,
                   "invalid duration '%.60s': it must be from %s to %s%s", text, min, max,
                   step ? ", or off" : "");
}

/* The words stand behind the colon of the meaning. */
static int
parse_word(const struct option *o, const char *text, struct er_err *err)
{
    const char *words = strrchr(o->meaning, ':') + 2;
    size_t n = strlen(text);
    for (const char *p = words; n > 0 && *p;) {
        size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, text, n) == 0) {
            return 0;
        }
        p += len + (p[len] == ' ');
    }
    return er_fail(err, ER_EINVALID, "invalid value '%.60s': it is one of %s", text,
                   words);
}

/* Adds one pattern of variables to a list. */
static int
list_add(const struct option *o, struct er_config_value *v, const char *text, size_t n,
         struct er_err *err)
{
    if (n == 0) {
        return er_fail(err, ER_EINVALID, "an entry of the list is empty");
    }
    if (v->n_list >= (size_t)o->max) {
        return er_fail(err, ER_EINVALID,
                       "the list is too long: at most %" PRId64 " entries", o->max);
    }
    char *pattern = er_xstrndup(text, n);
    struct er_env_rules scratch;
    er_env_rules_init(&scratch);
    int rc = er_env_rules_add(&scratch, pattern, err);
    er_env_rules_fini(&scratch);
    if (rc) {
        er_free(pattern);
        return rc;
    }
    v->list = er_xrealloc_array(v->list, v->n_list + 1, sizeof *v->list);
    v->list[v->n_list++] = pattern;
    return 0;
}

/* Entries with commas between them; blanks around them do not count. */
static int
parse_list(const struct option *o, struct er_config_value *v, const char *text,
           struct er_err *err)
{
    int rc = 0;
    while (!rc && text[strspn(text, " ")]) {
        size_t n = strcspn(text, ",");
        size_t from = strspn(text, " "), to = n;
        while (to > from && text[to - 1] == ' ') {
            to--;
        }
        rc = list_add(o, v, text + from, to > from ? to - from : 0, err);
        text += n + (text[n] == ',');
    }
    return rc;
}

/* Reads a text by the option's kind into *v, whose text is set. */
static int
parse(const struct option *o, const char *text, struct er_config_value *v,
      struct er_err *err)
{
    v->text = er_xstrdup(text);
    switch (o->kind) {
    case KIND_INT:
    case KIND_CORES:
        return parse_int(o, text, &v->number, err);
    case KIND_SIZE:
        return parse_size(o, text, &v->number, err);
    case KIND_SPAN:
    case KIND_STEP:
        return parse_span(o, text, &v->number, err);
    case KIND_LIST:
        return parse_list(o, v, text, err);
    case KIND_WORD:
        return parse_word(o, text, err);
    }
    return ER_EINVALID;
}

/* Puts a value that was read in its place, if nothing more important is there. */
static void
store(struct er_config *c, const struct option *o, struct er_config_value *v,
      enum er_config_origin origin, const char *where)
{
    struct er_config_value *at = &c->values[o - options];
    if (at->origin > origin) {
        value_fini(v);
        return;
    }
    value_fini(at);
    *at = *v;
    at->origin = origin;
    at->where = er_xstrdup(where);
}

int
er_config_set(struct er_config *c, const char *key, const char *text,
              enum er_config_origin origin, const char *where, struct er_err *err)
{
    struct er_config_value v = {0};
    const struct option *o = find(key);
    int rc = o ? parse(o, text, &v, err) : fail_unknown(key, err);
    if (rc) {
        value_fini(&v);
        return er_fail_prefix(err, rc, "%s", where);
    }
    store(c, o, &v, origin, where);
    return 0;
}

void
er_config_init(struct er_config *c)
{
    *c = (struct er_config){0};
    for (size_t i = 0; i < N_OPTIONS; i++) {
        int rc = parse(&options[i], options[i].fallback, &c->values[i], NULL);
        ER_ASSERT(rc == 0);
    }
}

void
er_config_fini(struct er_config *c)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        value_fini(&c->values[i]);
    }
}

/* The ERRAND_* variables of the settings. ER_EINVALID names the first bad one. */
static int
read_env(struct er_config *c, struct er_err *err)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const char *text = getenv(options[i].variable);
        if (text && text[0]) {
            int rc = er_config_set(c, options[i].key, text, ER_CONFIG_ENV,
                                   options[i].variable, err);
            if (rc) {
                return rc;
            }
        }
    }
    return 0;
}

/* ---- the file ---- */

struct file {
    struct er_config *c;
    const char *path;
    yaml_document_t doc;
    bool seen[N_OPTIONS];
    struct er_buf *problems; /* NULL = not wanted */
    struct er_err *err;      /* gets the first */
    bool bad;
};

/* Notes what is wrong at a line (from 1) of the file. */
static void
note(struct file *f, size_t line, const char *key, const char *text)
{
    struct er_err one;
    (void)er_fail(&one, ER_EINVALID, "%.200s:%zu: %s%s%s", f->path, line, key ? key : "",
                  key ? ": " : "", text);
    if (f->problems) {
        er_buf_add_str(f->problems, one.text);
        er_buf_add_char(f->problems, '\n');
    }
    if (!f->bad && f->err) {
        *f->err = one;
    }
    f->bad = true;
}

static const char *
scalar(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                  : NULL;
}

/* Reads a sequence of texts as the value of a list. */
static int
read_sequence(struct file *f, const struct option *o, const yaml_node_t *node,
              struct er_config_value *v, struct er_err *err)
{
    struct er_buf joined;
    int rc = 0;
    er_buf_init(&joined, 0);
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         !rc && item < node->data.sequence.items.top; item++) {
        const char *text = scalar(yaml_document_get_node(&f->doc, *item));
        rc = text ? list_add(o, v, text, strlen(text), err)
                  : er_fail(err, ER_EINVALID, "an entry of the list is not a text");
        er_buf_add_str(&joined, joined.len > 0 ? "," : "");
        er_buf_add_str(&joined, text ? text : "");
    }
    v->text = er_buf_take(&joined);
    return rc;
}

/* One setting and its value. */
static void
read_pair(struct file *f, const yaml_node_t *key_node, const yaml_node_t *node)
{
    struct er_err err;
    struct er_config_value v = {0};
    char where[4200];
    const char *key = scalar(key_node);
    size_t line = (key_node ? key_node->start_mark.line : 0) + 1;
    const struct option *o = key ? find(key) : NULL;
    if (!o) {
        if (key) {
            (void)fail_unknown(key, &err);
        }
        note(f, line, NULL, key ? err.text : "the name of a setting must be a text");
        return;
    }
    if (f->seen[o - options]) {
        note(f, line, key, "it is there twice: keep one of them");
        return;
    }
    f->seen[o - options] = true;
    line = node ? node->start_mark.line + 1 : line;
    int rc;
    if (node && node->type == YAML_SEQUENCE_NODE && o->kind == KIND_LIST) {
        rc = read_sequence(f, o, node, &v, &err);
    } else if (scalar(node)) {
        rc = parse(o, scalar(node), &v, &err);
    } else {
        rc = er_fail(&err, ER_EINVALID, "it takes %s, as in '%s: %s'",
                     o->kind == KIND_LIST ? "a list" : "one value", key,
                     o->fallback[0] ? o->fallback : "[A, B]");
    }
    if (rc) {
        note(f, line, key, err.text);
        value_fini(&v);
        return;
    }
    (void)snprintf(where, sizeof where, "%s:%zu", f->path, line);
    store(f->c, o, &v, ER_CONFIG_FILE, where);
}

static void
read_document(struct file *f)
{
    const yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    if (!root || (scalar(root) && !scalar(root)[0])) {
        return; /* an empty file, or comments only */
    }
    if (root->type != YAML_MAPPING_NODE) {
        note(f, root->start_mark.line + 1, NULL,
             "a configuration is a list of settings, a line each: concurrency: 4");
        return;
    }
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        read_pair(f, yaml_document_get_node(&f->doc, pair->key),
                  yaml_document_get_node(&f->doc, pair->value));
    }
}

/* What libyaml says, with the line. */
static void
note_yaml(struct file *f, const yaml_parser_t *parser)
{
    char text[200];
    (void)snprintf(text, sizeof text, "this is not YAML: %s%s%s",
                   parser->context ? parser->context : "", parser->context ? ", " : "",
                   parser->problem ? parser->problem : "it cannot be read");
    note(f, parser->problem_mark.line + 1, NULL, text);
}

/* Parses the text; more than one document is told. */
static void
read_text(struct file *f, const struct er_buf *text)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        note(f, 1, NULL, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data, text->len);
    if (!yaml_parser_load(&parser, &f->doc)) {
        note_yaml(f, &parser);
    } else {
        yaml_document_t more;
        read_document(f);
        yaml_document_delete(&f->doc);
        if (!yaml_parser_load(&parser, &more)) {
            note_yaml(f, &parser);
        } else {
            const yaml_node_t *root = yaml_document_get_root_node(&more);
            if (root) {
                note(f, root->start_mark.line + 1, NULL,
                     "a second document begins here: a configuration is one");
            }
            yaml_document_delete(&more);
        }
    }
    yaml_parser_delete(&parser);
}

int
er_config_read(struct er_config *c, const char *path, struct er_buf *problems,
               struct er_err *err)
{
    struct er_buf text;
    struct file f = {.c = c, .path = path, .problems = problems, .err = err};
    er_buf_init(&text, FILE_MAX);
    int rc = er_read_file(path, &text, err);
    if (!rc && text.len > 0) {
        read_text(&f, &text);
    }
    er_buf_fini(&text);
    return rc ? rc : f.bad ? ER_EINVALID : 0;
}

int
er_config_load(struct er_config *c, const char *path, struct er_err *err)
{
    er_config_init(c);
    int rc = er_config_read(c, path, NULL, err);
    return rc && rc != ER_ENOTFOUND ? rc : read_env(c, err);
}

/* ---- what came of it ---- */

int64_t
er_config_int(const struct er_config *c, enum er_config_option option)
{
    int64_t v = c->values[option].number;
    if (options[option].kind == KIND_CORES && v == CORES_ID) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        return cores > 0 ? cores : 1;
    }
    return v;
}

er_usec
er_config_span(const struct er_config *c, enum er_config_option option)
{
    ER_ASSERT(options[option].kind == KIND_SPAN || options[option].kind == KIND_STEP);
    return c->values[option].number;
}

const char *
er_config_word(const struct er_config *c, enum er_config_option option)
{
    return c->values[option].text;
}

static const char *
origin_word(enum er_config_origin origin)
{
    static const char *const words[] = {"default", "file", "env", "flag"};
    return words[origin];
}

/* The value as JSON: numbers for INT and CORES, a list, else the text. */
static void
add_json_value(const struct er_config *c, size_t i, struct er_buf *b)
{
    const struct er_config_value *v = &c->values[i];
    switch (options[i].kind) {
    case KIND_INT:
    case KIND_CORES:
        er_buf_add_i64(b, er_config_int(c, (enum er_config_option)i));
        return;
    case KIND_LIST:
        er_buf_add_char(b, '[');
        for (size_t k = 0; k < v->n_list; k++) {
            er_buf_add_str(b, k > 0 ? "," : "");
            er_buf_add_json_str(b, v->list[k]);
        }
        er_buf_add_char(b, ']');
        return;
    case KIND_SIZE:
    case KIND_SPAN:
    case KIND_STEP:
    case KIND_WORD:
        break;
    }
    er_buf_add_json_str(b, v->text);
}

static void
add_json(const struct er_config *c, size_t i, struct er_buf *b)
{
    const struct er_config_value *v = &c->values[i];
    er_buf_addf(b, "%s\"%s\":{\"value\":", i > 0 ? "," : "", options[i].key);
    add_json_value(c, i, b);
    er_buf_addf(b, ",\"origin\":\"%s\",\"where\":", origin_word(v->origin));
    er_buf_add_json_str(b, v->where);
    er_buf_add_str(b, ",\"default\":");
    er_buf_add_json_str(b, options[i].fallback);
    er_buf_addf(b, ",\"variable\":\"%s\",\"meaning\":", options[i].variable);
    er_buf_add_json_str(b, options[i].meaning);
    er_buf_add_char(b, '}');
}

static void
add_line(const struct er_config *c, size_t i, struct er_buf *b)
{
    const struct er_config_value *v = &c->values[i];
    struct er_buf text;
    er_buf_init(&text, 0);
    er_buf_addf(&text, "%s: ", options[i].key);
    if (options[i].kind == KIND_LIST) {
        for (size_t k = 0; k < v->n_list; k++) {
            er_buf_add_str(&text, k > 0 ? ", " : "[");
            er_buf_add_json_str(&text, v->list[k]);
        }
        er_buf_add_str(&text, v->n_list > 0 ? "]" : "[]");
    } else if (options[i].kind == KIND_CORES) {
        er_buf_add_i64(&text, er_config_int(c, (enum er_config_option)i));
    } else {
        er_buf_add_str(&text, v->text);
    }
    er_buf_addf(b, "%-28s # %s; %s\n", text.data, v->where ? v->where : "default",
                options[i].meaning);
    er_buf_fini(&text);
}

void
er_config_print(const struct er_config *c, bool json, struct er_buf *b)
{
    er_buf_add_str(b, json ? "{" : "");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (json) {
            add_json(c, i, b);
        } else {
            add_line(c, i, b);
        }
    }
    er_buf_add_str(b, json ? "}\n" : "");
}
