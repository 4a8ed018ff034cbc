/* SPDX-License-Identifier: MIT */
/* Types as people read them: in one row of a table, in full. The type is the JSON of the
 * daemon (docs/PROTOCOL.md, "Types"). */
#ifndef ER_APP_SHOW_TYPE_H
#define ER_APP_SHOW_TYPE_H

#include <jansson.h>

#include "app/render.h"

/* The columns of er_show_type_row. */
struct er_table *er_show_type_table(void);
/* Adds a row: name, what it does, what executes it, how many run, how long it takes. */
void er_show_type_row(struct er_table *table, const json_t *type);
/* Whether something is known that executes its tasks. */
bool er_show_type_is_executed(const json_t *type);
/* Prints all of a type: 0 or the exit code. */
int er_show_type(const json_t *type);

#endif
