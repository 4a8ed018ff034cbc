/* SPDX-License-Identifier: MIT */
/* What may change while the engine runs. */
#include "engine/engine_priv.h"

void
er_engine_tune(struct er_engine *e, const struct er_engine_options *options)
{
    e->options.retention = options->retention;
    e->options.max_losses = options->max_losses;
    e->options.backoff_cap = options->backoff_cap;
}
