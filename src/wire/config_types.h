/* SPDX-License-Identifier: MIT */
/* A type's definition from a file in types.d: YAML, one mapping with the members that
 * wire/type_json.h has. As with the configuration, what a value is is decided by the
 * member it stands for (`help: no` is a text, `idempotent: no` is false). Blocking; any
 * thread. */
#ifndef ER_WIRE_CONFIG_TYPES_H
#define ER_WIRE_CONFIG_TYPES_H

#include "base/buf.h"
#include "base/mem.h"
#include "model/type.h"

/* Whether a file of that name defines a type: `NAME.yml`, and NAME may be one. *out (of
 * ER_PARAM_NAME_MAX + 1 bytes, may be NULL) gets the type's name. */
bool er_config_type_name(const char *file, char *out);
/* Reads a definition into the arena. ER_EINVALID names file, line and member:
 * "/x/types.d/fetch.yml:7: params.depth.min: ..."; ER_ENOTFOUND, ER_EIO, ER_ETOOBIG above
 * 1 MiB, ER_ENOMEM. */
int er_config_type_read(const char *path, struct er_arena *arena, struct er_type *out,
                        struct er_err *err) ER_MUSTCHECK;

#endif
