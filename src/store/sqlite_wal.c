/* SPDX-License-Identifier: MIT */
/* The write-ahead log, written in pieces as large as a commit. SQLite writes two pieces a
 * page (a head of 24 bytes, the page), one behind the other: a commit of seven pages is
 * fourteen system calls. A layer over the default VFS gathers what is contiguous and
 * writes it when SQLite asks for anything else of that file: a sync above all, which
 * every commit ends with, before the pages are shown to readers (synchronous=FULL). All
 * other files are opened as ever.
 *
 * What cannot be written shows one call later than SQLite would see it, in the sync of
 * the same commit, which fails the commit all the same. The gathered bytes are dropped
 * then: they lie behind the last valid frame, where the next commit begins again. */
#include <string.h>

#include "store/sqlite_priv.h"

/* SQLite's VFS for unix cannot write 128 KiB or more at once. */
#define GATHER_MAX ((size_t)64 << 10)
#define GATHER_MIN ((size_t)16 << 10)

struct wal_vfs {
    sqlite3_vfs vfs; /* the default one's, but for its name, its size and how it opens */
    sqlite3_vfs *below;
    char name[64];
};
struct wal_file {
    sqlite3_file base;
    sqlite3_file *below;
    char *bytes; /* gathered, not written yet */
    size_t n, size;
    sqlite3_int64 at; /* where in the file they belong */
};

static int
flush(struct wal_file *f)
{
    size_t n = f->n;
    f->n = 0;
    return n ? f->below->pMethods->xWrite(f->below, f->bytes, (int)n, f->at) : SQLITE_OK;
}

/* Makes room for n bytes behind those that are there; false: there is none. */
static bool
make_room(struct wal_file *f, size_t n)
{
    size_t size = f->size ? f->size : GATHER_MIN;
    while (size < f->n + n && size < GATHER_MAX) {
        size *= 2;
    }
    if (size < f->n + n) {
        return false;
    }
    if (size > f->size) {
        char *more = sqlite3_realloc64(f->bytes, size);
        if (!more) {
            return false;
        }
        f->bytes = more;
        f->size = size;
    }
    return true;
}

static int
wal_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    size_t len = (size_t)n;
    if (f->n == 0 || at != f->at + (sqlite3_int64)f->n || !make_room(f, len)) {
        int rc = flush(f);
        if (rc != SQLITE_OK) {
            return rc;
        }
        if (!make_room(f, len)) { /* no memory for it */
            return f->below->pMethods->xWrite(f->below, p, n, at);
        }
        f->at = at;
    }
    memcpy(f->bytes + f->n, p, len);
    f->n += len;
    return SQLITE_OK;
}

static int
wal_close(sqlite3_file *file)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    int rc = flush(f);
    int closed = f->below->pMethods->xClose(f->below);
    sqlite3_free(f->bytes);
    sqlite3_free(f->below);
    return rc ? rc : closed;
}

static int
wal_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    int rc = flush(f);
    return rc ? rc : f->below->pMethods->xRead(f->below, p, n, at);
}

static int
wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    int rc = flush(f);
    return rc ? rc : f->below->pMethods->xTruncate(f->below, size);
}

static int
wal_sync(sqlite3_file *file, int flags)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    int rc = flush(f);
    return rc ? rc : f->below->pMethods->xSync(f->below, flags);
}

static int
wal_size(sqlite3_file *file, sqlite3_int64 *size)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    int rc = flush(f);
    return rc ? rc : f->below->pMethods->xFileSize(f->below, size);
}

static int
wal_lock(sqlite3_file *file, int level)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    return f->below->pMethods->xLock(f->below, level);
}

static int
wal_unlock(sqlite3_file *file, int level)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    return f->below->pMethods->xUnlock(f->below, level);
}

static int
wal_check_lock(sqlite3_file *file, int *out)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    return f->below->pMethods->xCheckReservedLock(f->below, out);
}

static int
wal_control(sqlite3_file *file, int op, void *arg)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    size_t n = f->n;
    int rc = flush(f);
    f->n = rc ? n : 0; /* whose error nobody heeds: it must show in the sync */
    return rc ? rc : f->below->pMethods->xFileControl(f->below, op, arg);
}

static int
wal_sector_size(sqlite3_file *file)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    return f->below->pMethods->xSectorSize(f->below);
}

static int
wal_device(sqlite3_file *file)
{
    struct wal_file *f = (struct wal_file *)(void *)file;
    return f->below->pMethods->xDeviceCharacteristics(f->below);
}

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_lock,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_device,
};

static int
open_wal(sqlite3_vfs *below, const char *name, struct wal_file *f, int flags,
         int *out_flags)
{
    *f = (struct wal_file){.below = sqlite3_malloc(below->szOsFile)};
    if (!f->below) {
        return SQLITE_NOMEM;
    }
    memset(f->below, 0, (size_t)below->szOsFile);
    int rc = below->xOpen(below, name, f->below, flags, out_flags);
    if (f->below->pMethods) {
        f->base.pMethods = &wal_methods; /* it will be closed, even if this has failed */
    } else {
        sqlite3_free(f->below);
    }
    return rc;
}

static int
open_any(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
         int *out_flags)
{
    sqlite3_vfs *below = ((struct wal_vfs *)(void *)vfs)->below;
    if (flags & SQLITE_OPEN_WAL) {
        struct wal_file *f = (struct wal_file *)(void *)file;
        return open_wal(below, name, f, flags, out_flags);
    }
    return below->xOpen(below, name, file, flags, out_flags);
}

/* Makes the layer over `below`; NULL when memory is out. */
static sqlite3_vfs *
make(sqlite3_vfs *below, const char *name)
{
    struct wal_vfs *v = sqlite3_malloc(sizeof *v); /* for ever */
    if (!v) {
        return NULL;
    }
    v->vfs = *below;
    v->below = below;
    sqlite3_snprintf(sizeof v->name, v->name, "%s", name);
    v->vfs.zName = v->name;
    v->vfs.pNext = NULL;
    v->vfs.xOpen = open_any;
    if (v->vfs.szOsFile < (int)sizeof(struct wal_file)) {
        v->vfs.szOsFile = (int)sizeof(struct wal_file);
    }
    if (sqlite3_vfs_register(&v->vfs, 0) != SQLITE_OK) {
        sqlite3_free(v);
        return NULL;
    }
    return &v->vfs;
}

const char *
er_sqlite_vfs(void)
{
    char name[64];
    if (sqlite3_initialize() != SQLITE_OK) {
        return NULL;
    }
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);
    if (!below || strlen(below->zName) > sizeof name - 16) {
        return NULL;
    }
    sqlite3_snprintf(sizeof name, name, "errand-%s", below->zName);
    sqlite3_mutex *mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_APP1);
    sqlite3_mutex_enter(mutex);
    sqlite3_vfs *vfs = sqlite3_vfs_find(name);
    vfs = vfs ? vfs : make(below, name);
    sqlite3_mutex_leave(mutex);
    return vfs ? vfs->zName : NULL;
}
