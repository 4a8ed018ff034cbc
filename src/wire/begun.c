/* SPDX-License-Identifier: MIT */
/* The table is a head and ER_BEGUN_MAX entries, mapped shared: a store is in the kernel's
 * memory when it is done, whatever becomes of the process. An entry counts when its task
 * is not 0, which is written last and cleared first. The head has the machine's boot:
 * what was mapped before another boot was not synced and says nothing. */
#include "wire/begun.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define MAGIC    "errand-begun 1"
#define BOOT_MAX 40

struct entry {
    volatile int64_t task;
    volatile int32_t attempt;
    int32_t spare;
};
struct table {
    char magic[16];
    char boot[BOOT_MAX];
    volatile int32_t full; /* there was one that had no place */
    int32_t spare;
    struct entry entries[ER_BEGUN_MAX];
};
struct er_begun {
    struct table *table;
    int next; /* where to look for a free place first */
};

static void
path_of(char *out, size_t size, const char *logs, int64_t session)
{
    (void)snprintf(out, size, "%s/begun-%lld", logs, (long long)session);
}

static bool
read_boot(char out[BOOT_MAX])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, BOOT_MAX - 1) : 0;
    er_close(&fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

struct er_begun *
er_begun_open(const char *logs, int64_t session)
{
    char path[4352];
    struct er_begun *b = er_zalloc(sizeof *b);
    path_of(path, sizeof path, logs, session);
    (void)mkdir(logs, 0700); /* usually there; never the folder that it lies in */
    int fd = b ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd >= 0 && posix_fallocate(fd, 0, sizeof(struct table)) == 0) {
        void *p =
            mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        b->table = p == MAP_FAILED ? NULL : p;
    }
    if (fd >= 0 && !b->table) {
        (void)unlink(path);
    }
    er_close(&fd);
    if (!b || !b->table || !read_boot(b->table->boot)) {
        er_begun_close(b);
        return NULL;
    }
    memcpy(b->table->magic, MAGIC, sizeof MAGIC);
    return b;
}

int
er_begun_add(struct er_begun *b, er_task_id task, int attempt)
{
    if (!b) {
        return -1;
    }
    for (int i = 0; i < ER_BEGUN_MAX; i++) {
        int at = (b->next + i) % ER_BEGUN_MAX;
        struct entry *e = &b->table->entries[at];
        if (e->task == 0) {
            e->attempt = attempt;
            e->task = task;
            b->next = at + 1;
            return at;
        }
    }
    b->table->full = 1;
    return -1;
}

void
er_begun_remove(struct er_begun *b, int place)
{
    if (b && place >= 0) {
        b->table->entries[place].task = 0;
        b->next = place;
    }
}

void
er_begun_close(struct er_begun *b)
{
    if (b && b->table) {
        (void)munmap(b->table, sizeof *b->table);
    }
    er_free(b);
}

/* ---- reading ---- */

static bool
read_table(const char *path, struct table *t)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t at = 0;
    ssize_t n = 1;
    while (fd >= 0 && at < sizeof *t && n > 0) {
        n = read(fd, (char *)t + at, sizeof *t - at);
        at += n > 0 ? (size_t)n : 0;
    }
    er_close(&fd);
    return at == sizeof *t;
}

void
er_begun_read(const char *logs, int64_t session, struct er_begun_list *out)
{
    char path[4352], boot[BOOT_MAX];
    struct table *t = er_alloc(sizeof *t);
    *out = (struct er_begun_list){0};
    path_of(path, sizeof path, logs, session);
    if (t && read_boot(boot) && read_table(path, t) &&
        memcmp(t->magic, MAGIC, sizeof MAGIC) == 0 &&
        strncmp(t->boot, boot, sizeof boot) == 0 && !t->full) {
        out->entries = er_realloc_array(NULL, ER_BEGUN_MAX, sizeof *out->entries);
    }
    out->known = out->entries != NULL;
    for (size_t i = 0; out->known && i < ER_BEGUN_MAX; i++) {
        if (t->entries[i].task != 0) {
            out->entries[out->n++] =
                (struct er_begun_entry){t->entries[i].task, t->entries[i].attempt};
        }
    }
    er_free(t);
}

bool
er_begun_has(const struct er_begun_list *list, er_task_id task, int attempt)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->entries[i].task == task && list->entries[i].attempt == attempt) {
            return true;
        }
    }
    return false;
}

void
er_begun_delete(const char *logs, int64_t session)
{
    char path[4352];
    path_of(path, sizeof path, logs, session);
    (void)unlink(path);
}
