/* SPDX-License-Identifier: MIT */
/* A full disk. Beside the store lies a file of BALLAST bytes that is given up when a
 * write finds no space, so that what runs can still end and be cancelled. From then on
 * the engine is tight: submits are refused at once and nothing is claimed, until there is
 * room again for the ballast and a margin. Looked at once a second, only while it is so.
 * All file work is on the thread for files; the ballast is no file of the store's. */
#include "engine/engine_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define BALLAST ((off_t)1 << 20)
#define MARGIN  ((uint64_t)3 << 20) /* free beside the ballast before it is made again */

struct ballast_job {
    struct er_job job;
    struct er_engine *engine;
    const char *path;
    bool give_up; /* else: make it */
    bool made;
};

static uint64_t
free_bytes(const char *path)
{
    struct statvfs v;
    char folder[4096];
    size_t n = (size_t)(strrchr(path, '/') - path);
    if (n >= sizeof folder) {
        return UINT64_MAX;
    }
    memcpy(folder, path, n);
    folder[n] = '\0';
    return statvfs(n ? folder : "/", &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize
                                              : UINT64_MAX;
}

static void
run_ballast(struct er_job *job, void *thread_ctx)
{
    (void)thread_ctx;
    struct ballast_job *b = (struct ballast_job *)(void *)job;
    if (b->give_up) {
        (void)unlink(b->path);
        return;
    }
    if (access(b->path, F_OK) == 0) {
        b->made = true;
        return;
    }
    if (free_bytes(b->path) < (uint64_t)BALLAST + MARGIN) {
        return;
    }
    int fd = open(b->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    b->made = fd >= 0 && posix_fallocate(fd, 0, BALLAST) == 0;
    er_close(&fd);
    if (!b->made) {
        (void)unlink(b->path);
    }
}

static void
done_ballast(struct er_job *job)
{
    struct ballast_job *b = (struct ballast_job *)(void *)job;
    struct er_engine *e = b->engine;
    if (b->made && e->tight && !e->sick) {
        e->tight = false;
        er_log(ER_LOG_WARN, "store",
               "there is space on the disk again: submits are taken");
        er_schedule_rearm(e);
    }
    er_free(b);
}

static void
post(struct er_engine *e, bool give_up)
{
    struct ballast_job *b = er_xzalloc(sizeof *b);
    b->job.run = run_ballast;
    b->job.done = done_ballast;
    b->engine = e;
    b->path = e->ballast;
    b->give_up = give_up;
    if (e->stopping) {
        er_free(b);
        return;
    }
    er_engine_files(e, &b->job);
}

int64_t
er_ballast_wanted(void)
{
    return (int64_t)BALLAST + (int64_t)MARGIN;
}

void
er_ballast_start(struct er_engine *e)
{
    if (e->options.store_path[0] == '/') {
        e->ballast = er_xasprintf("%s.ballast", e->options.store_path);
        post(e, false);
    }
}

void
er_ballast_give_up(struct er_engine *e)
{
    if (!e->tight && e->ballast) {
        er_log(ER_LOG_ERROR, "store",
               "the disk is full: submits are refused and nothing new "
               "is started until there is space");
        e->tight = true;
        post(e, true);
    }
}

void
er_ballast_look(struct er_engine *e)
{
    if (e->tight && !e->sick) {
        post(e, false);
    }
}
