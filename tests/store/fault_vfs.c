/* SPDX-License-Identifier: MIT */
#include "fault_vfs.h"

#include <sqlite3.h>
#include <stdint.h>
#include <string.h>

struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs faulty_vfs;
static sqlite3_io_methods faulty_methods;
static _Atomic(enum fault_vfs_kind) broken_kind;
static _Atomic long countdown; /* 0 = whole */
static _Atomic bool broken, hit;
static _Atomic long writes;

void
fault_vfs_break(enum fault_vfs_kind kind, long n)
{
    broken_kind = kind;
    countdown = n;
    broken = hit = false;
}

void
fault_vfs_mend(void)
{
    countdown = 0;
    broken = false;
}

long
fault_vfs_writes(void)
{
    return writes;
}

bool
fault_vfs_hit(void)
{
    return hit;
}

static bool
fails(bool is_sync)
{
    if (is_sync != (broken_kind == FAULT_VFS_SYNC) || countdown == 0) {
        return false;
    }
    if (!broken && --countdown == 0) {
        broken = true;
        countdown = 1;
    }
    hit = hit || broken;
    return broken;
}

static sqlite3_file *
real(sqlite3_file *file)
{
    return ((struct faulty_file *)file)->real;
}

static int
on_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    writes++;
    if (fails(false)) {
        return broken_kind == FAULT_VFS_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real(file)->pMethods->xWrite(real(file), p, n, at);
}

static int
on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (broken_kind == FAULT_VFS_IO && fails(false)) {
        return SQLITE_IOERR_TRUNCATE;
    }
    return real(file)->pMethods->xTruncate(real(file), size);
}

static int
on_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return fails(true) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int
on_close(sqlite3_file *file)
{
    return real(file)->pMethods->xClose(real(file));
}

static int
on_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    return real(file)->pMethods->xRead(real(file), p, n, at);
}

static int
on_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real(file)->pMethods->xFileSize(real(file), size);
}

static int
on_lock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xLock(real(file), level);
}

static int
on_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}

static int
on_check_lock(sqlite3_file *file, int *out)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), out);
}

static int
on_control(sqlite3_file *file, int op, void *arg)
{
    return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int
on_sector_size(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}

static int
on_device(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int
on_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}

static int
on_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}

static void
on_shm_barrier(sqlite3_file *file)
{
    real(file)->pMethods->xShmBarrier(real(file));
}

static int
on_shm_unmap(sqlite3_file *file, int delete_it)
{
    return real(file)->pMethods->xShmUnmap(real(file), delete_it);
}

static int
on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    struct faulty_file *f = (struct faulty_file *)file;
    (void)vfs;
    f->real = (sqlite3_file *)(void *)(f + 1);
    memset(f->real, 0, (size_t)real_vfs->szOsFile);
    int rc = real_vfs->xOpen(real_vfs, name, f->real, flags, out_flags);
    file->pMethods = f->real->pMethods ? &faulty_methods : NULL;
    return rc;
}

void
fault_vfs_install(void)
{
    if (sqlite3_vfs_find("faulty")) {
        (void)sqlite3_vfs_register(&faulty_vfs, 1);
        return;
    }
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_methods = (sqlite3_io_methods){
        .iVersion = 2,
        .xClose = on_close,
        .xRead = on_read,
        .xWrite = on_write,
        .xTruncate = on_truncate,
        .xSync = on_sync,
        .xFileSize = on_size,
        .xLock = on_lock,
        .xUnlock = on_unlock,
        .xCheckReservedLock = on_check_lock,
        .xFileControl = on_control,
        .xSectorSize = on_sector_size,
        .xDeviceCharacteristics = on_device,
        .xShmMap = on_shm_map,
        .xShmLock = on_shm_lock,
        .xShmBarrier = on_shm_barrier,
        .xShmUnmap = on_shm_unmap,
    };
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.pNext = NULL;
    faulty_vfs.szOsFile = real_vfs->szOsFile + (int)sizeof(struct faulty_file);
    faulty_vfs.xOpen = on_open;
    (void)sqlite3_vfs_register(&faulty_vfs, 1);
}
