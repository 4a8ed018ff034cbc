/* SPDX-License-Identifier: MIT */
/* An event about a name on the way calls back; who was called sets the watches anew.
 * Lost events (a queue that ran over) count as one. er_path_watch_start is false where
 * inotify is out. */
#include "work/path_watch.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/io.h"
#include "base/mem.h"

#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR)

/* Whether one event is about a name we watch its folder for. */
static bool
is_ours(const struct er_path_watch *p, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW) {
        return true;
    }
    for (int i = 0; i < p->n; i++) {
        if (p->steps[i].wd == e->wd && e->len > 0 &&
            strcmp(p->steps[i].name, e->name) == 0) {
            return true;
        }
    }
    return false;
}

static void
on_events(struct er_fd_watch *w, uint32_t events)
{
    (void)events;
    struct er_path_watch *p = ER_CONTAINER(w, struct er_path_watch, watch);
    _Alignas(struct inotify_event) char buf[4096];
    ssize_t n = read(p->fd, buf, sizeof buf);
    bool ours = false;
    for (ssize_t at = 0; at < n;) {
        struct inotify_event e;
        memcpy(&e, buf + at, sizeof e);
        ours = ours || is_ours(p, (const void *)(buf + at));
        at += (ssize_t)(sizeof e + e.len);
    }
    if (ours) {
        p->fn(p);
    }
}

void
er_path_watch_init(struct er_path_watch *p, struct er_watches *watches)
{
    *p = (struct er_path_watch){.watches = watches, .fd = -1};
}

/* Watches each folder on the way that is there. */
static bool
add_steps(struct er_path_watch *p, const char *path)
{
    char *folder = er_xstrdup(path);
    bool any = false;
    for (char *at = p->path; at && *at == '/' && p->n < ER_PATH_DEPTH;) {
        char *name = at + 1;
        char *next = strchr(name, '/');
        size_t len = (size_t)(at - p->path);
        folder[len] = '\0';
        int wd = inotify_add_watch(p->fd, len ? folder : "/", EVENTS);
        folder[len] = '/';
        if (wd >= 0) {
            p->steps[p->n].wd = wd;
            p->steps[p->n++].name = name;
            any = true;
        }
        *at = '\0';
        at = next;
    }
    er_free(folder);
    return any;
}

bool
er_path_watch_start(struct er_path_watch *p, const char *path, er_path_watch_fn *fn)
{
    er_path_watch_stop(p);
    p->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (p->fd < 0 ||
        er_watch_start(p->watches, &p->watch, p->fd, EPOLLIN, on_events) != 0) {
        er_close(&p->fd);
        return false;
    }
    p->fn = fn;
    p->path = er_xstrdup(path);
    return add_steps(p, path);
}

void
er_path_watch_stop(struct er_path_watch *p)
{
    if (p->fd >= 0) {
        er_watch_stop(p->watches, &p->watch);
        er_close(&p->fd);
    }
    er_free(p->path);
    p->path = NULL;
    p->n = 0;
}
