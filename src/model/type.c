/* SPDX-License-Identifier: MIT */
/* A copy either has everything or is not to be used (ER_ENOMEM; what was taken of the
 * arena goes with it). */
#include "model/type.h"

#include <string.h>

static const char *const words[] = {
    "default", "completed", "retryable", "fatal", "user-actionable", "rate-limit",
};

const char *
er_exit_means_word(enum er_exit_means v)
{
    return (size_t)v < sizeof words / sizeof *words ? words[v] : "default";
}

int
er_exit_means_find(const char *word)
{
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

void
er_type_init(struct er_type *t, const char *name)
{
    *t = (struct er_type){.name = name,
                          .retries = -1,
                          .backoff_for = -1,
                          .success_percent = ER_SUCCESS_PERCENT,
                          .rate_limit_for = ER_RATE_LIMIT_FOR};
    t->exits[ER_EX_TEMPFAIL] = ER_EXIT_RETRYABLE;
}

bool
er_type_is_executed(const struct er_type *t)
{
    return t->command || t->program || t->handler;
}

/* ---- copies ---- */

struct copier {
    struct er_arena *arena;
    bool failed;
};

static const char *
copy_text(struct copier *c, const char *text)
{
    char *copy = er_arena_strdup(c->arena, text);
    c->failed = c->failed || (text && !copy);
    return copy;
}

/* An array of texts, or NULL. */
static const char **
copy_texts(struct copier *c, const char *const *texts, size_t n)
{
    const char **copy = texts ? er_arena_alloc(c->arena, (n + 1) * sizeof *copy) : NULL;
    c->failed = c->failed || (texts && !copy);
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = copy_text(c, texts[i]);
    }
    return copy;
}

static struct er_param *
copy_params(struct copier *c, const struct er_param *params, size_t n)
{
    struct er_param *copy = n > 0 ? er_arena_alloc(c->arena, n * sizeof *copy) : NULL;
    c->failed = c->failed || (n > 0 && !copy);
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = params[i];
        copy[i].name = copy_text(c, params[i].name);
        copy[i].default_json = copy_text(c, params[i].default_json);
        copy[i].pattern = copy_text(c, params[i].pattern);
        copy[i].help = copy_text(c, params[i].help);
        copy[i].choices = copy_texts(c, params[i].choices, params[i].n_choices);
    }
    return copy;
}

int
er_type_copy(const struct er_type *t, struct er_arena *arena, struct er_type *out)
{
    struct copier c = {.arena = arena};
    struct er_type copy = *t;
    copy.name = copy_text(&c, t->name);
    copy.help = copy_text(&c, t->help);
    copy.params = copy_params(&c, t->params, t->n_params);
    copy.command = copy_texts(&c, t->command, t->n_command);
    copy.command_stdin = copy_text(&c, t->command_stdin);
    copy.program = copy_texts(&c, t->program, t->n_program);
    if (c.failed) {
        return ER_ENOMEM;
    }
    *out = copy;
    return 0;
}

enum er_exit_means
er_type_exit(const struct er_type *t, int exit_code)
{
    enum er_exit_means m = ER_EXIT_DEFAULT;
    if (exit_code >= 0 && exit_code < 256) {
        m = (enum er_exit_means)t->exits[exit_code];
    }
    if (m != ER_EXIT_DEFAULT) {
        return m;
    }
    return exit_code == 0 ? ER_EXIT_COMPLETED : ER_EXIT_RETRYABLE;
}
