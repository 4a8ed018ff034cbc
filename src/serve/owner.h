/* SPDX-License-Identifier: MIT */
/* The lock beside a store: whoever holds it owns the store, and its file says who that
 * is, in three lines: pid, socket (empty when there is none), program. For the daemon and
 * for the engine inside a host. (The inode is claimed as well: claim.h.) */
#ifndef ER_SERVE_OWNER_H
#define ER_SERVE_OWNER_H

#include <stdbool.h>

#include "base/error.h"
#include "wire/places.h"

/* Takes places->lock and writes this process and `socket` (NULL = none) into it. *out_fd,
 * which the caller closes, holds it; *out_is_new: this made the file. A lock whose owner
 * died just now is waited for, ten seconds at most. ER_EBUSY names the owner; *out_fd is
 * -1 after any error, and a file that was made is gone again. */
int er_owner_take(const struct er_places *places, const char *socket, int *out_fd,
                  bool *out_is_new, struct er_err *err) ER_MUSTCHECK;
/* Takes the lock's file away again, before the lock itself is let go. */
void er_owner_leave(const struct er_places *places);
/* Whether a process may still want what it holds. False for one that is gone, and for one
 * that ends: its first thread can be over (a zombie) while others have not let go yet. */
bool er_owner_lives(int pid);
/* ER_EBUSY with the words for a store that the process `pid` has (0 = unknown). */
int er_owner_refuse(const struct er_places *places, int pid,
                    struct er_err *err) ER_MUSTCHECK;

#endif
