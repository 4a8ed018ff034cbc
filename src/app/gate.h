/* SPDX-License-Identifier: MIT */
/* Queues and limit keys as rows of a table: their settings, what runs and waits, and when
 * the next one may start. A gate is the JSON of GET /v1/queues or /v1/limits. */
#ifndef ER_APP_GATE_H
#define ER_APP_GATE_H

#include <jansson.h>

#include "app/render.h"

struct er_table *er_gate_table(void);
void er_gate_row(struct er_table *table, const json_t *gate, er_usec now);
/* Who waits there, one in a row with what for, and how many more do; NULL: nobody. Of the
 * JSON of one gate, or of one type. */
struct er_table *er_gate_waiters(const json_t *gate);

#endif
