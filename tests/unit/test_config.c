/* SPDX-License-Identifier: MIT */
/* The configuration: kinds, ranges, precedence, and what is told of mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "wire/config.h"

static char path[64];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/errand-config-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int
teardown(void **state)
{
    (void)state;
    unsetenv("ERRAND_GRACE");
    unsetenv("ERRAND_CONCURRENCY");
    unsetenv("ERRAND_ENV_DENY");
    return unlink(path);
}

static void
put(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Loads a text that must be refused with exactly these words behind the file's name. */
static void
refused(const char *text, const char *want)
{
    struct er_config c;
    struct er_err err = {""};
    put(text);
    assert_int_equal(er_config_load(&c, path, &err), ER_EINVALID);
    assert_memory_equal(err.text, path, strlen(path));
    assert_string_equal(err.text + strlen(path), want);
    er_config_fini(&c);
}

static void
defaults__are_those_of_the_table(void **state)
{
    (void)state;
    struct er_config c;
    struct er_err err = {""};
    assert_int_equal(er_config_load(&c, "/no/such/file", &err), 0);
    assert_int_equal(er_config_int(&c, ER_CONFIG_CONCURRENCY),
                     sysconf(_SC_NPROCESSORS_ONLN));
    assert_int_equal(er_config_int(&c, ER_CONFIG_OUTPUT_HEAD), 8 << 20);
    assert_int_equal(er_config_span(&c, ER_CONFIG_GRACE), 5 * ER_USEC_PER_SEC);
    assert_int_equal(er_config_span(&c, ER_CONFIG_BACKOFF_CAP), 30 * ER_USEC_PER_SEC);
    assert_int_equal(er_config_int(&c, ER_CONFIG_KEEP_FINISHED), 1000);
    assert_string_equal(er_config_word(&c, ER_CONFIG_LOG_LEVEL), "info");
    assert_int_equal(c.values[ER_CONFIG_GRACE].origin, ER_CONFIG_DEFAULT);
    er_config_fini(&c);
}

