/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/env_rules.h"

static void
env_rules__defaults_deny_what_looks_like_a_secret(void **state)
{
    (void)state;
    static const char *const denied[] = {
        "ERRAND_HOME",
        "ERRAND_TASK_ID",
        "errand_cookie",
        "GITHUB_TOKEN",
        "TOKEN",
        "AWS_SESSION_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "CLIENT_SECRET",
        "SECRET_KEY_BASE",
        "PGPASSWORD",
        "password",
        "Db_PassWd",
        "BORG_PASSPHRASE",
        "DB_PASS",
        "MYSQL_PWD",
        "OPENAI_API_KEY",
        "API_KEY_2",
        "ALGOLIA_APIKEY",
        "STRIPE_KEY",
        "PRIVATE_KEY_PEM",
        "AZURE_CREDENTIALS",
        "NPM_CONFIG__AUTH",
        "GH_PAT",
        "SENTRY_DSN",
        "",
        "A=B",
    };
    static const char *const allowed[] = {
        "PATH",
        "HOME",
        "PWD",
        "OLDPWD",
        "SSH_AUTH_SOCK",
        "SSH_AGENT_PID",
        "LANG",
        "LC_ALL",
        "TERM",
        "DISPLAY",
        "XAUTHORITY",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
        "KEYBOARD",
        "MAX_TOKENS",
        "TOKENIZERS_PARALLELISM",
        "CFLAGS",
        "MAKEFLAGS",
        "PATTERN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GPG_AGENT_INFO",
        "KRB5CCNAME",
        "ERRANDS",
        "KEY_X",
        "A",
        "PASSAGE",
        "AUTHOR",
    };
    struct er_env_rules r;
    er_env_rules_init(&r);
    for (size_t i = 0; i < sizeof denied / sizeof denied[0]; i++) {
        if (er_env_rules_allows(&r, denied[i])) {
            fail_msg("%s was allowed", denied[i]);
        }
    }
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if (!er_env_rules_allows(&r, allowed[i])) {
            fail_msg("%s was denied", allowed[i]);
        }
    }
    er_env_rules_fini(&r);
}

static void
env_rules__last_added_rule_decides(void **state)
{
    (void)state;
    struct er_env_rules r;
    er_env_rules_init(&r);
    assert_int_equal(er_env_rules_add(&r, "!GITHUB_TOKEN", NULL), 0);
    assert_true(er_env_rules_allows(&r, "GITHUB_TOKEN"));
    assert_false(er_env_rules_allows(&r, "GITLAB_TOKEN"));
    assert_int_equal(er_env_rules_add(&r, "LD_*", NULL), 0);
    assert_false(er_env_rules_allows(&r, "LD_PRELOAD"));
    assert_int_equal(er_env_rules_add(&r, "!ld_library_path", NULL), 0);
    assert_true(er_env_rules_allows(&r, "LD_LIBRARY_PATH"));
    assert_false(er_env_rules_allows(&r, "LD_PRELOAD"));
    assert_int_equal(er_env_rules_add(&r, "*", NULL), 0);
    assert_false(er_env_rules_allows(&r, "PATH"));
    assert_false(er_env_rules_allows(&r, "GITHUB_TOKEN"));
    er_env_rules_fini(&r);
    assert_true(er_env_rules_allows(&r, "PATH")); /* as new */
}

static void
env_rules__our_own_are_never_allowed(void **state)
{
    (void)state;
    struct er_env_rules r;
    er_env_rules_init(&r);
    assert_int_equal(er_env_rules_add(&r, "!*", NULL), 0);
    assert_true(er_env_rules_allows(&r, "MY_SECRET"));
    assert_false(er_env_rules_allows(&r, "ERRAND_COOKIE"));
    er_env_rules_fini(&r);
}

static void
env_rules__patterns_match_as_written(void **state)
{
    (void)state;
    static const struct {
        const char *rule, *name;
        bool denied;
    } cases[] = {
        {"ABC", "ABC", true},     {"ABC", "ABCD", false},    {"ABC", "XABC", false},
        {"A?C", "ABC", true},     {"A?C", "AC", false},      {"A?C", "ABBC", false},
        {"A*C", "AC", true},      {"A*C", "ABBBC", true},    {"A*C", "ABCB", false},
        {"*A*B*", "XAXBX", true}, {"*A*B*", "BXA", false},   {"**", "X", true},
        {"*AAB", "AAAAAB", true}, {"A*B*C", "ABXBXC", true}, {"?", "", false},
        {"[A]", "A", false},      {"[A]", "[A]", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct er_env_rules r;
        er_env_rules_init(&r);
        assert_int_equal(er_env_rules_add(&r, cases[i].rule, NULL), 0);
        bool denied = !er_env_rules_allows(&r, cases[i].name);
        if (cases[i].name[0] != '\0' && denied != cases[i].denied) {
            fail_msg("%s against %s: %d", cases[i].rule, cases[i].name, denied);
        }
        er_env_rules_fini(&r);
    }
}

static void
env_rules__refuses_what_is_no_rule(void **state)
{
    (void)state;
    char longest[ER_ENV_RULES_PATTERN + 2];
    memset(longest, 'A', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const char *bad[] = {"", "!", "A B", "A=B", "!!A", "A\n", longest};
    struct er_env_rules r;
    er_env_rules_init(&r);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct er_err err = {""};
        assert_int_equal(er_env_rules_add(&r, bad[i], &err), ER_EINVALID);
        assert_non_null(strstr(err.text, "invalid environment rule '"));
    }
    longest[ER_ENV_RULES_PATTERN] = '\0';
    assert_int_equal(er_env_rules_add(&r, longest, NULL), 0);
    assert_int_equal(r.n, 1);
    er_env_rules_fini(&r);
}

static void
env_rules__are_bounded(void **state)
{
    (void)state;
    struct er_env_rules r;
    er_env_rules_init(&r);
    for (int i = 0; i < ER_ENV_RULES_MAX; i++) {
        assert_int_equal(er_env_rules_add(&r, "X", NULL), 0);
    }
    assert_int_equal(er_env_rules_add(&r, "X", NULL), ER_EFULL);
    er_env_rules_fini(&r);
}

static void
env_rules__without_memory_stay_as_they_were(void **state)
{
    (void)state;
    struct er_env_rules r;
    er_env_rules_init(&r);
    for (long n = 1;; n++) {
        er_mem_fault_set(n, 0);
        int rc = er_env_rules_add(&r, "X_*", NULL);
        bool hit = er_mem_fault_hit() != 0;
        er_mem_fault_set(0, 0);
        if (!hit) {
            assert_int_equal(rc, 0);
            break;
        }
        assert_int_equal(rc, ER_ENOMEM);
        assert_int_equal(r.n, 0);
        assert_true(er_env_rules_allows(&r, "X_1"));
    }
    assert_false(er_env_rules_allows(&r, "X_1"));
    er_env_rules_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(env_rules__defaults_deny_what_looks_like_a_secret),
        cmocka_unit_test(env_rules__last_added_rule_decides),
        cmocka_unit_test(env_rules__our_own_are_never_allowed),
        cmocka_unit_test(env_rules__patterns_match_as_written),
        cmocka_unit_test(env_rules__refuses_what_is_no_rule),
        cmocka_unit_test(env_rules__are_bounded),
        cmocka_unit_test(env_rules__without_memory_stay_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
