/* SPDX-License-Identifier: MIT */
/* er_command_make reads the order into an arena: argv, envp, folder, standard input.
 * What the order lacks or has in another kind (a newer daemon's) is an error with words,
 * and fails the attempt before anything is started; so does memory that is out. Whether
 * the program exists is found out by the exec. */
#include "work/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "work/given.h"

#define DEFAULT_SEARCH "/usr/local/bin:/usr/bin:/bin"

/* What we set ourselves; a submitter's variable of that name is left out. */
static const char *const our_names[] = {
    "ERRAND_COOKIE",      "ERRAND_TASK_ID",        "ERRAND_ATTEMPT",    "ERRAND_SOCKET",
    "ERRAND_PROGRESS_FD", "ERRAND_CORRELATION_ID", "ERRAND_CHECKPOINT",
};
#define OUR_NAMES (sizeof our_names / sizeof *our_names)

/* Files that the daemon gives to some (given.h): one of a task that submits another is
 * not the other's. */
static const char *const given_names[] = {"ERRAND_ITEMS_DONE", "ERRAND_AFTER_RESULTS"};
#define GIVEN_NAMES (sizeof given_names / sizeof *given_names)

static bool
is_in(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool
er_command_sets(const char *name)
{
    return is_in(name, our_names, OUR_NAMES);
}

/* "name=value" in the arena; NULL when memory is out. */
static char *
make_var(struct er_arena *arena, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value);
    char *var = er_arena_alloc(arena, n + v + 2);
    if (var) {
        memcpy(var, name, n);
        var[n] = '=';
        memcpy(var + n + 1, value, v + 1);
    }
    return var;
}

struct er_env *
er_env_new(int64_t id, const json_t *vars)
{
    struct er_env *env = er_zalloc(sizeof *env);
    if (!env || !json_is_object(vars)) {
        er_free(env);
        return NULL;
    }
    env->id = id;
    env->vars =
        er_arena_alloc(&env->arena, (json_object_size(vars) + 1) * sizeof(char *));
    const char *name;
    json_t *value;
    bool ok = env->vars != NULL;
    json_object_foreach((json_t *)(uintptr_t)vars, name, value)
    {
        if (!ok || !json_is_string(value)) {
            ok = false;
            break;
        }
        if (name[0] == '\0' || strchr(name, '=') || er_command_sets(name) ||
            is_in(name, given_names, GIVEN_NAMES)) {
            continue;
        }
        char *var = make_var(&env->arena, name, json_string_value(value));
        ok = var != NULL;
        if (ok && strcmp(name, "PATH") == 0) {
            env->path = var + 5;
        }
        env->vars[env->n++] = var;
    }
    if (!ok) {
        er_env_free(env);
        return NULL;
    }
    return env;
}

void
er_env_free(struct er_env *env)
{
    if (env) {
        er_arena_free(&env->arena);
        er_free(env);
    }
}

void
er_cookie_format(char out[ER_COOKIE_SIZE], const char *token, er_task_id task,
                 int attempt)
{
    (void)snprintf(out, ER_COOKIE_SIZE, "%s.%lld.%d", token, (long long)task, attempt);
}

/* Whether a "NAME=value" of the submitter has the name of a file that is given. */
static bool
is_given(const struct er_given *list, const char *var)
{
    for (const struct er_given *g = list; g; g = g->next) {
        size_t n = strlen(g->name);
        if (strncmp(var, g->name, n) == 0 && var[n] == '=') {
            return true;
        }
    }
    return false;
}

static int
make_envp(struct er_command *c, struct er_arena *arena, const struct er_command_order *o)
{
    char cookie[ER_COOKIE_SIZE], task[24], attempt[16], fd[16];
    er_cookie_format(cookie, o->token, o->task, o->attempt);
    (void)snprintf(task, sizeof task, "%lld", (long long)o->task);
    (void)snprintf(attempt, sizeof attempt, "%d", o->attempt);
    (void)snprintf(fd, sizeof fd, "%d", ER_PROGRESS_CHILD_FD);
    /* in the order of our_names: the cookie first, where it is found soonest */
    const char *correlation_id =
        json_string_value(json_object_get(o->run, "correlation_id"));
    const char *values[OUR_NAMES] = {cookie, task,           attempt,      o->socket_path,
                                     fd,     correlation_id, o->checkpoint};
    size_t n = o->env ? o->env->n : 0, at = 0, given = 0;
    for (const struct er_given *g = o->given; g; g = g->next) {
        given++;
    }
    c->envp = er_arena_alloc(arena, (n + given + OUR_NAMES + 1) * sizeof(char *));
    if (!c->envp) {
        return ER_ENOMEM;
    }
    for (size_t i = 0; i < OUR_NAMES; i++) {
        if (values[i]) {
            c->envp[at] = make_var(arena, our_names[i], values[i]);
            if (!c->envp[at++]) {
                return ER_ENOMEM;
            }
        }
    }
    for (const struct er_given *g = o->given; g; g = g->next) {
        c->envp[at] = make_var(arena, g->name, g->path);
        if (!c->envp[at++]) {
            return ER_ENOMEM;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_given(o->given, o->env->vars[i])) {
            c->envp[at++] = o->env->vars[i];
        }
    }
    c->envp[at] = NULL;
    return 0;
}

