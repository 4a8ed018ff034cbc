/* SPDX-License-Identifier: MIT */
/* JSON values as text in which numbers are as short as they can be. */
#ifndef ER_WIRE_JSON_DUMP_H
#define ER_WIRE_JSON_DUMP_H

#include <jansson.h>

/* As json_dumps, but a real number is written with the fewest digits that give the same
 * one again (0.304, not 0.30399999999999999). NULL when memory is out; else to be freed
 * by free(). Any thread. */
char *er_json_dumps(const json_t *v, size_t flags);

#endif
