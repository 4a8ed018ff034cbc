/* SPDX-License-Identifier: MIT */
/* Which commands can be spawned on the loop's own thread: those whose folders are known
 * to lie on file systems of this machine, where an open or exec does not hang. Handing a
 * spawn to another thread and back costs two wake-ups, about a fifth of the worker's time
 * with short commands.
 *
 * A command is known by its working directory, the folders searched and its name. The
 * spawner's thread looks at them with statfs at the first time; the loop's thread
 * remembers the good ones, and forgets all when anything is mounted or unmounted. */
#ifndef ER_WORK_LOCAL_FS_H
#define ER_WORK_LOCAL_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "work/command.h"
#include "work/watch.h"

/* Whether a path, relative to a folder, is on a file system of this machine. May block.
 */
bool er_local_fs_has(int folder_fd, const char *path);

#define ER_LOCAL_FS_KNOWN 256 /* power of two */

struct er_local_fs {
    struct er_watches *watches;
    struct er_fd_watch watch;
    int mounts_fd; /* /proc/self/mountinfo, which says when it changes; -1 = none */
    uint64_t known[ER_LOCAL_FS_KNOWN]; /* hashes; 0 = free */
};

/* Loop thread. Without the file of mounts nothing is ever known. */
void er_local_fs_init(struct er_local_fs *l, struct er_watches *watches);
void er_local_fs_fini(struct er_local_fs *l);
bool er_local_fs_knows(const struct er_local_fs *l, const struct er_command *c);
void er_local_fs_learn(struct er_local_fs *l, const struct er_command *c);

#endif