static int
make_shell_line(struct er_command *c, struct er_arena *arena, const char *line)
{
    c->argv = er_arena_alloc(arena, 4 * sizeof(char *));
    if (!c->argv) {
        return ER_ENOMEM;
    }
    c->argv[0] = er_arena_strdup(arena, "/bin/sh");
    c->argv[1] = er_arena_strdup(arena, "-c");
    c->argv[2] = er_arena_strdup(arena, line);
    return c->argv[0] && c->argv[1] && c->argv[2] ? 0 : ER_ENOMEM;
}

/* argv of an array of strings, which is called `name` in the order, with room for `more`
 * words. */
static int
make_argv(struct er_command *c, struct er_arena *arena, const json_t *argv,
          const char *name, size_t more, struct er_err *err)
{
    size_t n = json_array_size(argv);
    c->argv = er_arena_alloc(arena, (n + more + 1) * sizeof(char *));
    if (!c->argv) {
        return ER_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(argv, i));
        if (!word) {
            return er_fail(err, ER_EINVALID, "%s[%zu] is not a string", name, i);
        }
        c->argv[i] = er_arena_strdup(arena, word);
        if (!c->argv[i]) {
            return ER_ENOMEM;
        }
    }
    if (n == 0 || c->argv[0][0] == '\0') {
        return er_fail(err, ER_EINVALID, "%s names no command: give at least one word",
                       name);
    }
    return 0;
}

static int
decode_stdin(struct er_command *c, struct er_arena *arena, const json_t *text,
             struct er_err *err)
{
    struct er_buf b;
    er_buf_init(&b, 0);
    int rc = er_base64_decode(&b, json_string_value(text), json_string_length(text));
    if (rc == ER_EINVALID) {
        (void)er_fail(err, rc, "args.stdin_base64 is not base64");
    } else if (rc == 0) {
        c->stdin_len = b.len;
        c->stdin_data = er_arena_memdup(arena, b.data ? b.data : "", b.len);
        rc = c->stdin_data ? 0 : ER_ENOMEM;
    }
    er_buf_fini(&b);
    return rc;
}

static int
make_stdin(struct er_command *c, struct er_arena *arena, const json_t *args,
           struct er_err *err)
{
    const json_t *text = json_object_get(args, "stdin");
    const json_t *base64 = json_object_get(args, "stdin_base64");
    const json_t *file = json_object_get(args, "stdin_file");
    if (json_is_string(text)) {
        c->stdin_kind = ER_STDIN_DATA;
        c->stdin_len = json_string_length(text);
        c->stdin_data = er_arena_memdup(arena, json_string_value(text), c->stdin_len);
        return c->stdin_data ? 0 : ER_ENOMEM;
    }
    if (json_is_string(base64)) {
        c->stdin_kind = ER_STDIN_DATA;
        return decode_stdin(c, arena, base64, err);
    }
    if (json_is_string(file)) {
        c->stdin_kind = ER_STDIN_FILE;
        c->stdin_path = er_arena_strdup(arena, json_string_value(file));
        return c->stdin_path ? 0 : ER_ENOMEM;
    }
    c->stdin_kind =
        json_is_true(json_object_get(args, "input")) ? ER_STDIN_INPUT : ER_STDIN_NULL;
    return 0;
}

/* ---- by `how` ---- */

/* What the program gets as its first line. */
static char *
dump_order(json_t *run)
{
    static const char *const names[] = {"task",      "attempt",   "run",
                                        "type",      "args",      "correlation_id",
                                        "timeout_s", "checkpoint"};
    json_t *order = json_object(), *line = json_object();
    int rc = order && line ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
        json_t *v = json_object_get(run, names[i]);
        rc = json_object_set_new(order, names[i], v ? json_incref(v) : json_null());
    }
    rc = rc ? rc : json_object_set(line, "run", order);
    char *text = rc == 0 ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(order);
    json_decref(line);
    return text;
}

