/* SPDX-License-Identifier: MIT */
/* The arguments of a task: checked by its type's parameters and stored as these want them
 * (defaults filled in, durations in seconds), and the name of a task that has none. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/draft.h"
#include "base/mem.h"
#include "model/duration.h"
#include "model/shell_words.h"
#include "wire/params.h"

#define NAMED     ((size_t)4)  /* arguments that a name shows at most */
#define NAMED_MAX ((size_t)40) /* bytes of each */

/* ---- names ---- */

/* What is shown of one value: the first line of a text, how many of an array. */
static void
add_value(struct er_buf *b, const struct er_param *p, const json_t *v)
{
    const char *text = json_string_value(v);
    char number[40];
    if (p && p->kind == ER_PARAM_DURATION && json_is_number(v)) {
        er_duration_encode((er_usec)(json_number_value(v) * 1e6 + 0.5), b);
    } else if (text) {
        size_t n = strcspn(text, "\r\n"), most = NAMED_MAX;
        if (n > most) {
            while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) {
                most--;
            }
            er_buf_add(b, text, most);
            er_buf_add_str(b, "…");
        } else {
            er_buf_add(b, text, n);
        }
    } else if (json_is_array(v)) {
        er_buf_addf(b, "[%zu]", json_array_size(v));
    } else if (json_is_boolean(v)) {
        er_buf_add_str(b, json_is_true(v) ? "yes" : "no");
    } else if (json_is_number(v)) {
        (void)snprintf(number, sizeof number, "%.15g", json_number_value(v));
        er_buf_add_str(b, number);
    } else {
        er_buf_add_str(b, "{}");
    }
}

/* Whether the argument is only what it would be without having been given. */
static bool
is_default(const struct er_param *p, const json_t *v)
{
    struct er_params_fault fault;
    json_t *none = json_object(), *plain = NULL;
    bool same = p->default_json && !er_params_check(p, 1, none, &plain, &fault) &&
                json_equal(json_object_get(plain, p->name), v);
    json_decref(plain);
    json_decref(none);
    return same;
}

/* Required ones by themselves, others as name=value. */
static char *
word_of(const struct er_param *p, const char *name, const json_t *v)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    if (!p || !p->required) {
        er_buf_add_str(&b, name);
        er_buf_add_char(&b, '=');
    }
    if (p && p->secret) {
        er_buf_add_str(&b, "***");
    } else {
        add_value(&b, p, v);
    }
    return er_buf_take(&b);
}

/* "TYPE" and its first arguments, in the order of the parameters. */
static int
name_type(struct er_draft *d, const struct er_type *t, const json_t *args)
{
    const char *words[NAMED + 1] = {t->name};
    char *own[NAMED];
    size_t n = 0;
    const char *key;
    json_t *v;
    struct er_buf b;
    for (size_t i = 0; i < t->n_params && n < NAMED; i++) {
        v = json_object_get(args, t->params[i].name);
        if (v && !is_default(&t->params[i], v)) {
            own[n++] = word_of(&t->params[i], t->params[i].name, v);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)args, key, v)
    {
        if (!t->has_params && n < NAMED) {
            own[n++] = word_of(NULL, key, v);
        }
    }
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        words[i + 1] = own[i] ? own[i] : "";
        failed = failed || !own[i];
    }
    er_buf_init(&b, 0);
    er_shell_words_name(&b, words, n + 1);
    d->row->name = failed || b.failed
                       ? NULL
                       : er_arena_memdup(d->arena, b.data ? b.data : "", b.len);
    er_buf_fini(&b);
    for (size_t i = 0; i < n; i++) {
        er_free(own[i]);
    }
    return d->row->name ? 0 : ER_ENOMEM;
}

/* ---- arguments ---- */

/* Whether 15 digits say all numbers in it. */
static bool
is_short(const json_t *v)
{
    char text[40];
    const char *key;
    json_t *one;
    size_t i;
    if (json_is_real(v)) {
        (void)snprintf(text, sizeof text, "%.15g", json_real_value(v));
        return fabs(strtod(text, NULL) - json_real_value(v)) <= 0;
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, one)
    {
        if (!is_short(one)) {
            return false;
        }
    }
    json_array_foreach(v, i, one)
    {
        if (!is_short(one)) {
            return false;
        }
    }
    return true;
}