static void
file__sets_values_of_every_kind(void **state)
{
    (void)state;
    struct er_config c;
    struct er_err err = {""};
    put("# mine\nconcurrency: 4\ngrace: 1m30s\noutput_head: \"1GiB\"\n"
        "env_deny: [FOO_*, '!BAR_KEY']\nlog_level: debug\nfacts_max: 5000\n");
    int rc = er_config_load(&c, path, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    assert_int_equal(er_config_int(&c, ER_CONFIG_CONCURRENCY), 4);
    assert_int_equal(er_config_span(&c, ER_CONFIG_GRACE), 90 * ER_USEC_PER_SEC);
    assert_int_equal(er_config_int(&c, ER_CONFIG_OUTPUT_HEAD), 1 << 30);
    assert_int_equal(er_config_int(&c, ER_CONFIG_FACTS_MAX), 5000);
    assert_string_equal(er_config_word(&c, ER_CONFIG_LOG_LEVEL), "debug");
    const struct er_config_value *deny = &c.values[ER_CONFIG_ENV_DENY];
    assert_int_equal(deny->n_list, 2);
    assert_string_equal(deny->list[0], "FOO_*");
    assert_string_equal(deny->list[1], "!BAR_KEY");
    er_config_fini(&c);
}

static void
file__may_be_empty_or_comments_only(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "---\n", "\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct er_config c;
        struct er_err err = {""};
        put(texts[i]);
        int rc = er_config_load(&c, path, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(rc, 0);
        er_config_fini(&c);
    }
}

static void
mistakes__are_told_with_line_and_setting(void **state)
{
    (void)state;
    refused("grace: 5s\nconcurency: 4\n",
            ":2: unknown setting 'concurency' (did you mean concurrency?)");
    refused("concurrency: 0\n",
            ":1: concurrency: invalid number '0': it takes a whole number "
            "from 1 to 10000, or cores");
    refused("concurrency: four\n",
            ":1: concurrency: invalid number 'four': it takes a whole "
            "number from 1 to 10000, or cores");
    refused("\n\ngrace: 5 parsecs\n",
            ":3: grace: invalid duration '5 parsecs' (try 250ms, 2s, 5m, 1h30m)");
    refused("output_tail: 8 megs\n",
            ":1: output_tail: invalid size '8 megs' (try 512KiB, 8MiB, 1GiB)");
    refused("output_tail: 1\n",
            ":1: output_tail: invalid size '1': it must be from 4096 to "
            "1099511627776 bytes");
    refused("log_level: loud\n",
            ":1: log_level: invalid value 'loud': it is one of error warn info debug");
    refused("grace: 5s\ngrace: 6s\n", ":2: grace: it is there twice: keep one of them");
    refused("grace: [5s]\n", ":1: grace: it takes one value, as in 'grace: 5s'");
    refused("env_deny: {A: b}\n",
            ":1: env_deny: it takes a list, as in 'env_deny: [A, B]'");
    refused("- grace\n",
            ":1: a configuration is a list of settings, a line each: concurrency: 4");
    refused("grace: 5s\n---\ngrace: 6s\n",
            ":3: a second document begins here: a configuration is one");
}

static void
ageing__is_a_span_or_off(void **state)
{
    (void)state;
    struct er_config c;
    er_config_init(&c);
    assert_int_equal(er_config_span(&c, ER_CONFIG_AGEING), 60 * ER_USEC_PER_SEC);
    assert_int_equal(er_config_span(&c, ER_CONFIG_DRAIN), 10 * ER_USEC_PER_SEC);
    assert_int_equal(er_config_int(&c, ER_CONFIG_LOGS_MAX), INT64_C(10) << 30);
    assert_int_equal(er_config_set(&c, "ageing", "off", ER_CONFIG_FLAG, "--x", NULL), 0);
    assert_int_equal(er_config_span(&c, ER_CONFIG_AGEING), ER_NEVER);
    assert_int_equal(er_config_set(&c, "logs_max", "0", ER_CONFIG_FLAG, "--x", NULL), 0);
    assert_int_equal(er_config_int(&c, ER_CONFIG_LOGS_MAX), 0);
    er_config_fini(&c);
    refused("ageing: 0s\n", ":1: ageing: invalid duration '0s': it must be from 1ms to "
                            "3650d00h, or off");
    refused("drain: off\n",
            ":1: drain: invalid duration 'off' (try 250ms, 2s, 5m, 1h30m)");
}

static void
mistakes__in_yaml_are_told_with_their_line(void **state)
{
    (void)state;
    struct er_config c;
    struct er_err err;
    put("grace: 5s\nconcurrency: [1\n");
    assert_int_equal(er_config_load(&c, path, &err), ER_EINVALID);
    assert_non_null(strstr(err.text, ":3: this is not YAML: "));
    er_config_fini(&c);
}

static void
mistakes__are_all_told_to_who_checks(void **state)
{
    (void)state;
    struct er_config c;
    struct er_buf problems;
    put("a: 1\ngrace: 2s\nretries: -1\n");
    er_buf_init(&problems, 0);
    er_config_init(&c);
    assert_int_equal(er_config_read(&c, path, &problems, NULL), ER_EINVALID);
    assert_non_null(strstr(problems.data, ":1: unknown setting 'a'"));
    assert_non_null(strstr(problems.data, ":3: retries: invalid number '-1'"));
    assert_int_equal(er_config_span(&c, ER_CONFIG_GRACE), 2 * ER_USEC_PER_SEC);
    er_buf_fini(&problems);
    er_config_fini(&c);
}

static void
precedence__is_flag_variable_file_default(void **state)
{
    (void)state;
    struct er_config c;
    struct er_err err = {""};
    char where[80];
    put("grace: 2s\nretries: 2\n");
    setenv("ERRAND_GRACE", "3s", 1);
    setenv("ERRAND_CONCURRENCY", "", 1); /* empty is not set */
    setenv("ERRAND_ENV_DENY", "A_*, B_*", 1);
    assert_int_equal(er_config_load(&c, path, &err), 0);
    assert_int_equal(er_config_span(&c, ER_CONFIG_GRACE), 3 * ER_USEC_PER_SEC);
    assert_string_equal(c.values[ER_CONFIG_GRACE].where, "ERRAND_GRACE");
    (void)snprintf(where, sizeof where, "%s:2", path);
    assert_string_equal(c.values[ER_CONFIG_RETRIES].where, where);
    assert_int_equal(c.values[ER_CONFIG_CONCURRENCY].origin, ER_CONFIG_DEFAULT);
    assert_int_equal(c.values[ER_CONFIG_ENV_DENY].n_list, 2);
    assert_string_equal(c.values[ER_CONFIG_ENV_DENY].list[1], "B_*");
    assert_int_equal(er_config_set(&c, "grace", "4s", ER_CONFIG_FLAG, "--grace", &err),
                     0);
    assert_int_equal(er_config_set(&c, "grace", "9s", ER_CONFIG_FILE, "late", &err), 0);
    assert_int_equal(er_config_span(&c, ER_CONFIG_GRACE), 4 * ER_USEC_PER_SEC);
    er_config_fini(&c);
}

static void
variables__that_are_wrong_are_named(void **state)
{
    (void)state;
    struct er_config c;
    struct er_err err;
    setenv("ERRAND_GRACE", "soon", 1);
    assert_int_equal(er_config_load(&c, path, &err), ER_EINVALID);
    assert_memory_equal(err.text, "ERRAND_GRACE: invalid duration 'soon'", 37);
    er_config_fini(&c);
}

static void
print__tells_each_value_and_its_origin(void **state)
{
    (void)state;
    struct er_config c;
    struct er_buf b;
    er_buf_init(&b, 0);
    put("grace: 2s\n");
    assert_int_equal(er_config_load(&c, path, NULL), 0);
    er_config_print(&c, false, &b);
    const char *line = strstr(b.data, "\ngrace: 2s ");
    assert_non_null(line);
    assert_memory_equal(strchr(line + 1, '#') + 2, path, strlen(path));
    assert_non_null(strstr(b.data, "\nretries: 0 "));
    er_buf_clear(&b);
    er_config_print(&c, true, &b);
    assert_non_null(
        strstr(b.data, "\"grace\":{\"value\":\"2s\",\"origin\":\"file\",\"where\":\"/"));
    assert_non_null(
        strstr(b.data, "\"retries\":{\"value\":0,\"origin\":\"default\",\"where\":null"));
    er_buf_fini(&b);
    er_config_fini(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults__are_those_of_the_table, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(file__sets_values_of_every_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(file__may_be_empty_or_comments_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mistakes__are_told_with_line_and_setting, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mistakes__in_yaml_are_told_with_their_line, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mistakes__are_all_told_to_who_checks, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(precedence__is_flag_variable_file_default, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(variables__that_are_wrong_are_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ageing__is_a_span_or_off, setup, teardown),
        cmocka_unit_test_setup_teardown(print__tells_each_value_and_its_origin, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