static int
make_program(struct er_command *c, struct er_arena *arena, json_t *run, const char *type,
             struct er_err *err)
{
    const json_t *program = json_object_get(json_object_get(run, "how"), "program");
    int rc = make_argv(c, arena, program, "how.program", 2, err);
    if (rc) {
        return rc;
    }
    size_t n = json_array_size(program);
    char *text = dump_order(run);
    c->argv[n] = er_arena_strdup(arena, "run");
    c->argv[n + 1] = er_arena_strdup(arena, type);
    c->argv[n + 2] = NULL;
    c->stdin_kind = ER_STDIN_ORDER;
    c->stdin_data = text ? er_arena_strdup(arena, text) : NULL;
    c->stdin_len = text ? strlen(text) : 0;
    free(text);
    return c->argv[n] && c->argv[n + 1] && c->stdin_data ? 0 : ER_ENOMEM;
}

static int
make_command(struct er_command *c, struct er_arena *arena, const json_t *how,
             struct er_err *err)
{
    const json_t *text = json_object_get(how, "stdin");
    int rc = make_argv(c, arena, json_object_get(how, "argv"), "how.argv", 0, err);
    if (rc == 0 && json_is_string(text)) {
        c->stdin_kind = ER_STDIN_DATA;
        c->stdin_len = json_string_length(text);
        c->stdin_data = er_arena_memdup(arena, json_string_value(text), c->stdin_len);
        rc = c->stdin_data ? 0 : ER_ENOMEM;
    }
    return rc;
}

bool
er_command_is_program(const json_t *run)
{
    return json_is_array(json_object_get(json_object_get(run, "how"), "program"));
}

static int
make_by_how(struct er_command *c, struct er_arena *arena, json_t *run, const char *type,
            struct er_err *err)
{
    const json_t *how = json_object_get(run, "how");
    if (er_command_is_program(run)) {
        return make_program(c, arena, run, type, err);
    }
    if (json_is_array(json_object_get(how, "argv"))) {
        return make_command(c, arena, how, err);
    }
    const char *words = json_string_value(json_object_get(how, "error"));
    return words ? er_fail(err, ER_EINVALID, "%.400s", words)
                 : er_fail(err, ER_EINVALID,
                           "this worker does not know how to execute "
                           "type '%.100s': end it, so that the daemon "
                           "starts one of its own version",
                           type);
}

/* ---- shell ---- */

static int
make_shell(struct er_command *c, struct er_arena *arena, const json_t *args,
           struct er_err *err)
{
    const json_t *argv = json_object_get(args, "argv");
    const char *line = json_string_value(json_object_get(args, "command"));
    int rc = json_is_array(argv) ? make_argv(c, arena, argv, "args.argv", 0, err)
             : line              ? make_shell_line(c, arena, line)
                                 : er_fail(err, ER_EINVALID,
                                           "args need `argv` (array of strings) or `command` (text)");
    return rc ? rc : make_stdin(c, arena, args, err);
}

/* Where its program is looked for: one that speaks the protocol beside ours first. */
static const char *
find_search(const struct er_command *c, struct er_arena *arena,
            const struct er_command_order *o)
{
    const char *path = o->env && o->env->path ? o->env->path : DEFAULT_SEARCH;
    if (c->stdin_kind != ER_STDIN_ORDER || !o->beside) {
        return path;
    }
    size_t n = strlen(o->beside), m = strlen(path);
    char *both = er_arena_alloc(arena, n + m + 2);
    if (both) {
        memcpy(both, o->beside, n);
        both[n] = ':';
        memcpy(both + n + 1, path, m + 1);
    }
    return both;
}

int
er_command_make(struct er_command *out, struct er_arena *arena,
                const struct er_command_order *order, struct er_err *err)
{
    const char *type = json_string_value(json_object_get(order->run, "type"));
    const char *cwd = json_string_value(json_object_get(order->run, "cwd"));
    int rc;
    *out = (struct er_command){0};
    if (json_is_object(json_object_get(order->run, "how"))) {
        rc = make_by_how(out, arena, order->run, type ? type : "", err);
    } else if (type && strcmp(type, "shell") == 0) {
        rc = make_shell(out, arena, json_object_get(order->run, "args"), err);
    } else {
        return er_fail(err, ER_ENOTFOUND, "this worker has no handler for type '%.100s'",
                       type ? type : "");
    }
    if (rc == 0) {
        rc = make_envp(out, arena, order);
    }
    if (rc == 0) {
        out->cwd = er_arena_strdup(arena, cwd ? cwd : "/");
        out->search = find_search(out, arena, order);
        rc = out->cwd && out->search ? 0 : ER_ENOMEM;
    }
    return rc == ER_ENOMEM ? er_fail(err, rc, "out of memory") : rc;
}
