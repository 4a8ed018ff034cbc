/* SPDX-License-Identifier: MIT */
/* A disk that fails when told to: a layer between SQLite and its own file system,
 * installed as the default one. Counts what changes the disk (write, sync, truncate);
 * from the n-th on all fail until it is mended. Syncs are counted and not done: tests
 * need no real disk. */
#ifndef ER_TESTS_FAULT_VFS_H
#define ER_TESTS_FAULT_VFS_H

#include <stdbool.h>

enum fault_vfs_kind {
    FAULT_VFS_FULL, /* writes: no space left; syncs work */
    FAULT_VFS_IO,   /* writes fail */
    FAULT_VFS_SYNC, /* writes work, syncs fail */
};

void
fault_vfs_install(void); /* again after sqlite3_shutdown: it is no longer the default */
void fault_vfs_break(enum fault_vfs_kind kind,
                     long n); /* the n-th from now fails (1 = next) */
void fault_vfs_mend(void);
long fault_vfs_writes(void); /* writes so far, of all files */
bool fault_vfs_hit(void);    /* whether something has failed since fault_vfs_break */

#endif
