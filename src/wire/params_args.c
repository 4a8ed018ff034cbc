/* SPDX-License-Identifier: MIT */
/* What is done with arguments that were checked: shown without what is secret, put into
 * the words of a command. Apart from the check, so that who only executes links no
 * patterns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/params.h"

json_t *
er_params_mask(const struct er_param *params, size_t n, const json_t *args)
{
    json_t *shown = json_copy((json_t *)(uintptr_t)args);
    for (size_t i = 0; shown && i < n; i++) {
        if (params[i].secret && json_object_get(shown, params[i].name) &&
            json_object_set_new(shown, params[i].name, json_string("***"))) {
            json_decref(shown);
            return NULL;
        }
    }
    return shown;
}

/* ---- templates ---- */

/* A piece of a word: a name between braces, or text. */
struct piece {
    const char *at;
    size_t n;
    bool is_name;
};

/* The piece at *p, which it moves behind it; 0 at the end of the word, else 1. */
static int
next_piece(const char **p, struct piece *out, const char *word, struct er_err *err)
{
    const char *s = *p;
    size_t n = strcspn(s, "{}");
    if (*s == '\0') {
        return 0;
    }
    if (n > 0) {
        *out = (struct piece){s, n, false};
        *p = s + n;
        return 1;
    }
    if (s[1] == s[0]) { /* {{ and }} */
        *out = (struct piece){s, 1, false};
        *p = s + 2;
        return 1;
    }
    size_t len = strcspn(s + 1, "{}");
    if (*s == '}' || s[len + 1] != '}' || len == 0 || len > ER_PARAM_NAME_MAX) {
        return er_fail(err, ER_EINVALID,
                       "a brace in '%.100s' belongs to no {NAME} ({{ and }} are braces)",
                       word);
    }
    *out = (struct piece){s + 1, len, true};
    *p = s + len + 2;
    return 1;
}

/* The name when the word is {NAME} alone; *alone is false otherwise. */
static bool
is_alone(const char *word, struct piece *out)
{
    const char *p = word;
    return next_piece(&p, out, word, NULL) == 1 && out->is_name && *p == '\0';
}

static const json_t *
argument(const json_t *args, const struct piece *piece)
{
    char name[ER_PARAM_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "%.*s", (int)piece->n, piece->at);
    return json_object_get(args, name);
}

/* A number without an exponent where that is possible. */
static void
add_real(struct er_buf *b, double v)
{
    char text[40];
    (void)snprintf(text, sizeof text, fabs(v) < 1e15 ? "%.6f" : "%.17g", v);
    char *dot = strchr(text, '.');
    for (size_t n = strlen(text); dot && n > 0 && strchr("0.", text[n - 1]); n--) {
        bool end = text[n - 1] == '.';
        text[n - 1] = '\0';
        if (end) {
            break;
        }
    }
    double back = strtod(text, NULL);
    if (back < v || back > v) { /* finer than a millionth */
        (void)snprintf(text, sizeof text, "%.17g", v);
    }
    er_buf_add_str(b, text);
}

static int
add_value(struct er_buf *b, const json_t *v, const char *name, struct er_err *err)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        er_buf_add(b, json_string_value(v), json_string_length(v));
        return 0;
    case JSON_INTEGER:
        er_buf_add_i64(b, json_integer_value(v));
        return 0;
    case JSON_REAL:
        add_real(b, json_real_value(v));
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        er_buf_add_str(b, json_is_true(v) ? "true" : "false");
        return 0;
    case JSON_NULL:
        return 0;
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    return er_fail(err, ER_EINVALID, "{%.100s} is %s, which has no place within a word",
                   name, json_is_array(v) ? "an array" : "an object");
}

struct expansion {
    struct er_arena *arena;
    char **words;
    size_t n, size;
    size_t bytes; /* of all words */
    struct er_err *err;
};

static int
push(struct expansion *x, const char *text, size_t len)
{
    if (x->n + 1 >= x->size) {
        size_t size = x->size ? 2 * x->size : 16;
        char **more = er_arena_alloc(x->arena, size * sizeof *more);
        if (!more) {
            return er_fail(x->err, ER_ENOMEM, "out of memory");
        }
        if (x->n > 0) {
            memcpy(more, x->words, x->n * sizeof *more);
        }
        x->words = more;
        x->size = size;
    }
    char *copy = er_arena_memdup(x->arena, len ? text : "", len);
    if (!copy) {
        return er_fail(x->err, ER_ENOMEM, "out of memory");
    }
    x->bytes += len;
    if (x->bytes > ER_PARAMS_EXPANDED_MAX) {
        return er_fail(x->err, ER_ETOOBIG,
                       "its words are longer than %zu MiB in all with the arguments in "
                       "them",
                       ER_PARAMS_EXPANDED_MAX >> 20);
    }
    x->words[x->n++] = copy;
    return 0;
}

