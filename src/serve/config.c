/* SPDX-License-Identifier: MIT */
/* All is loaded into wire/config first and copied out only when every member was good,
 * so a reload with a mistake leaves the daemon as it was. */
#include "serve/config.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/defaults.h"
#include "serve/types_d.h"

static struct flag {
    const char *key, *text;
} flags[ER_CONFIG_OPTIONS]; /* written by main alone, before there are threads */
static size_t n_flags;

void
er_server_config_flag(const char *key, const char *text)
{
    size_t i = 0;
    while (i < n_flags && strcmp(flags[i].key, key) != 0) {
        i++;
    }
    ER_ASSERT(i < ER_CONFIG_OPTIONS);
    flags[i] = (struct flag){key, text};
    n_flags += i == n_flags;
}

/* Everything, the least important first. */
static int
load(struct er_config *c, const char *path, struct er_err *err)
{
    int rc = er_config_load(c, path, err);
    for (size_t i = 0; i < n_flags && !rc; i++) {
        char where[40];
        (void)snprintf(where, sizeof where, "--%s", flags[i].key);
        rc = er_config_set(c, flags[i].key, flags[i].text, ER_CONFIG_FLAG, where, err);
    }
    return rc;
}

static int
take_rules(const struct er_config *c, struct er_env_rules *rules, struct er_err *err)
{
    const struct er_config_value *v = &c->values[ER_CONFIG_ENV_DENY];
    for (size_t i = 0; i < v->n_list; i++) {
        int rc = er_env_rules_add(rules, v->list[i], err);
        if (rc) {
            return er_fail_prefix(err, rc, "%s: env_deny",
                                  v->where ? v->where : "default");
        }
    }
    return 0;
}

int
er_server_config_load(struct er_api_config *out, const struct er_places *places,
                      struct er_env_rules *rules, bool system, struct er_err *err)
{
    struct er_config c;
    int rc = load(&c, places->config, err);
    if (rc == 0) {
        rc = take_rules(&c, rules, err);
    }
    if (rc == 0) {
        int level = er_log_find_level(er_config_word(&c, ER_CONFIG_LOG_LEVEL));
        er_defaults_take(out, &c, system);
        er_log_set_level(level < 0 ? ER_LOG_INFO : (enum er_log_level)level);
    }
    er_config_fini(&c);
    return rc;
}

static int
check_file(const char *path)
{
    struct er_config c;
    struct er_buf problems;
    struct er_err err = {""};
    er_config_init(&c);
    er_buf_init(&problems, 0);
    int rc = er_config_read(&c, path, &problems, &err);
    if (rc == 0) {
        (void)printf("%s: ok\n", path);
    } else if (problems.len > 0) {
        (void)fputs(problems.data, stderr);
    } else {
        (void)fprintf(stderr, "errand: %s\n", err.text);
    }
    er_buf_fini(&problems);
    er_config_fini(&c);
    return rc == 0 ? 0 : er_error_exit(rc);
}

static void
tell_fault(enum er_log_level level, const char *words)
{
    (void)level;
    (void)fprintf(stderr, "errand: %s\n", words);
}

/* What else is configuration, as a comment: the types of types.d. */
static void
print_types(const char *folder, bool json)
{
    struct er_types_files found;
    er_types_d_look(folder, &found, tell_fault);
    if (!json && found.wrong > 0) {
        (void)printf("# %zu type%s from %s; %zu file%s left out\n", found.types,
                     found.types == 1 ? "" : "s", folder, found.wrong,
                     found.wrong == 1 ? " is" : "s are");
    } else if (!json) {
        (void)printf("# %zu type%s from %s\n", found.types, found.types == 1 ? "" : "s",
                     folder);
    }
    er_types_d_fini(&found);
}

int
er_server_config_print(bool system, const char *check, bool json)
{
    struct er_places places;
    struct er_config c;
    struct er_err err = {""};
    if (check && er_types_d_is_file(check)) {
        return er_types_d_check(check);
    }
    if (check) {
        return check_file(check);
    }
    int rc = er_places_init(&places, system, &err);
    if (rc == 0) {
        struct er_buf b;
        er_buf_init(&b, 0);
        rc = load(&c, places.config, &err);
        er_config_print(&c, json, &b);
        if (rc == 0 && b.len > 0) {
            (void)fwrite(b.data, 1, b.len, stdout);
            if (b.data[b.len - 1] != '\n') {
                (void)fputc('\n', stdout);
            }
            print_types(places.types, json);
        }
        er_buf_fini(&b);
        er_config_fini(&c);
        er_places_fini(&places);
    }
    if (rc) {
        (void)fprintf(stderr, "errand: %s\n", err.text);
    }
    return rc == 0 ? 0 : er_error_exit(rc);
}
