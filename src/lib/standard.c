/* SPDX-License-Identifier: MIT */
/* One count for all handles of the process. It takes a lock of its own, since the last
 * one that goes must not take away what another is about to rely on. */
#include "lib/standard.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/lock.h"

#define STANDARD 3 /* descriptors: 0 to 2 */

static struct er_lock lock = ER_LOCK_STATIC;
static int holders;
static bool is_held[STANDARD];

/* The lowest that is free is what open gives. */
static void
fill(void)
{
    for (;;) {
        int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            return;
        }
        if (fd >= STANDARD) {
            (void)close(fd);
            return;
        }
        is_held[fd] = true;
    }
}

/* What the program has put there meanwhile is its own. */
static void
clear(void)
{
    for (int fd = 0; fd < STANDARD; fd++) {
        int flags = is_held[fd] ? fcntl(fd, F_GETFL) : -1;
        if (flags >= 0 && (flags & O_PATH)) {
            (void)close(fd);
        }
        is_held[fd] = false;
    }
}

void
er_standard_hold(void)
{
    er_lock_take(&lock);
    holders++;
    fill();
    er_lock_give(&lock);
}

void
er_standard_release(void)
{
    er_lock_take(&lock);
    if (--holders == 0) {
        clear();
    }
    er_lock_give(&lock);
}
