/* SPDX-License-Identifier: MIT */
/* From the configuration to what the daemon needs of it. */
#ifndef ER_SERVE_CONFIG_H
#define ER_SERVE_CONFIG_H

#include "serve/server.h"

/* A flag of the command line, as --KEY TEXT (of a setting that there is): it wins over
 * all else, at each reading. Both stay the caller's. Before the first reading; the last
 * counts. */
void er_server_config_flag(const char *key, const char *text);
/* Reads flags, ERRAND_* variables, config.yml and defaults, in that precedence, into
 * *out and the rules; sets the log's level. ER_EINVALID names file, line and member. */
int er_server_config_load(struct er_api_config *out, const struct er_places *places,
                          struct er_env_rules *rules, bool system,
                          struct er_err *err) ER_MUSTCHECK;
/* Reads it again and takes what can change while the daemon runs; what is wrong, and what
 * needs a new start, is logged by name. Nothing changes when it is wrong. */
void er_server_reload(struct er_api *api, bool system);
/* Prints each value with its origin, or checks a file; returns the exit code. */
int er_server_config_print(bool system, const char *check, bool json);

#endif
