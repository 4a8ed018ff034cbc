/* SPDX-License-Identifier: MIT */
/* The types that every instance has. They stand in no store: the engine is given them at
 * the start and whenever a definition that stood before one of them goes. Loop thread. */
#ifndef ER_API_BUILTIN_H
#define ER_API_BUILTIN_H

#include "engine/engine.h"

/* The name of the i-th, from 0; NULL behind the last. */
const char *er_builtin_name(size_t i);
/* Its definition (wire/type_json.h); NULL: there is no built-in type of that name. */
const char *er_builtin_definition(const char *name);
/* Gives the engine those for which the store has no definition. Once, when the engine is
 * open and before anything is submitted. */
void er_builtin_load(struct er_engine *e);
/* The definition of a type is gone from the store: forgets it, or takes the built-in. */
void er_builtin_restore(struct er_engine *e, const char *name);

#endif
