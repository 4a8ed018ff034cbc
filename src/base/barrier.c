/* SPDX-License-Identifier: MIT */
/* Two system calls. Where the kernel has no membarrier, er_barrier_init says so and the
 * caller uses a fence on both sides; once it has worked, a failure is an assertion. */
#include "base/barrier.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* Once a process; again does no harm. */
bool
er_barrier_init(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void
er_barrier_all(void)
{
    long rc = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    if (rc != 0) { /* in the child of a fork it may have to be asked for again */
        ER_ASSERT(er_barrier_init());
        rc = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    }
    ER_ASSERT(rc == 0);
}
