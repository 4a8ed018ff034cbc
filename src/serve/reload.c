/* SPDX-License-Identifier: MIT */
/* SIGHUP: the configuration is read again, and the types' files. A new environment rule,
 * a default or a bound holds from the next task on; slots and retention at once. */
#include "base/log.h"
#include "serve/config.h"
#include "serve/types_d.h"

/* Says that a setting has changed, and what becomes of it. */
static void
tell(bool changed, const char *name, const char *effect)
{
    if (changed) {
        er_log(ER_LOG_INFO, "errandd", "configuration: %s has changed%s", name, effect);
    }
}

static void
tell_retention(const struct er_retention *a, const struct er_retention *b)
{
    tell(a->keep != b->keep, "keep_finished", "");
    tell(a->keep_for != b->keep_for, "keep_finished_for", "");
    tell(a->tombstone_for != b->tombstone_for, "tombstones_for", "");
    tell(a->facts != b->facts, "facts_max", "");
    tell(a->facts_for != b->facts_for, "facts_for", "");
    tell(a->log_bytes != b->log_bytes, "logs_max", "");
}

static void
tell_all(const struct er_api_config *a, const struct er_api_config *b)
{
    static const char later[] = ", which takes effect when the daemon starts again";
    static const char worker[] = ", which takes effect with the next worker";
    tell(a->concurrency != b->concurrency, "concurrency", "");
    tell(a->retries != b->retries, "retries", "");
    tell(a->backoff_for != b->backoff_for, "backoff", "");
    tell(a->backoff_cap != b->backoff_cap, "backoff_cap", "");
    tell(a->max_losses != b->max_losses, "losses", "");
    tell(a->grace_for != b->grace_for, "grace", "");
    tell(a->drain_for != b->drain_for, "drain", "");
    tell(a->ageing != b->ageing, "ageing", later);
    tell(a->output_head != b->output_head, "output_head", worker);
    tell(a->output_tail != b->output_tail, "output_tail", worker);
    tell_retention(&a->retention, &b->retention);
}

static void
read_settings(struct er_api *api, bool system)
{
    struct er_api_config fresh;
    struct er_env_rules rules;
    struct er_err err = {""};
    er_env_rules_init(&rules);
    int rc = er_server_config_load(&fresh, api->places, &rules, system, &err);
    if (rc) {
        er_log(ER_LOG_ERROR, "errandd", "the configuration stays as it was: %s",
               err.text);
        er_env_rules_fini(&rules);
        return;
    }
    tell_all(&api->config, &fresh);
    fresh.ageing = api->config.ageing;
    api->config = fresh;
    er_env_rules_fini(&api->env_rules);
    api->env_rules = rules;
    er_engine_tune(api->engine,
                   &(struct er_engine_options){.retention = fresh.retention,
                                               .max_losses = fresh.max_losses,
                                               .backoff_cap = fresh.backoff_cap});
    er_log(ER_LOG_INFO, "errandd", "the configuration was read again");
}

void
er_server_reload(struct er_api *api, bool system)
{
    read_settings(api, system);
    er_types_d_read(api);
}
