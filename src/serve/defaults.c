/* SPDX-License-Identifier: MIT */
/* One member a setting, nothing is decided here but what a word stands for (ageing:
 * off). */
#include "serve/defaults.h"

void
er_defaults_take(struct er_api_config *out, const struct er_config *c, bool system)
{
    er_usec ageing = er_config_span(c, ER_CONFIG_AGEING);
    *out = (struct er_api_config){
        .concurrency = (int)er_config_int(c, ER_CONFIG_CONCURRENCY),
        .retries = (int)er_config_int(c, ER_CONFIG_RETRIES),
        .backoff_for = er_config_span(c, ER_CONFIG_BACKOFF),
        .backoff_cap = er_config_span(c, ER_CONFIG_BACKOFF_CAP),
        .grace_for = er_config_span(c, ER_CONFIG_GRACE),
        .drain_for = er_config_span(c, ER_CONFIG_DRAIN),
        .ageing = ageing == ER_NEVER ? ER_AGEING_STRICT : ageing,
        .output_head = er_config_int(c, ER_CONFIG_OUTPUT_HEAD),
        .output_tail = er_config_int(c, ER_CONFIG_OUTPUT_TAIL),
        .max_losses = (int)er_config_int(c, ER_CONFIG_LOSSES),
        .retention = {.keep = er_config_int(c, ER_CONFIG_KEEP_FINISHED),
                      .keep_for = er_config_span(c, ER_CONFIG_KEEP_FINISHED_FOR),
                      .tombstone_for = er_config_span(c, ER_CONFIG_TOMBSTONES_FOR),
                      .facts = er_config_int(c, ER_CONFIG_FACTS_MAX),
                      .facts_for = er_config_span(c, ER_CONFIG_FACTS_FOR),
                      .log_bytes = er_config_int(c, ER_CONFIG_LOGS_MAX),
                      .only_state = -1},
        .socket_mode = system ? 0660 : 0600,
        .group_may_ask = system,
    };
}

void
er_defaults_set(struct er_api_config *out)
{
    struct er_config c;
    er_config_init(&c);
    er_defaults_take(out, &c, false);
    er_config_fini(&c);
}
