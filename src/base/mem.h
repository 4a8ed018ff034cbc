/* SPDX-License-Identifier: MIT */
/* Memory: the one place that calls malloc, so that tests can make the n-th allocation
 * fail. er_alloc and its kin return NULL when memory is out; the er_x* forms are for the
 * programs' own code and end the process with a message instead. Any thread. */
#ifndef ER_BASE_MEM_H
#define ER_BASE_MEM_H

#include <stddef.h>

#include "base/error.h"

void *er_alloc(size_t size) ER_MUSTCHECK;              /* not cleared */
void *er_zalloc(size_t size) ER_MUSTCHECK;             /* cleared */
void *er_realloc(void *old, size_t size) ER_MUSTCHECK; /* old stays when it fails */
/* realloc of n elements of `size` bytes; NULL also when the product overflows */
void *er_realloc_array(void *old, size_t n, size_t size) ER_MUSTCHECK;
char *er_strdup(const char *s) ER_MUSTCHECK; /* NULL gives NULL */
char *er_strndup(const char *s, size_t n) ER_MUSTCHECK;
void *er_memdup(const void *p, size_t n) ER_MUSTCHECK; /* adds a NUL behind */
void er_free(void *p);                                 /* NULL is fine */

void *er_xalloc(size_t size);
void *er_xzalloc(size_t size);
void *er_xrealloc_array(void *old, size_t n, size_t size);
char *er_xstrdup(const char *s);
char *er_xstrndup(const char *s, size_t n);
char *er_xasprintf(const char *fmt, ...) ER_PRINTF(1, 2);

/* For the library, which lives in somebody else's process: keeps `size` bytes (again,
 * when they were used up). The first allocation that fails gives them up and is tried
 * again, so that a moment without memory is survived everywhere. And from now on the
 * er_x* forms wait some seconds for memory before they end the process. Cheap when the
 * reserve is there. */
void er_mem_reserve(size_t size);

/* For tests: the n-th allocation from now fails (1 = the next), and when `persist` is not
 * 0 all after it too; 0 switches it off. er_mem_fault_hit tells whether it has struck. */
void er_mem_fault_set(long n, int persist);
int er_mem_fault_hit(void);

/* Memory of many small pieces that are freed together. A zeroed struct is empty. */
struct er_arena_block;
struct er_arena {
    struct er_arena_block *head;
    size_t left; /* bytes free in head */
};
void *er_arena_alloc(struct er_arena *a,
                     size_t size) ER_MUSTCHECK; /* cleared, aligned 16 */
char *er_arena_strdup(struct er_arena *a,
                      const char *s) ER_MUSTCHECK; /* NULL gives NULL */
void *er_arena_memdup(struct er_arena *a, const void *p,
                      size_t n) ER_MUSTCHECK; /* + NUL */
void er_arena_free(struct er_arena *a);       /* empty again, usable again */
void er_arena_clear(struct er_arena *a);      /* the same, but one block is kept for it */

#endif
