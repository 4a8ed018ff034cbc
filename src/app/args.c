/* SPDX-License-Identifier: MIT */
/* Happy path: KEY=TEXT alone becomes `args_text`, and nothing is asked before the submit.
 * With KEY:=JSON alone, or one object, it is `args`. Only where the two are mixed, or a
 * word has no name, the type's parameters are looked at first: a type that has some gets
 * texts, since the daemon reads JSON out of them where that is asked for; one that has
 * none gets the values as they are.
 *
 * Failure modes: what is not UTF-8, given twice, or has no parameter to go to is refused
 * before anything is sent; what the parameters do not allow is refused by the daemon. */
#include "app/args.h"

#include <stdlib.h>
#include <string.h>

#include "app/daemon.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/task.h"
#include "wire/json_dump.h"

struct args {
    struct er_app *app;
    const char *name; /* of the type */
    json_t **type;    /* *type: what the daemon says of it; NULL = not asked yet */
    json_t *values;   /* by name, strings and JSON values */
    json_t *raw;      /* the names of those that were given as JSON */
    const char *word; /* the one without a name; NULL = there was none */
    struct er_err *err;
};

int
er_args_type(struct er_app *app, const char *name, json_t **out, struct er_err *err)
{
    struct er_buf target;
    er_buf_init(&target, 0);
    er_buf_add_str(&target, "/v1/types/");
    er_daemon_segment(&target, name);
    int rc = er_daemon_get(app, target.data, out, err);
    er_buf_fini(&target);
    return rc;
}

bool
er_args_is_required(const json_t *parameter)
{
    return er_json_bool(parameter, "required");
}

/* The type's parameters, or NULL when it takes anything. */
static int
get_parameters(struct args *a, const json_t **out)
{
    int rc = *a->type ? 0 : er_args_type(a->app, a->name, a->type, a->err);
    if (!rc) {
        const json_t *list = json_object_get(*a->type, "parameters");
        *out = json_is_array(list) ? list : NULL;
    }
    return rc;
}

/* How long the name is with which an argument begins: 0 when it is no KEY=VALUE. */
static size_t
key_length(const char *arg)
{
    size_t n = 0;
    while ((arg[n] >= 'a' && arg[n] <= 'z') || (arg[n] >= 'A' && arg[n] <= 'Z') ||
           (n > 0 && arg[n] >= '0' && arg[n] <= '9') || arg[n] == '_' ||
           (n > 0 && (arg[n] == '-' || arg[n] == '.'))) {
        n++;
    }
    return arg[n] == '=' || (arg[n] == ':' && arg[n + 1] == '=') ? n : 0;
}

/* ---- values ---- */

/* Reads a value: itself, or the file that it names. */
static int
read_value(struct args *a, const char *text, struct er_buf *out)
{
    if (text[0] != '@' || text[1] == '@') {
        er_buf_add_str(out, text + (text[0] == '@'));
        return 0;
    }
    if (!text[1]) {
        return er_fail(
            a->err, ER_EINVALID,
            "'@' names no file: write @FILE, or @@ for a text that begins with @");
    }
    const char *path = strcmp(text, "@-") == 0 ? "/dev/stdin" : text + 1;
    int rc = er_read_file(path, out, a->err);
    return rc == ER_ETOOBIG ? er_fail(a->err, rc, "'%.300s' is larger than 1 MiB", path)
                            : rc;
}

/* Makes a JSON value of the text of an argument. */
static int
make_value(struct args *a, const char *key, const char *text, bool raw, json_t **out)
{
    json_error_t why;
    struct er_buf b;
    er_buf_init(&b, ER_MAX_ARGS);
    int rc = read_value(a, text, &b);
    const char *data = b.data ? b.data : "";
    if (!rc) {
        *out =
            raw ? json_loadb(data, b.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why)
                : json_stringn(data, b.len);
    }
    if (!rc && !*out) {
        rc = er_fail(a->err, ER_EINVALID, "the value of '%.60s' is not %s", key,
                     raw ? "JSON" : "UTF-8");
    }
    er_buf_fini(&b);
    return rc;
}

/* Takes one named argument. */
static int
take(struct args *a, const char *key, const char *text, bool raw)
{
    json_t *v;
    if (json_object_get(a->values, key)) {
        return er_fail(a->err, ER_EINVALID, "the argument '%.60s' is given twice", key);
    }
    int rc = make_value(a, key, text, raw, &v);
    if (rc) {
        return rc;
    }
    if (raw) {
        (void)json_object_set_new(a->raw, key, json_true());
    }
    return json_object_set_new(a->values, key, v)
               ? er_fail(a->err, ER_ENOMEM, "out of memory")
               : 0;
}

/* ---- a word without a name ---- */

