/* SPDX-License-Identifier: MIT */
/* How it works: libyaml's tree becomes a JSON value, member by member as the table of
 * wire/type_json.c says what each is, and is then read as a PUT's body would be. On the
 * way the line of each member is noted under its name ("retries", "params.depth.min"), so
 * that a refusal, which begins with that name, gets its line.
 *
 * Failure modes: not YAML, several documents, a member twice, nested too deep or too
 * large by its aliases, and all that the definition itself refuses. The first one is
 * told. */
#include "wire/config_types.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/io.h"
#include "wire/json.h"
#include "wire/type_json.h"

#define FILE_MAX  ((size_t)1 << 20)
#define NODES_MAX 100000 /* an alias counts as what it stands for */

/* What a value is to become. */
enum shape {
    SHAPE_TEXT,
    SHAPE_NUMBER, /* or, when it is none, the text, which is then refused by name */
    SHAPE_BOOL,
    SHAPE_TEXTS,
    SHAPE_MAP, /* of texts */
    SHAPE_PARAMS,
    SHAPE_ANY, /* as plain JSON would be read */
};

struct place {
    char name[240];
    size_t line; /* from 1 */
    struct place *next;
};
struct file {
    const char *path;
    yaml_document_t doc;
    struct er_arena *arena;
    struct place *places;
    int nodes;
    struct er_err *err;
};

bool
er_config_type_name(const char *file, char *out)
{
    char name[ER_PARAM_NAME_MAX + 8];
    size_t n = strlen(file);
    if (n <= 4 || n - 4 > ER_PARAM_NAME_MAX || strcmp(file + n - 4, ".yml") != 0 ||
        *file == '.') {
        return false;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(n - 4), file);
    if (!er_type_is_name(name)) {
        return false;
    }
    if (out) {
        memcpy(out, name, n - 3);
    }
    return true;
}

/* ---- faults and lines ---- */

static json_t *fail_at(struct file *f, const yaml_node_t *node, const char *fmt, ...)
    ER_PRINTF(3, 4);

static json_t *
fail_at(struct file *f, const yaml_node_t *node, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)er_fail(f->err, ER_EINVALID, "%.200s:%zu: %s", f->path,
                  (node ? node->start_mark.line : 0) + 1, text);
    return NULL;
}

static void
note(struct file *f, const char *name, const yaml_node_t *node)
{
    struct place *p = er_arena_alloc(f->arena, sizeof *p);
    if (p) { /* without it a refusal names the file's first line */
        (void)snprintf(p->name, sizeof p->name, "%s", name);
        p->line = node->start_mark.line + 1;
        p->next = f->places;
        f->places = p;
    }
}

/* The line of the member with which the words begin: the longest name that was noted. */
static size_t
line_of(const struct file *f, const char *words)
{
    size_t line = 1, longest = 0;
    for (const struct place *p = f->places; p; p = p->next) {
        size_t n = strlen(p->name);
        bool ends = strncmp(words, p->name, n) == 0 && strchr(" :.[", words[n]);
        if (ends && n > longest) {
            longest = n;
            line = p->line;
        }
    }
    return line;
}

/* ---- YAML to JSON ---- */

static json_t *convert(struct file *f, const yaml_node_t *node, enum shape shape,
                       const char *name, int depth);

