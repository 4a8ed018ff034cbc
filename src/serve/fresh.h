/* SPDX-License-Identifier: MIT */
/* A store that is about to be made beside what an earlier one has left. */
#ifndef ER_SERVE_FRESH_H
#define ER_SERVE_FRESH_H

#include "base/error.h"
#include "wire/places.h"

/* For the owner of the lock, before the store is opened. When there is no store (or an
 * empty file), moves aside what belongs to one that was deleted: its logs, in which the
 * numbers of new tasks would find the output of old ones, and its journal, which SQLite
 * would throw away. Each is told with a WARN. An error with words when that cannot be
 * done. */
int er_fresh_make_way(const struct er_places *places, struct er_err *err) ER_MUSTCHECK;

#endif
