/* SPDX-License-Identifier: MIT */
/* The kernel's generator cannot fail once it is ready, so a failure is an assertion. Ids
 * take their random bytes from a small store of the thread, filled by one system call
 * for 32 ids. */
#include "base/rand.h"

#include <errno.h>
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
    static const char digits[] = "0123456789abcdef";
    uint64_t ms = (uint64_t)(wall_at / 1000);
    unsigned char b[16];
    for (int i = 0; i < 6; i++) {
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    }
    take_pooled(b + 6, 10);
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0f)); /* the version */
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f)); /* the variant */
    char *at = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *at++ = '-';
        }
        *at++ = digits[b[i] >> 4];
        *at++ = digits[b[i] & 15];
    }
    *at = '\0';
}
