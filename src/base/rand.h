/* SPDX-License-Identifier: MIT */
/* Randomness: getrandom(2) for tokens and ids, and a small seeded generator for jitter
 * and tests. */
#ifndef ER_BASE_RAND_H
#define ER_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* Fills p with n random bytes from the kernel. Any thread. */
void er_rand_bytes(void *p, size_t n);
/* The next number of a seeded generator (splitmix64, Steele, Lea and Flood 2014). */
uint64_t er_rand_next(uint64_t *state);

#define ER_UUID_SIZE 37
/* A UUID version 7 (RFC 9562): the time in milliseconds, then random bits, so that keys
 * made one after the other stand side by side in an index. Any thread. */
void er_uuid7(er_usec wall_at, char out[ER_UUID_SIZE]);

#endif
