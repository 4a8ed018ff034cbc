/* SPDX-License-Identifier: MIT */
/* A store's one owner, whatever the store is called. Beside the lock that lies at a path
 * (PATH.lock), the inode is claimed: by a socket whose name no file stands for, and which
 * is free as soon as its owner is dead. So a hard link, or a symbolic link that a lock
 * did not see through, leads to the same owner. (A lock on the store itself would be
 * SQLite's.)
 *
 * Where the system has no such sockets, or another user has taken the name, nothing is
 * claimed: the lock at the path is there as well. */
#ifndef ER_SERVE_CLAIM_H
#define ER_SERVE_CLAIM_H

#include "base/error.h"

/* Claims the store until *fd is closed (which is -1 when nothing was claimed, or there is
 * no such file yet; nothing is done when it is not -1 before). ER_EBUSY: it is claimed,
 * by the process *out_pid (0 = unknown). Others, with errno: there was no descriptor, or
 * no memory, for the claim. Waits for at most ten seconds for one that dies just now. */
int er_claim_take(const char *store, int *fd, int *out_pid) ER_MUSTCHECK;

#endif
