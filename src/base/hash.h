/* SPDX-License-Identifier: MIT */
/* <uthash.h> as everything uses it that may live in somebody else's process: by itself it
 * ends the process when a table cannot grow. With er_xalloc the reserve and its patience
 * come first (mem.h). Rooms that carry on without an entry say HASH_NONFATAL_OOM
 * instead. */
#ifndef ER_BASE_HASH_H
#define ER_BASE_HASH_H

#include "base/mem.h"

#define uthash_malloc(size)  er_xalloc(size)
#define uthash_free(p, size) er_free(p)
#include <uthash.h>

#endif
