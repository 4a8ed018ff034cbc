/* SPDX-License-Identifier: MIT */
/* Only file systems that are known to be local count; what cannot be asked about counts
 * as remote. The memory is a table of hashes, a place each: a newcomer takes the place
 * of another, which is then looked at again. Where mounts cannot be watched nothing is
 * remembered. */
#include "work/local_fs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/heap.h"
#include "base/io.h"

/* What linux/magic.h does not name. */
#define MAGIC_JFS      0x3153464a
#define MAGIC_ZFS      0x2fc12fc1
#define MAGIC_BCACHEFS 0xca451a4e

static bool
is_local(uint64_t magic)
{
    switch (magic) {
    case EXT4_SUPER_MAGIC: /* and ext2, ext3 */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case OVERLAYFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case SQUASHFS_MAGIC:
    case EROFS_SUPER_MAGIC_V1:
    case REISERFS_SUPER_MAGIC:
    case MAGIC_JFS:
    case MAGIC_ZFS:
    case MAGIC_BCACHEFS:
        return true;
    default:
        return false;
    }
}

bool
er_local_fs_has(int folder_fd, const char *path)
{
    struct statfs st;
    int fd = openat(folder_fd, path, O_PATH | O_CLOEXEC);
    bool local = fd >= 0 && fstatfs(fd, &st) == 0 && is_local((uint32_t)st.f_type);
    er_close(&fd);
    return local;
}

static void
on_mounts_changed(struct er_fd_watch *w, uint32_t events)
{
    (void)events;
    struct er_local_fs *l = ER_CONTAINER(w, struct er_local_fs, watch);
    memset(l->known, 0, sizeof l->known);
}

void
er_local_fs_init(struct er_local_fs *l, struct er_watches *watches)
{
    *l = (struct er_local_fs){.watches = watches};
    l->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (l->mounts_fd >= 0 && er_watch_start(watches, &l->watch, l->mounts_fd,
                                            EPOLLPRI | EPOLLET, on_mounts_changed) != 0) {
        er_close(&l->mounts_fd);
    }
}

void
er_local_fs_fini(struct er_local_fs *l)
{
    er_watch_stop(l->watches, &l->watch);
    er_close(&l->mounts_fd);
}

/* FNV-1a (Fowler, Noll, Vo) over the three texts with their ends. */
static uint64_t
hash(const struct er_command *c)
{
    const char *const texts[] = {c->cwd, c->search, c->argv[0]};
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < 3; i++) {
        const char *p = texts[i];
        do {
            h = (h ^ (unsigned char)*p) * 0x100000001b3u;
        } while (*p++ != '\0');
    }
    return h ? h : 1;
}

bool
er_local_fs_knows(const struct er_local_fs *l, const struct er_command *c)
{
    uint64_t h = hash(c);
    return c->stdin_kind != ER_STDIN_FILE && l->known[h % ER_LOCAL_FS_KNOWN] == h;
}

void
er_local_fs_learn(struct er_local_fs *l, const struct er_command *c)
{
    uint64_t h = hash(c);
    if (l->mounts_fd >= 0) {
        l->known[h % ER_LOCAL_FS_KNOWN] = h;
    }
}