static int
push_buf(struct expansion *x, struct er_buf *b, int rc)
{
    rc = rc == 0 && b->failed ? er_fail(x->err, b->failed, "a word is too long") : rc;
    rc = rc ? rc : push(x, b->data, b->len);
    er_buf_fini(b);
    return rc;
}

/* A word that is one argument: none, one or several. */
static int
expand_alone(struct expansion *x, const json_t *v)
{
    size_t i;
    const json_t *one;
    struct er_buf b;
    int rc = 0;
    if (!v || json_is_null(v)) {
        return 0;
    }
    if (json_is_array(v)) {
        json_array_foreach(v, i, one)
        {
            er_buf_init(&b, ER_PARAMS_EXPANDED_MAX);
            rc = rc ? rc : push_buf(x, &b, add_value(&b, one, "an element", x->err));
        }
        return rc;
    }
    er_buf_init(&b, ER_PARAMS_EXPANDED_MAX);
    if (json_is_object(v)) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(15));
        er_buf_add_str(&b, text ? text : "{}");
        free(text);
    } else {
        rc = add_value(&b, v, "", x->err);
    }
    return push_buf(x, &b, rc);
}

static int
expand_within(struct expansion *x, const char *word, const json_t *args)
{
    struct piece piece;
    struct er_buf b;
    const char *p = word;
    int more, rc = 0;
    er_buf_init(&b, ER_PARAMS_EXPANDED_MAX);
    while (rc == 0 && (more = next_piece(&p, &piece, word, x->err)) != 0) {
        char name[ER_PARAM_NAME_MAX + 1] = "";
        const json_t *v = NULL;
        if (more < 0) {
            rc = more;
        } else if (!piece.is_name) {
            er_buf_add(&b, piece.at, piece.n);
        } else {
            (void)snprintf(name, sizeof name, "%.*s", (int)piece.n, piece.at);
            v = json_object_get(args, name);
            rc = v ? add_value(&b, v, name, x->err)
                   : er_fail(x->err, ER_EINVALID,
                             "there is no argument for {%s} in '%.100s'", name, word);
        }
    }
    return push_buf(x, &b, rc);
}

int
er_params_expand(const char *const *words, size_t n_words, const json_t *args,
                 struct er_arena *arena, char ***out, size_t *out_n, struct er_err *err)
{
    struct expansion x = {.arena = arena, .err = err};
    struct piece piece;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_words; i++) {
        rc = is_alone(words[i], &piece) ? expand_alone(&x, argument(args, &piece))
                                        : expand_within(&x, words[i], args);
    }
    if (rc == 0 && x.n == 0) { /* the NULL at the end has its place all the same */
        x.words = er_arena_alloc(arena, sizeof *x.words);
        rc = x.words ? 0 : er_fail(err, ER_ENOMEM, "out of memory");
    }
    if (rc == 0) {
        x.words[x.n] = NULL;
        *out = x.words;
        *out_n = x.n;
    }
    return rc;
}

/* ---- templates at their definition ---- */

static const struct er_param *
find(const struct er_param *params, size_t n, const struct piece *piece)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(params[i].name) == piece->n &&
            memcmp(params[i].name, piece->at, piece->n) == 0) {
            return &params[i];
        }
    }
    return NULL;
}

static int
check_name(const struct er_param *p, const struct piece *piece, const char *word,
           bool whole, struct er_err *err)
{
    if (!p) {
        return er_fail(err, ER_EINVALID, "{%.*s} in '%.100s' is no parameter",
                       (int)piece->n, piece->at, word);
    }
    if (!whole && (p->kind == ER_PARAM_STRINGS || p->kind == ER_PARAM_OBJECT)) {
        return er_fail(err, ER_EINVALID,
                       "{%s} is of kind %s, which has no place within '%.100s': make it "
                       "a word of its own",
                       p->name, er_param_kind_word(p->kind), word);
    }
    if (!whole && !p->required && !p->default_json) {
        return er_fail(err, ER_EINVALID,
                       "{%s} in '%.100s' may be absent: make it required, give it a "
                       "default, or a word of its own",
                       p->name, word);
    }
    return 0;
}

int
er_params_check_word(const struct er_param *params, size_t n, const char *word,
                     bool must_be, struct er_err *err)
{
    struct piece piece;
    const char *p = word;
    bool whole = !must_be && is_alone(word, &piece);
    for (;;) {
        int rc = next_piece(&p, &piece, word, err);
        if (rc == 0) {
            return 0;
        }
        if (rc == 1) {
            rc = piece.is_name
                     ? check_name(find(params, n, &piece), &piece, word, whole, err)
                     : 0;
        }
        if (rc) {
            return rc;
        }
    }
}

int
er_params_check_stdin(const struct er_param *params, size_t n, const char *text,
                      struct er_err *err)
{
    struct piece piece;
    const struct er_param *p = is_alone(text, &piece) ? find(params, n, &piece) : NULL;
    return er_params_check_word(params, n, text, p && p->kind == ER_PARAM_STRINGS, err);
}
