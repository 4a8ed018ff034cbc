/* SPDX-License-Identifier: MIT */
/* Definitions of types that come from files, not from requests (types.c). They go the way
 * of a PUT: checked by who reads them, written to the store, then known to the engine.
 * Loop thread. */
#ifndef ER_API_REGISTRY_H
#define ER_API_REGISTRY_H

#include "api/api.h"

/* Defines a type as a whole, instead of what there was; nothing is done when it is so
 * already. It holds at once, since the file will be read again if the store should fail
 * to keep it, which is logged. Copied. */
void er_registry_define(struct er_api *api, const struct er_type *type);
/* Its file is gone: forgets the definition; a built-in type is as ever again. */
void er_registry_forget(struct er_api *api, const char *name);

/* Says that there is no type of that name, and which is like it: ER_ENOTFOUND. */
int er_registry_fail_unknown(const struct er_api *api, const char *name,
                             struct er_err *err);

#endif
