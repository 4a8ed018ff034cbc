/* SPDX-License-Identifier: MIT */
/* The folder is listed, each file is read and given to the API as somebody's PUT would
 * be; then the types go that came from a file which is there no more. A file that is
 * wrong is logged and passed over; when the folder itself cannot be read nothing changes
 * at all. */
#include "serve/types_d.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/registry.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/config_types.h"

/* Names of files, or of types. */
struct names {
    struct er_arena arena;
    const char **all;
    size_t n;
};

static void
add(struct names *l, const char *name)
{
    const char *copy = er_arena_strdup(&l->arena, name);
    ER_ASSERT(copy != NULL);
    l->all = er_xrealloc_array(l->all, l->n + 1, sizeof *l->all);
    l->all[l->n++] = copy;
}

static bool
has(const struct names *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->all[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void
fini(struct names *l)
{
    er_arena_free(&l->arena);
    er_free(l->all);
}

/* ---- the folder ---- */

/* Takes words over: tells them, and keeps the first. */
static void
take_fault(struct er_types_files *found, er_types_d_tell *tell, enum er_log_level level,
           char *words)
{
    tell(level, words);
    found->wrong++;
    if (found->fault) {
        er_free(words);
    } else {
        found->fault = words;
    }
}

/* The types that have a file. False: the folder cannot be read, which is told. */
static bool
list_files(const char *folder, struct names *out, struct er_types_files *found,
           er_types_d_tell *tell)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        if (errno == ENOENT) {
            return true;
        }
        take_fault(
            found, tell, ER_LOG_ERROR,
            er_xasprintf("cannot read the folder '%s': %s", folder, strerror(errno)));
        return false;
    }
    errno = 0;
    for (struct dirent *one; (one = readdir(dir)) != NULL;) {
        char name[ER_PARAM_NAME_MAX + 1];
        const char *dot = strrchr(one->d_name, '.');
        if (er_config_type_name(one->d_name, name)) {
            add(out, name);
        } else if (one->d_name[0] != '.' && dot &&
                   (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0)) {
            take_fault(found, tell, ER_LOG_WARN,
                       er_xasprintf("%s/%s is left out: the file of a type is called "
                                    "NAME.yml, with letters, digits, '.', '_' and '-' in "
                                    "the name",
                                    folder, one->d_name));
        }
    }
    bool whole = errno == 0;
    (void)closedir(dir);
    return whole;
}

/* Reads one file; its type goes to `api` (NULL = it is only looked at). */
static void
read_file(struct er_api *api, const char *folder, const char *name,
          struct er_types_files *found, er_types_d_tell *tell)
{
    struct er_arena arena = {0};
    struct er_type type;
    struct er_err err = {""};
    char *path = er_xasprintf("%s/%s.yml", folder, name);
    if (er_config_type_read(path, &arena, &type, &err)) {
        bool stays = api && er_engine_has_type(api->engine, name);
        take_fault(
            found, tell, ER_LOG_ERROR,
            er_xasprintf("%s%s", err.text, stays ? " (the type stays as it was)" : ""));
    } else {
        found->types++;
        if (api) {
            er_registry_define(api, &type);
        }
    }
    er_free(path);
    er_arena_free(&arena);
}

static void
add_filed(void *ctx, const struct er_type *t)
{
    if (t->from_file) {
        add(ctx, t->name);
    }
}

static void
tell_log(enum er_log_level level, const char *words)
{
    er_log(level, "types.d", "%s", words);
}

void
er_types_d_read(struct er_api *api)
{
    struct names files = {.n = 0}, filed = {.n = 0};
    struct er_types_files *found = &api->types_files;
    er_types_d_fini(found);
    if (list_files(api->places->types, &files, found, tell_log)) {
        for (size_t i = 0; i < files.n; i++) {
            read_file(api, api->places->types, files.all[i], found, tell_log);
        }
        er_engine_each_type(api->engine, add_filed, &filed);
        for (size_t i = 0; i < filed.n; i++) {
            if (!has(&files, filed.all[i])) {
                er_log(ER_LOG_INFO, "types.d", "type '%s' is gone, as its file is",
                       filed.all[i]);
                er_registry_forget(api, filed.all[i]);
            }
        }
    }
    fini(&files);
    fini(&filed);
}

void
er_types_d_fini(struct er_types_files *found)
{
    er_free(found->fault);
    *found = (struct er_types_files){.fault = NULL};
}

/* ---- checks ---- */

void
er_types_d_look(const char *folder, struct er_types_files *out, er_types_d_tell *tell)
{
    struct names files = {.n = 0};
    *out = (struct er_types_files){.fault = NULL};
    if (list_files(folder, &files, out, tell)) {
        for (size_t i = 0; i < files.n; i++) {
            read_file(NULL, folder, files.all[i], out, tell);
        }
    }
    fini(&files);
}

bool
er_types_d_is_file(const char *path)
{
    static const char folder[] = "types.d/";
    const char *slash = strrchr(path, '/');
    size_t n = sizeof folder - 1, at = slash ? (size_t)(slash - path) + 1 : 0;
    return at >= n && strncmp(path + at - n, folder, n) == 0 &&
           (at == n || path[at - n - 1] == '/');
}

int
er_types_d_check(const char *path)
{
    struct er_arena arena = {0};
    struct er_type type;
    struct er_err err = {""};
    int rc = er_config_type_read(path, &arena, &type, &err);
    if (rc) {
        (void)fprintf(stderr, "%s\n", err.text);
    } else {
        (void)printf("%s: ok\n", path);
    }
    er_arena_free(&arena);
    return rc ? er_error_exit(rc) : 0;
}
