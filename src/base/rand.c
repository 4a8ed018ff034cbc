/* SPDX-License-Identifier: MIT */
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

void
er_rand_bytes(void *p, size_t n)
{
    unsigned char *at = p;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            ER_ASSERT(errno == EINTR);
            continue;
        }
        at += got;
        n -= (size_t)got;
    }
}

uint64_t
er_rand_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Takes n random bytes from a thread's own store, which one system call fills for many:
 * a request of a thousand tasks makes a thousand ids. */
static void
take_pooled(unsigned char *out, size_t n)
{
    static _Thread_local unsigned char pool[320];
    static _Thread_local size_t left;
    if (left < n) {
        er_rand_bytes(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= n;
    memcpy(out, pool + left, n);
}

void
er_uuid7(er_usec wall_at, char out[ER_UUID_SIZE])
{
    uint64_t ms = (uint64_t)(wall_at / 1000);
    unsigned char r[10];
    take_pooled(r, sizeof r);
    (void)snprintf(out, ER_UUID_SIZE,
                   "%08x-%04x-7%01x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   (unsigned)((ms >> 16) & 0xffffffffu), (unsigned)(ms & 0xffff),
                   (unsigned)(r[0] & 15), r[1], (unsigned)((r[2] & 0x3f) | 0x80), r[3],
                   r[4], r[5], r[6], r[7], r[8], r[9]);
}
