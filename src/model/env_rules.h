/* SPDX-License-Identifier: MIT */
/* Which variables of the submitter's environment go into a task, and so into the store:
 * not our own, and not what looks like a secret. Pure; any thread (one at a time while
 * rules are added).
 *
 * A rule is a pattern over the name, without regard to case, in which `*` stands for any
 * characters and `?` for one; a leading `!` allows what it matches. The last rule that
 * matches decides, the rules below coming first; what no rule matches is allowed.
 * ERRAND_* is denied always. */
#ifndef ER_MODEL_ENV_RULES_H
#define ER_MODEL_ENV_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The rules that are there from the start: X(rule, such as). */
#define ER_ENV_RULES_DEFAULT(X)                                                          \
    X("*TOKEN", "GITHUB_TOKEN, NPM_TOKEN, AWS_SESSION_TOKEN")                            \
    X("*SECRET*", "CLIENT_SECRET, AWS_SECRET_ACCESS_KEY, SECRET_KEY_BASE")               \
    X("*PASSWORD*", "PGPASSWORD, SMTP_PASSWORD")                                         \
    X("*PASSWD*", "DB_PASSWD")                                                           \
    X("*PASSPHRASE*", "GPG_PASSPHRASE, BORG_PASSPHRASE")                                 \
    X("*_PASS", "DB_PASS")                                                               \
    X("*_PWD", "MYSQL_PWD; not PWD and OLDPWD")                                          \
    X("*APIKEY*", "ALGOLIA_APIKEY")                                                      \
    X("*API_KEY*", "OPENAI_API_KEY")                                                     \
    X("*ACCESS_KEY*", "AWS_ACCESS_KEY_ID, MINIO_ACCESS_KEY")                             \
    X("*_KEY", "STRIPE_KEY, SSH_PRIVATE_KEY")                                            \
    X("*PRIVATE_KEY*", "PRIVATE_KEY_PEM")                                                \
    X("*CREDENTIAL*", "AZURE_CREDENTIALS")                                               \
    X("!GOOGLE_APPLICATION_CREDENTIALS", "the name of a file, not a secret")             \
    X("*_AUTH", "DOCKER_AUTH, NPM_CONFIG__AUTH; not SSH_AUTH_SOCK")                      \
    X("*_PAT", "GH_PAT, AZURE_DEVOPS_PAT")                                               \
    X("*_DSN", "SENTRY_DSN")

#define ER_ENV_RULES_MAX     256 /* rules that may be added */
#define ER_ENV_RULES_PATTERN 128 /* bytes of one of them */

struct er_env_rules {
    char **added; /* owned */
    size_t n;
};

/* The default rules. */
void er_env_rules_init(struct er_env_rules *r);
void er_env_rules_fini(struct er_env_rules *r);
/* Adds a rule: 0, ER_EINVALID (empty, too long, or with a character that no name has),
 * ER_EFULL or ER_ENOMEM. */
int er_env_rules_add(struct er_env_rules *r, const char *rule,
                     struct er_err *err) ER_MUSTCHECK;
/* Whether a variable of that name may go into a task. A name without a character, or with
 * '=', may not. */
bool er_env_rules_allows(const struct er_env_rules *r, const char *name);

#endif
