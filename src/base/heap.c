/* SPDX-License-Identifier: MIT */
/* Each node knows its place, so that removing and moving cost log n without a search.
 * Only er_heap_push can fail (the array grows): the node is then in no heap. */
#include "base/heap.h"

#include "base/mem.h"

void
er_heap_init(struct er_heap *h, er_heap_less_fn *less)
{
    *h = (struct er_heap){.less = less};
}

void
er_heap_fini(struct er_heap *h)
{
    er_free(h->nodes);
    h->nodes = NULL;
    h->n = h->size = 0;
}

static void
put(struct er_heap *h, size_t i, struct er_heap_node *node)
{
    h->nodes[i] = node;
    node->pos = i + 1;
}

static void
sift_up(struct er_heap *h, size_t i)
{
    struct er_heap_node *node = h->nodes[i];
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!h->less(node, h->nodes[parent])) {
            break;
        }
        put(h, i, h->nodes[parent]);
        i = parent;
    }
    put(h, i, node);
}

static void
sift_down(struct er_heap *h, size_t i)
{
    struct er_heap_node *node = h->nodes[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n) {
            break;
        }
        if (child + 1 < h->n && h->less(h->nodes[child + 1], h->nodes[child])) {
            child++;
        }
        if (!h->less(h->nodes[child], node)) {
            break;
        }
        put(h, i, h->nodes[child]);
        i = child;
    }
    put(h, i, node);
}

int
er_heap_push(struct er_heap *h, struct er_heap_node *node)
{
    ER_ASSERT(node->pos == 0);
    if (h->n == h->size) {
        size_t size = h->size ? h->size * 2 : 16;
        struct er_heap_node **nodes = er_realloc_array(h->nodes, size, sizeof *nodes);
        if (!nodes) {
            return ER_ENOMEM;
        }
        h->nodes = nodes;
        h->size = size;
    }
    h->nodes[h->n] = node;
    sift_up(h, h->n++);
    return 0;
}

struct er_heap_node *
er_heap_get(const struct er_heap *h)
{
    return h->n ? h->nodes[0] : NULL;
}

void
er_heap_remove(struct er_heap *h, struct er_heap_node *node)
{
    if (node->pos == 0) {
        return;
    }
    size_t i = node->pos - 1;
    struct er_heap_node *last = h->nodes[--h->n];
    node->pos = 0;
    if (last != node) {
        put(h, i, last);
        sift_up(h, i);
        sift_down(h, last->pos - 1);
    }
}

void
er_heap_move(struct er_heap *h, struct er_heap_node *node)
{
    if (node->pos) {
        sift_up(h, node->pos - 1);
        sift_down(h, node->pos - 1);
    }
}