/* Names the argument that makes the most of it, where there are several. */
static int
refuse_size(struct er_draft *d, const json_t *args, size_t len)
{
    const char *name = er_draft_args_member(d), *key, *largest = NULL;
    json_t *v;
    size_t most = 0;
    json_object_foreach((json_t *)(uintptr_t)args, key, v)
    {
        size_t n = json_dumpb(v, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
        largest = n > most ? key : largest;
        most = n > most ? n : most;
    }
    return er_draft_bad(d, name,
                        "%s is %zu bytes long as JSON (at most %d): '%.60s' has %zu",
                        name, len, ER_MAX_ARGS, largest ? largest : "", most);
}

static int
keep(struct er_draft *d, const json_t *args)
{
    char *text = json_dumps(
        args, JSON_COMPACT | (size_t)(is_short(args) ? JSON_REAL_PRECISION(15) : 0));
    size_t len = text ? strlen(text) : 0;
    int rc = text ? 0 : ER_ENOMEM;
    if (rc == 0 && len > ER_MAX_ARGS) {
        rc = refuse_size(d, args, len);
    }
    if (rc == 0) {
        d->row->args_json = er_arena_memdup(d->arena, text, len);
        rc = d->row->args_json ? 0 : ER_ENOMEM;
    }
    free(text);
    return rc;
}

static int
failed(struct er_draft *d, int rc, const struct er_params_fault *fault)
{
    if (rc) {
        d->err = fault->err;
        (void)snprintf(d->field, sizeof d->field, "%.79s",
                       *fault->field ? fault->field : er_draft_args_member(d));
    }
    return rc;
}

/* What is read of args or args_text for these parameters; *out is a new reference. */
static int
check(struct er_draft *d, const struct er_param *params, size_t n, json_t **out)
{
    struct er_params_fault fault = {"", {""}};
    json_t *none = json_object();
    int rc = d->args_text
                 ? er_params_check_text(params, n, d->args_text, out, &fault)
                 : er_params_check(params, n, d->args ? d->args : none, out, &fault);
    json_decref(none);
    return failed(d, rc, &fault);
}

static int
read_typed(struct er_draft *d, const struct er_type *t, json_t **out)
{
    if (t->has_params) {
        return check(d, t->params, t->n_params, out);
    }
    const json_t *given = d->args ? d->args : d->args_text;
    *out = given ? json_incref((json_t *)(uintptr_t)given) : json_object();
    return *out ? 0 : ER_ENOMEM;
}

/* As texts, for args_text; what they mean together is er_draft_check_shell's. */
static const struct er_param shell_params[] = {
    {.name = "argv", .kind = ER_PARAM_STRINGS},
    {.name = "command", .kind = ER_PARAM_STRING},
    {.name = "stdin", .kind = ER_PARAM_STRING},
    {.name = "stdin_base64", .kind = ER_PARAM_STRING},
    {.name = "stdin_file", .kind = ER_PARAM_STRING},
    {.name = "input", .kind = ER_PARAM_BOOLEAN},
};
#define N_SHELL (sizeof shell_params / sizeof *shell_params)

static int
read_shell(struct er_draft *d, json_t **out)
{
    if (!d->args && !d->args_text) {
        return er_draft_bad(d, "args",
                            "args is missing: {\"argv\": [\"make\"]} or {\"command\": "
                            "\"make\"}");
    }
    if (d->args_text) {
        int rc = check(d, shell_params, N_SHELL, out);
        return rc ? rc : er_draft_check_shell(d, *out);
    }
    *out = json_incref((json_t *)(uintptr_t)d->args);
    return er_draft_check_shell(d, *out);
}

int
er_draft_read_args(struct er_draft *d, const struct er_type *t)
{
    bool is_shell = strcmp(t->name, "shell") == 0;
    bool is_named = d->row->name && *d->row->name;
    json_t *args = NULL;
    if (d->args && d->args_text) {
        return er_draft_bad(d, "args_text",
                            "args and args_text are both given: choose one");
    }
    int rc = is_shell ? read_shell(d, &args) : read_typed(d, t, &args);
    rc = rc ? rc : keep(d, args);
    if (rc == 0 && !is_named) {
        rc = is_shell ? er_draft_name_shell(d, args) : name_type(d, t, args);
    }
    json_decref(args);
    return rc;
}
