/* SPDX-License-Identifier: MIT */
/* Happy path: the first word says what to do (errand.h, "workers").
 *
 * Failure modes: what is wrong with the command line or with the program's own types is
 * said on standard error, and the exit code is 2; what the daemon says, 1. */
#include "lib/main.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/types.h"
#include "model/suggest.h"

/* The program, as its words see it. */
struct program {
    const char *name;          /* as it was called, for messages */
    char path[PATH_MAX];       /* absolute, for the daemon */
    struct errand_type *types; /* copies of this version's size */
    size_t n_types;
};

static void
print_usage(FILE *to, const char *name)
{
    (void)fprintf(to,
                  "usage: %s register [--socket PATH]    tells the daemon of the types\n"
                  "       %s types                       prints their definitions\n"
                  "       %s run TYPE                    started by errand-worker\n"
                  "       %s try TYPE [KEY=VALUE...]     runs a handler here and now\n",
                  name, name, name, name);
}

/* ---- its types ---- */

static int
say(const struct program *p, const errand_error *error)
{
    (void)fprintf(stderr, "%s: %s\n", p->name, error->message);
    return error->code == ERRAND_EINVALID ? ER_MAIN_USAGE : ER_MAIN_FAILED;
}

/* Elements are as large as the program's version of the struct. */
static int
copy_types(struct program *p, const struct errand_type *types, size_t n)
{
    errand_error error;
    const char *at = (const char *)types;
    p->types = er_alloc((n + 1) * sizeof *p->types);
    if (!p->types || (n > 0 && !types)) {
        (void)fprintf(stderr, "%s: %s\n", p->name,
                      p->types ? "there are no types" : "out of memory");
        return ER_MAIN_FAILED;
    }
    for (size_t i = 0; i < n; i++) {
        struct errand_type t;
        memcpy(&t.size, at, sizeof t.size);
        size_t step = t.size;
        if (er_types_copy((const struct errand_type *)(const void *)at, &p->types[i],
                          &error) != 0) {
            return say(p, &error);
        }
        p->n_types++;
        at += step;
    }
    return 0;
}

static json_t *
define(const struct program *p, const struct errand_type *t, int *out_exit)
{
    errand_error error;
    json_t *o = NULL;
    enum er_types_by by = t->handler ? ER_TYPES_PROGRAM : ER_TYPES_NOBODY;
    if (er_types_define(t, by, p->path, &o, &error) != 0) {
        *out_exit = say(p, &error);
    }
    return o;
}

static const struct errand_type *
find_type(const struct program *p, const char *name)
{
    struct er_err err = {""};
    for (size_t i = 0; i < p->n_types; i++) {
        if (p->types[i].name && strcmp(p->types[i].name, name) == 0) {
            if (p->types[i].handler) {
                return &p->types[i];
            }
            (void)fprintf(stderr, "%s: type '%s' has no handler\n", p->name, name);
            return NULL;
        }
    }
    const char **names = er_alloc((p->n_types + 1) * sizeof *names);
    size_t n = 0;
    for (size_t i = 0; names && i < p->n_types; i++) {
        if (p->types[i].name) {
            names[n++] = p->types[i].name;
        }
    }
    (void)er_suggest_fail(&err, ER_ENOTFOUND, "type", name, names, n);
    (void)fprintf(stderr, "%s: %s\n", p->name, err.text);
    er_free(names);
    return NULL;
}

/* ---- words ---- */

static int
print_types(const struct program *p)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->n_types; i++) {
        json_t *o = define(p, &p->types[i], &rc);
        if (o && json_object_set_new(o, "name", json_string(p->types[i].name)) == 0 &&
            json_dumpf(o, stdout, JSON_COMPACT) == 0) {
            (void)putchar('\n');
        } else if (rc == 0) {
            rc = ER_MAIN_FAILED;
        }
        json_decref(o);
    }
    return fflush(stdout) == 0 ? rc : ER_MAIN_FAILED;
}