/* The text of a scalar; NULL when it is none, or has a NUL in it. */
static const char *
scalar(const yaml_node_t *node)
{
    if (!node || node->type != YAML_SCALAR_NODE) {
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

static bool
is_plain(const yaml_node_t *node)
{
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool
is_null(const yaml_node_t *node)
{
    const char *text = scalar(node);
    return text && is_plain(node) &&
           (*text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static json_t *
convert_scalar(struct file *f, const yaml_node_t *node, enum shape shape)
{
    const char *text = scalar(node);
    json_t *v = NULL;
    if (!text) {
        return fail_at(f, node, "this text contains a NUL");
    }
    if (shape == SHAPE_NUMBER || (shape == SHAPE_ANY && is_plain(node))) {
        v = er_json_number_of(text);
    }
    if (!v && (shape == SHAPE_BOOL || (shape == SHAPE_ANY && is_plain(node) &&
                                       (*text == 't' || *text == 'f')))) {
        v = er_json_bool_of(text);
    }
    v = v ? v : json_string(text);
    return v ? v : fail_at(f, node, "this text is not UTF-8");
}

static json_t *
convert_sequence(struct file *f, const yaml_node_t *node, enum shape shape,
                 const char *name, int depth)
{
    json_t *all = json_array();
    size_t i = 0;
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         all && item < node->data.sequence.items.top; item++, i++) {
        char place[240];
        const yaml_node_t *one = yaml_document_get_node(&f->doc, *item);
        (void)snprintf(place, sizeof place, "%.200s[%zu]", name, i);
        if (shape == SHAPE_PARAMS) {
            (void)snprintf(place, sizeof place, "params[%zu]", i);
        }
        json_t *v =
            convert(f, one, shape == SHAPE_TEXTS ? SHAPE_TEXT : shape, place, depth + 1);
        if (!v || json_array_append_new(all, v)) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

/* What a default is to be, by the kind that stands beside it. */
static enum shape
shape_of_default(struct file *f, const yaml_node_t *mapping)
{
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const char *key = scalar(yaml_document_get_node(&f->doc, pair->key));
        const char *kind = scalar(yaml_document_get_node(&f->doc, pair->value));
        if (!key || !kind || strcmp(key, "kind") != 0) {
            continue;
        }
        switch (er_param_kind_find(kind)) {
        case ER_PARAM_INTEGER:
        case ER_PARAM_NUMBER:
        case ER_PARAM_DURATION:
            return SHAPE_NUMBER;
        case ER_PARAM_BOOLEAN:
            return SHAPE_BOOL;
        case ER_PARAM_STRINGS:
            return SHAPE_TEXTS;
        case ER_PARAM_OBJECT:
            return SHAPE_ANY;
        default:
            return SHAPE_TEXT;
        }
    }
    return SHAPE_ANY;
}

static enum shape
shape_of_param(struct file *f, const yaml_node_t *mapping, const char *key)
{
    static const struct {
        const char *key;
        enum shape shape;
    } all[] = {
        {"required", SHAPE_BOOL}, {"secret", SHAPE_BOOL},   {"min", SHAPE_NUMBER},
        {"max", SHAPE_NUMBER},    {"choices", SHAPE_TEXTS},
    };
    if (strcmp(key, "default") == 0) {
        return shape_of_default(f, mapping);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].key, key) == 0) {
            return all[i].shape;
        }
    }
    return SHAPE_TEXT;
}

/* What a member of the definition is to be. */
static enum shape
shape_of_member(const char *key)
{
    enum er_json_kind kind;
    const char *member;
    if (strcmp(key, "parameters") == 0) {
        return SHAPE_PARAMS;
    }
    for (size_t i = 0; (member = er_type_json_member(i, &kind)) != NULL; i++) {
        if (strcmp(member, key) == 0) {
            return kind == ER_JSON_ARRAY                            ? SHAPE_TEXTS
                   : kind == ER_JSON_OBJECT                         ? SHAPE_MAP
                   : kind == ER_JSON_BOOL                           ? SHAPE_BOOL
                   : kind == ER_JSON_STRING || kind == ER_JSON_WORD ? SHAPE_TEXT
                                                                    : SHAPE_NUMBER;
        }
    }
    return SHAPE_TEXT;
}

/* The name under which a parameter's members are noted: by its name when it has one. */
static void
name_param(struct file *f, const yaml_node_t *mapping, const char *place, char *out,
           size_t size)
{
    (void)snprintf(out, size, "%s", place);
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const char *key = scalar(yaml_document_get_node(&f->doc, pair->key));
        const char *name = scalar(yaml_document_get_node(&f->doc, pair->value));
        if (key && name && strcmp(key, "name") == 0 && er_param_is_name(name)) {
            (void)snprintf(out, size, "params.%s", name);
            note(f, out, mapping);
        }
    }
}

static json_t *
convert_mapping(struct file *f, const yaml_node_t *node, enum shape shape,
                const char *name, int depth)
{
    char within[200];
    json_t *all = json_object();
    (void)snprintf(within, sizeof within, "%s", name);
    if (shape == SHAPE_PARAMS) {
        name_param(f, node, name, within, sizeof within);
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         all && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(&f->doc, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&f->doc, pair->value);
        const char *key = scalar(key_node);
        char place[240];
        json_t *v = NULL;
        if (!key || !value) {
            (void)fail_at(f, key_node ? key_node : node,
                          "the name of a member is a text");
        } else if (json_object_get(all, key)) {
            (void)fail_at(f, key_node, "%.80s: it is there twice: keep one of them", key);
        } else {
            (void)snprintf(place, sizeof place, "%s%s%.30s", within, *within ? "." : "",
                           key);
            note(f, place, key_node);
            enum shape inner = shape == SHAPE_PARAMS ? shape_of_param(f, node, key)
                               : shape == SHAPE_MAP  ? SHAPE_TEXT
                               : depth == 0          ? shape_of_member(key)
                                                     : SHAPE_ANY;
            v = convert(f, value, inner, place, depth + 1);
        }
        if (!v || json_object_set_new(all, key, v)) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

static json_t *
convert(struct file *f, const yaml_node_t *node, enum shape shape, const char *name,
        int depth)
{
    if (!node) {
        return json_null();
    }
    if (depth > ER_JSON_DEPTH || ++f->nodes > NODES_MAX) {
        return fail_at(f, node, "it is nested too deep, or too large");
    }
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return is_null(node) ? json_null() : convert_scalar(f, node, shape);
    case YAML_SEQUENCE_NODE:
        return convert_sequence(f, node, shape, name, depth);
    case YAML_MAPPING_NODE:
        return convert_mapping(f, node, shape, name, depth);
    case YAML_NO_NODE:
        break;
    }
    return json_null();
}

/* ---- files ---- */

static int
read_document(struct file *f, const char *name, struct er_type *out)
{
    const yaml_node_t *root = yaml_document_get_root_node(&f->doc);
    struct er_err why = {""};
    if (root && root->type != YAML_MAPPING_NODE && !is_null(root)) {
        (void)fail_at(f, root,
                      "a definition is a list of members, a line each: "
                      "help: fetches a page");
        return ER_EINVALID;
    }
    json_t *o =
        root && !is_null(root) ? convert(f, root, SHAPE_ANY, "", 0) : json_object();
    if (!o) {
        return ER_EINVALID;
    }
    if (json_object_get(o, "origin")) {
        json_decref(o);
        return er_fail(f->err, ER_EINVALID, "%.200s:%zu: unknown member 'origin'",
                       f->path, line_of(f, "origin "));
    }
    int rc = er_type_json_read(name, o, f->arena, out, &why);
    json_decref(o);
    if (rc) {
        /* "unknown member 'x'" names it, too, but not first */
        const char *quote =
            strncmp(why.text, "unknown member '", 16) == 0 ? why.text + 16 : why.text;
        char first[200];
        (void)snprintf(first, sizeof first, "%.*s ", (int)strcspn(quote, " '"), quote);
        return er_fail(f->err, rc, "%.200s:%zu: %s", f->path, line_of(f, first),
                       why.text);
    }
    return 0;
}

static int
fail_yaml(const struct file *f, const yaml_parser_t *parser)
{
    return er_fail(f->err, ER_EINVALID, "%.200s:%zu: this is not YAML: %s%s%s", f->path,
                   parser->problem_mark.line + 1, parser->context ? parser->context : "",
                   parser->context ? ", " : "",
                   parser->problem ? parser->problem : "it cannot be read");
}

/* Whether another document follows, which is told. */
static int
check_end(struct file *f, yaml_parser_t *parser)
{
    yaml_document_t more;
    if (!yaml_parser_load(parser, &more)) {
        return fail_yaml(f, parser);
    }
    const yaml_node_t *root = yaml_document_get_root_node(&more);
    if (root) {
        (void)fail_at(f, root, "a second document begins here: a file is one type");
    }
    yaml_document_delete(&more);
    return root ? ER_EINVALID : 0;
}

static int
read_text(struct file *f, const struct er_buf *text, const char *name,
          struct er_type *out)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return er_fail(f->err, ER_ENOMEM, "out of memory");
    }
    yaml_parser_set_input_string(
        &parser, (const unsigned char *)(text->data ? text->data : ""), text->len);
    int rc;
    if (!yaml_parser_load(&parser, &f->doc)) {
        rc = fail_yaml(f, &parser);
    } else {
        rc = read_document(f, name, out);
        yaml_document_delete(&f->doc);
        rc = rc ? rc : check_end(f, &parser);
    }
    yaml_parser_delete(&parser);
    return rc;
}

int
er_config_type_read(const char *path, struct er_arena *arena, struct er_type *out,
                    struct er_err *err)
{
    const char *slash = strrchr(path, '/');
    char name[ER_PARAM_NAME_MAX + 1];
    struct er_buf text;
    struct file f = {.path = path, .arena = arena, .err = err};
    if (!er_config_type_name(slash ? slash + 1 : path, name)) {
        return er_fail(err, ER_EINVALID,
                       "%.300s: the file of a type is called NAME.yml, with the name of "
                       "the type: letters, digits, '.', '_' and '-'",
                       path);
    }
    const char *kept = er_arena_strdup(arena, name);
    if (!kept) {
        return er_fail(err, ER_ENOMEM, "out of memory");
    }
    er_buf_init(&text, FILE_MAX);
    int rc = er_read_file(path, &text, err);
    rc = rc ? rc : read_text(&f, &text, kept, out);
    er_buf_fini(&text);
    return rc;
}
