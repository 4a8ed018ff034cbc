/* SPDX-License-Identifier: MIT */
/* A file that is read with pread or mmap has an offset that does not move; that is why
 * one look alone says nothing, and only the second that finds the same file further on
 * does. */
#include "work/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "work/worker.h"

#define MOST_PROCESSES 64
#define MOST_FDS       256

/* Reads a small file of /proc: true with its text. */
static bool
read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    er_close(&fd);
    if (n < 0) {
        return false;
    }
    text[n] = '\0';
    return true;
}

/* Offset and access mode of a descriptor. */
static bool
read_fdinfo(pid_t pid, const char *fd, int64_t *out_pos, int *out_flags)
{
    char path[300], text[256];
    (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", (int)pid, fd);
    long long pos;
    unsigned flags;
    if (!read_text(path, text, sizeof text) ||
        sscanf(text, "pos: %lld flags: %o", &pos, &flags) != 2) {
        return false;
    }
    *out_pos = pos;
    *out_flags = (int)flags;
    return true;
}

static void
look_at_fd(pid_t pid, const char *fd, struct er_probe_found *out)
{
    char path[300];
    struct stat st;
    int64_t pos;
    int flags;
    (void)snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, fd);
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < ER_PROBE_SIZE ||
        !read_fdinfo(pid, fd, &pos, &flags) || (flags & O_ACCMODE) != O_RDONLY) {
        return;
    }
    if (out->files == 1 && out->dev == st.st_dev && out->ino == st.st_ino) {
        out->pos = pos > out->pos ? pos : out->pos;
        return;
    }
    *out = (struct er_probe_found){.files = out->files + 1,
                                   .dev = st.st_dev,
                                   .ino = st.st_ino,
                                   .pos = pos,
                                   .size = st.st_size};
}

static void
look_at_process(pid_t pid, struct er_probe_found *out)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir) {
        return;
    }
    struct dirent *e;
    for (int n = 0; n < MOST_FDS && (e = readdir(dir)) != NULL; n++) {
        if (e->d_name[0] != '.') {
            look_at_fd(pid, e->d_name, out);
        }
    }
    (void)closedir(dir);
}

/* Looks at a process and its descendants. May block; any thread. */
static void
look(pid_t pid, struct er_probe_found *out)
{
    pid_t pids[MOST_PROCESSES] = {pid};
    int n = 1;
    *out = (struct er_probe_found){0};
    for (int i = 0; i < n; i++) {
        char path[64], text[1024];
        look_at_process(pids[i], out);
        (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pids[i],
                       (int)pids[i]);
        if (!read_text(path, text, sizeof text)) {
            continue;
        }
        char *at = text, *end;
        for (long child; n < MOST_PROCESSES && (child = strtol(at, &end, 10)) > 0;
             at = end) {
            pids[n++] = (pid_t)child;
        }
    }
}

static void
on_run(struct er_helper_job *job)
{
    struct er_probe *p = ER_CONTAINER(job, struct er_probe, job);
    look(p->pid, &p->now);
}

static void
on_done(struct er_helper_job *job)
{
    struct er_probe *p = ER_CONTAINER(job, struct er_probe, job);
    struct er_work_attempt *a = p->attempt;
    p->busy = false;
    const struct er_probe_found *now = &p->now, *before = &p->before;
    if (a->state == ER_ATTEMPT_RUNNING && now->files == 1 && before->files == 1 &&
        now->dev == before->dev && now->ino == before->ino && now->pos > before->pos) {
        struct er_progress_update u = {
            .source = ER_PROGRESS_FILE,
            .has_current = true,
            .has_total = true,
            .current = now->pos,
            .total = now->size,
            .unit = "bytes",
        };
        er_sample_update(a, &u);
    }
    p->before = p->now;
    er_attempt_advance(a);
}

void
er_probe_start(struct er_work_attempt *a)
{
    struct er_probe *p = &a->probe;
    if (p->busy || a->state != ER_ATTEMPT_RUNNING) {
        return;
    }
    p->attempt = a;
    p->busy = true;
    p->pid = a->pid;
    p->job.run = on_run;
    p->job.done = on_done;
    er_helper_post(&a->worker->helpers, ER_HELPER_PROBE, &p->job);
}