static int
put_type(const struct program *p, errand *e, const struct errand_type *t)
{
    errand_error error;
    char target[200], *answer = NULL, *text;
    int exit_code = 0;
    json_t *o = define(p, t, &exit_code);
    if (!o) {
        return exit_code;
    }
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!text) {
        (void)fprintf(stderr, "%s: out of memory\n", p->name);
        return ER_MAIN_FAILED;
    }
    (void)snprintf(target, sizeof target, "/v1/types/%s?merge=0&besides=0", t->name);
    int status =
        errand_request(e, "PUT", target, text, strlen(text), &answer, NULL, &error);
    free(text);
    if (status < 0) {
        exit_code = say(p, &error);
    } else if (status >= 300) {
        json_t *problem = answer ? json_loads(answer, 0, NULL) : NULL;
        const char *detail = json_string_value(json_object_get(problem, "detail"));
        (void)fprintf(stderr, "%s: the daemon refuses type '%s': %s\n", p->name, t->name,
                      detail ? detail : "it does not say why");
        json_decref(problem);
        exit_code = ER_MAIN_FAILED;
    }
    errand_free(answer);
    return exit_code;
}

static int
register_types(const struct program *p, const char *socket)
{
    errand_error error;
    errand *e = NULL;
    char *url = socket ? er_xasprintf("unix:%s", socket) : NULL;
    int rc = errand_open(url, NULL, &e, &error);
    er_free(url);
    if (rc != 0) {
        return say(p, &error);
    }
    for (size_t i = 0; rc == 0 && i < p->n_types; i++) {
        rc = put_type(p, e, &p->types[i]);
    }
    errand_close(e);
    return rc;
}

static int usage_fail(const struct program *p, const char *fmt, ...) ER_PRINTF(2, 3);

static int
usage_fail(const struct program *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "%s: ", p->name);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
    print_usage(stderr, p->name);
    return ER_MAIN_USAGE;
}

static int
do_register(const struct program *p, int n, char **words)
{
    const char *socket = NULL;
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], "--socket") == 0 && i + 1 < n) {
            socket = words[++i];
        } else if (strncmp(words[i], "--socket=", 9) == 0) {
            socket = words[i] + 9;
        } else {
            return usage_fail(p, "register takes --socket PATH, not '%s'", words[i]);
        }
    }
    return register_types(p, socket);
}

static int
do_types(const struct program *p, int n, char **words)
{
    return n > 0 ? usage_fail(p, "types takes no word, not '%s'", words[0])
                 : print_types(p);
}

static int
do_run(const struct program *p, int n, char **words)
{
    if (n != 1) {
        return usage_fail(p, "run takes one word: the type");
    }
    const struct errand_type *t = find_type(p, words[0]);
    return t ? er_main_run(p->name, t) : ER_MAIN_USAGE;
}

static int
do_try(const struct program *p, int n, char **words)
{
    if (n < 1) {
        return usage_fail(p, "try takes the type, and its arguments as KEY=VALUE");
    }
    const struct errand_type *t = find_type(p, words[0]);
    return t ? er_main_try(p->name, t, n - 1, words + 1) : ER_MAIN_USAGE;
}

static int
dispatch(const struct program *p, int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*run)(const struct program *p, int n, char **words);
    } words[] = {
        {"register", do_register}, {"types", do_types}, {"run", do_run}, {"try", do_try}};
    if (argc < 2) {
        return usage_fail(p, "what is to be done?");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout, p->name);
        return 0;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(argv[1], words[i].word) == 0) {
            return words[i].run(p, argc - 2, argv + 2);
        }
    }
    return usage_fail(p, "there is no '%s' (register, types, run or try)", argv[1]);
}

int
errand_worker_main(int argc, char **argv, const struct errand_type *types, size_t n_types)
{
    struct program p = {.name = argc > 0 ? argv[0] : "worker"};
    const char *slash = strrchr(p.name, '/');
    p.name = slash ? slash + 1 : p.name;
    ssize_t n = readlink("/proc/self/exe", p.path, sizeof p.path - 1);
    if (n <= 0) {
        (void)fprintf(stderr, "%s: cannot tell where this program is (/proc/self/exe)\n",
                      p.name);
        return ER_MAIN_FAILED;
    }
    p.path[n] = '\0';
    int rc = copy_types(&p, types, n_types);
    if (rc == 0) {
        rc = dispatch(&p, argc, argv);
    }
    er_free(p.types);
    return rc;
}
