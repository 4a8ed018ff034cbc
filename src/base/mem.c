/* SPDX-License-Identifier: MIT */
/* Beside malloc: a countdown that lets the n-th allocation of a thread fail (tests), and
 * a reserve for libraries, which is given up when memory is out. The er_x* forms then
 * wait in a library for up to 5 s, trying again; after that, and in our own programs at
 * once, the process ends with a line on standard error. */
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/count.h"

/* The fault countdown; only tests set it, before they start threads. */
static _Thread_local long fault_countdown;
static _Thread_local int fault_persist;
static _Thread_local int fault_struck;

void
er_mem_fault_set(long n, int persist)
{
    fault_countdown = n;
    fault_persist = persist;
    fault_struck = 0;
}

int
er_mem_fault_hit(void)
{
    return fault_struck;
}

static int
fault(void)
{
    if (fault_countdown == 0 || --fault_countdown > 0) {
        return 0;
    }
    fault_struck = 1;
    fault_countdown = fault_persist ? 1 : 0;
    return 1;
}

/* ---- the reserve ---- */

#define PATIENCE_MS 5000 /* in a library: how long memory is waited for */
#define PAUSE_NS    10000000L

static struct er_count reserve; /* its address; 0 = none */
static struct er_count hosted;  /* this is a library in somebody's process */

void
er_mem_reserve(size_t size)
{
    er_count_set(&hosted, 1);
    if (er_count_get(&reserve) == 0) {
        free((void *)(intptr_t)er_count_swap(&reserve, (int64_t)(intptr_t)malloc(size)));
    }
}

/* Makes room, once; false: there was no reserve. */
static int
give_up_reserve(void)
{
    void *kept = (void *)(intptr_t)er_count_swap(&reserve, 0);
    free(kept);
    return kept != NULL;
}

void *
er_realloc(void *old, size_t size)
{
    void *p = fault() ? NULL : realloc(old, size ? size : 1);
    return p || !give_up_reserve() ? p : realloc(old, size ? size : 1);
}

void *
er_realloc_array(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return NULL;
    }
    return er_realloc(old, bytes);
}

void *
er_alloc(size_t size)
{
    return er_realloc(NULL, size);
}

void *
er_zalloc(size_t size)
{
    void *p = fault() ? NULL : calloc(1, size ? size : 1);
    return p || !give_up_reserve() ? p : calloc(1, size ? size : 1);
}

void *
er_memdup(const void *p, size_t n)
{
    char *copy = er_alloc(n + 1);
    if (copy) {
        if (n > 0) {
            memcpy(copy, p, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

char *
er_strndup(const char *s, size_t n)
{
    return s ? er_memdup(s, strnlen(s, n)) : NULL;
}

char *
er_strdup(const char *s)
{
    return s ? er_memdup(s, strlen(s)) : NULL;
}

void
er_free(void *p)
{
    free(p);
}

/* ---- memory that must be there ---- */

/* Memory is out, for the n-th time in a row: waits a moment, so that it may be tried
 * again. Ends the process when there is no hope. */
static void
try_again(int n)
{
    struct timespec pause = {0, PAUSE_NS};
    if (er_count_get(&hosted) && (long)n * (PAUSE_NS / 1000000) < PATIENCE_MS) {
        (void)nanosleep(&pause, NULL);
        return;
    }
    (void)fputs("errand: out of memory\n", stderr);
    _Exit(1);
}

void *
er_xalloc(size_t size)
{
    void *p;
    for (int n = 0; (p = er_alloc(size)) == NULL; n++) {
        try_again(n);
    }
    return p;
}

void *
er_xzalloc(size_t size)
{
    void *p;
    for (int n = 0; (p = er_zalloc(size)) == NULL; n++) {
        try_again(n);
    }
    return p;
}

void *
er_xrealloc_array(void *old, size_t count, size_t size)
{
    void *p;
    for (int n = 0; (p = er_realloc_array(old, count, size)) == NULL; n++) {
        try_again(n);
    }
    return p;
}

char *
er_xstrdup(const char *s)
{
    return s ? er_xstrndup(s, strlen(s)) : NULL;
}

char *
er_xstrndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = er_xalloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *
er_xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ER_ASSERT(n >= 0);
    char *text = er_xalloc((size_t)n + 1);
    va_start(ap, fmt);
    (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}

struct er_arena_block {
    struct er_arena_block *next;
    size_t size; /* bytes in data */
    _Alignas(16) unsigned char data[];
};

#define ARENA_BLOCK 4000

void *
er_arena_alloc(struct er_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = size > 0 ? (size + 15) & ~(size_t)15
                    : 16; /* nothing has a place of its own too */
    if (size > a->left) {
        size_t want = size > ARENA_BLOCK ? size : ARENA_BLOCK;
        struct er_arena_block *b = er_zalloc(sizeof *b + want);
        if (!b) {
            return NULL;
        }
        b->size = want;
        b->next = a->head;
        a->head = b;
        a->left = want;
    }
    void *p = a->head->data + (a->head->size - a->left);
    a->left -= size;
    return p;
}

void *
er_arena_memdup(struct er_arena *a, const void *p, size_t n)
{
    char *copy = er_arena_alloc(a, n + 1);
    if (copy && n > 0) {
        memcpy(copy, p, n);
    }
    return copy;
}

char *
er_arena_strdup(struct er_arena *a, const char *s)
{
    return s ? er_arena_memdup(a, s, strlen(s)) : NULL;
}

void
er_arena_free(struct er_arena *a)
{
    while (a->head) {
        struct er_arena_block *next = a->head->next;
        er_free(a->head);
        a->head = next;
    }
    a->left = 0;
}

void
er_arena_clear(struct er_arena *a)
{
    struct er_arena_block *b = a->head;
    if (!b || b->size != ARENA_BLOCK) {
        er_arena_free(a);
        return;
    }
    struct er_arena rest = {.head = b->next};
    er_arena_free(&rest);
    b->next = NULL;
    memset(b->data, 0, b->size - a->left);
    a->left = b->size;
}
