/* SPDX-License-Identifier: MIT */
/* The lines of the claim stream (docs/PROTOCOL.md, "POST /v1/work/claim"): each becomes
 * one call. What is not understood is logged and passed over. Loop thread. */
#ifndef ER_WORK_ORDERS_H
#define ER_WORK_ORDERS_H

#include <jansson.h>

struct er_worker;
void er_orders_take(struct er_worker *w, json_t *line);

#endif
