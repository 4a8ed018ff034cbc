/* SPDX-License-Identifier: MIT */
/* Names of queues, limit keys and cursors, which stand in addresses (/v1/queues/NAME) as
 * well. Pure; any thread. */
#ifndef ER_MODEL_NAME_H
#define ER_MODEL_NAME_H

/* NULL when something may be called so, else why not: words that follow the name. It has
 * 1 to ER_MAX_NAME bytes, none of them a control character, does not end with '/', and is
 * neither "." nor "..", which no address can hold (clients take them for folders, also as
 * %2e). */
const char *er_name_refusal(const char *name);

#endif
