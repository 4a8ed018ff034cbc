/* SPDX-License-Identifier: MIT */
/* A binary min-heap of nodes embedded in the caller's structs. The heap owns only its
 * array of pointers. One thread. */
#ifndef ER_BASE_HEAP_H
#define ER_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct er_heap_node {
    size_t pos; /* 1-based place in the heap; 0 = not in one */
};
typedef bool er_heap_less_fn(const struct er_heap_node *a, const struct er_heap_node *b);

struct er_heap {
    struct er_heap_node **nodes;
    size_t n, size;
    er_heap_less_fn *less;
};

void er_heap_init(struct er_heap *h, er_heap_less_fn *less);
void er_heap_fini(struct er_heap *h);
int er_heap_push(struct er_heap *h,
                 struct er_heap_node *node) ER_MUSTCHECK; /* ER_ENOMEM */
struct er_heap_node *
er_heap_get(const struct er_heap *h); /* the least; NULL when empty */
void er_heap_remove(struct er_heap *h,
                    struct er_heap_node *node);                  /* no-op if not in it */
void er_heap_move(struct er_heap *h, struct er_heap_node *node); /* its key has changed */

#define ER_CONTAINER(ptr, type, member)                                                  \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