/* Adds "url, method": the parameters, or those that are required; says how many. */
static size_t
list_names(const json_t *parameters, bool required, struct er_buf *b)
{
    size_t i, n = 0;
    const json_t *p;
    json_array_foreach(parameters, i, p)
    {
        const char *name = er_json_text(p, "name");
        if (name && (!required || er_args_is_required(p))) {
            er_buf_add_str(b, n++ > 0 ? ", " : "");
            er_buf_add_str(b, name);
        }
    }
    return n;
}

/* Why the word can be no argument of the type. */
static int
refuse_word(struct args *a, const json_t *parameters)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    if (parameters && json_array_size(parameters) == 0) {
        (void)er_fail(a->err, ER_EINVALID,
                      "'%.100s' is too much: type '%.60s' takes no arguments", a->word,
                      a->name);
    } else if (parameters) {
        size_t n = list_names(parameters, true, &b);
        if (n == 0) {
            (void)list_names(parameters, false, &b);
        }
        (void)er_fail(
            a->err, ER_EINVALID,
            "'%.100s' is no argument: write KEY=TEXT or KEY:=JSON (type '%.60s' %s "
            "%.300s)",
            a->word, a->name, n > 0 ? "requires" : "takes", b.data ? b.data : "");
    } else {
        (void)er_fail(
            a->err, ER_EINVALID,
            "'%.100s' is no argument: write KEY=TEXT, KEY:=JSON, or one JSON object",
            a->word);
    }
    er_buf_fini(&b);
    return ER_EINVALID;
}

/* Gives the word to the only parameter that is required. */
static int
place_word(struct args *a)
{
    const json_t *parameters, *p;
    const char *key = NULL;
    size_t i, required = 0;
    int rc = get_parameters(a, &parameters);
    if (rc) {
        return rc;
    }
    json_array_foreach(parameters, i, p)
    {
        if (er_args_is_required(p)) {
            required++;
            key = er_json_text(p, "name");
        }
    }
    if (required != 1 || !key) {
        return refuse_word(a, parameters);
    }
    return take(a, key, a->word, false);
}

static int
take_word(struct args *a, const char *text)
{
    if (a->word) {
        return er_fail(a->err, ER_EINVALID,
                       "'%.100s' and '%.100s': only one argument can be without its name",
                       a->word, text);
    }
    a->word = text;
    return place_word(a);
}

/* ---- all of them ---- */

static int
take_all(struct args *a, int n, char **args)
{
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        size_t len = key_length(args[i]);
        if (len == 0) {
            rc = take_word(a, args[i]);
            continue;
        }
        bool raw = args[i][len] == ':';
        char *key = er_xstrndup(args[i], len);
        rc = take(a, key, args[i] + len + raw + 1, raw);
        er_free(key);
    }
    return rc;
}

/* Makes texts of the JSON values; null is as if it had not been given. */
static void
make_texts(struct args *a)
{
    const char *key;
    json_t *ignored;
    json_object_foreach(a->raw, key, ignored)
    {
        const json_t *v = json_object_get(a->values, key);
        if (json_is_null(v)) {
            (void)json_object_del(a->values, key);
        } else if (!json_is_string(v)) {
            char *text = er_json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
            (void)json_object_set_new(a->values, key, json_string(text));
            free(text);
        }
    }
}

static void
add_member(struct er_buf *b, bool texts, const json_t *values)
{
    char *text = er_json_dumps(values, JSON_COMPACT);
    er_buf_add_str(b, texts ? "\"args_text\":" : "\"args\":");
    er_buf_add_str(b, text ? text : "{}");
    free(text);
}

static int
add_pairs(struct args *a, int n, char **args, struct er_buf *b)
{
    const json_t *parameters = NULL;
    int rc = take_all(a, n, args);
    size_t all = json_object_size(a->values), raw = json_object_size(a->raw);
    if (!rc && raw > 0 && raw < all) {
        rc = get_parameters(a, &parameters);
    }
    if (rc) {
        return rc;
    }
    if (parameters) {
        make_texts(a);
    }
    add_member(b, parameters || (raw == 0 && all > 0), a->values);
    return 0;
}

static int
add_object(const char *text, struct er_buf *b, struct er_err *err)
{
    json_error_t why;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        return er_fail(
            err, ER_EINVALID,
            "the arguments are not a JSON object: %s (at character %d; a text that "
            "begins with { is written KEY=TEXT)",
            why.text, why.position);
    }
    add_member(b, false, o);
    json_decref(o);
    return 0;
}

int
er_args_add(struct er_app *app, const char *name, json_t **type, int n, char **args,
            struct er_buf *b, struct er_err *err)
{
    if (n == 1 && args[0][0] == '{') {
        return add_object(args[0], b, err);
    }
    struct args a = {.app = app,
                     .name = name,
                     .type = type,
                     .values = json_object(),
                     .raw = json_object(),
                     .err = err};
    int rc = add_pairs(&a, n, args, b);
    json_decref(a.values);
    json_decref(a.raw);
    return rc;
}
