/* SPDX-License-Identifier: MIT */
/* Happy path: stat the store, bind a socket in the abstract namespace to the name of its
 * device and inode, listen. When the name is taken, a connection tells who has it
 * (SO_PEERCRED): a live owner is ER_EBUSY with its pid; a dead or dying one's name is
 * free within moments and is tried again, 2000 times 5 ms. A name that a stranger has
 * taken, and a system without such sockets, claim nothing and are no error: the lock at
 * the path holds without it. No descriptor or memory for one is an error. */
#include "serve/claim.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "serve/owner.h"

#define TRIES         2000 /* looks at a claim whose owner is dead or dying */
#define TRIES_UNKNOWN 200  /* ... or cannot be told */
#define PAUSE_US      5000

/* Who listens at that name; 0 = unknown, -1 = nobody whom the store concerns. */
static int
find_listener(const struct sockaddr_un *name, socklen_t len, uid_t owner)
{
    struct ucred who = {0};
    socklen_t size = sizeof who;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)name, len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
        er_close(&fd);
        return 0;
    }
    er_close(&fd);
    return who.uid == geteuid() || who.uid == owner || who.uid == 0 ? who.pid : -1;
}

/* Why there is no socket just now; else this system has none. */
static bool
lacks_means(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE || errnum == ENOMEM || errnum == ENOBUFS;
}

static socklen_t
name_of(const struct stat *st, struct sockaddr_un *name)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "errand-store-%llx-%llx",
                 (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int
er_claim_take(const char *store, int *fd, int *out_pid)
{
    struct stat st;
    struct sockaddr_un name;
    if (*fd >= 0 || stat(store, &st) != 0) {
        return 0;
    }
    socklen_t len = name_of(&st, &name);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0) {
        return lacks_means(errno) ? er_error_from_errno(errno) : 0;
    }
    for (int i = 0;; i++) {
        if (bind(*fd, (const struct sockaddr *)&name, len) == 0) {
            (void)listen(*fd, SOMAXCONN);
            return 0;
        }
        int pid = errno == EADDRINUSE ? find_listener(&name, len, st.st_uid) : -1;
        int tries = pid > 0 ? TRIES : TRIES_UNKNOWN;
        if (pid >= 0 && !er_owner_lives(pid) && i < tries) {
            (void)usleep(PAUSE_US);
            continue;
        }
        er_close(fd);
        *out_pid = pid;
        return pid < 0 ? 0 : ER_EBUSY;
    }
}
