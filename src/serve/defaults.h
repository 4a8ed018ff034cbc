/* SPDX-License-Identifier: MIT */
/* From values of the configuration to what the engine's API needs of them; for the
 * daemon, and for an engine inside a host, which has no configuration but the same
 * defaults. */
#ifndef ER_SERVE_DEFAULTS_H
#define ER_SERVE_DEFAULTS_H

#include "api/api.h"
#include "wire/config.h"

/* What `c` says. `system`: of an instance of the whole machine. */
void er_defaults_take(struct er_api_config *out, const struct er_config *c, bool system);
/* What holds where nothing is said: model/options.def. */
void er_defaults_set(struct er_api_config *out);

#endif
