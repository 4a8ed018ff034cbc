/* SPDX-License-Identifier: MIT */
/* The table is a head and ER_BEGUN_MAX entries, mapped shared: a store is in the kernel's
 * memory when it is done, whatever becomes of the process. An entry counts when its task
 * is not 0, which is written last and cleared first. The head has the machine's boot:
 * what was mapped before another boot was not synced and says nothing. */
#include "wire/begun.h"

#include <errno.h>
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

/* What another look may find otherwise. */
static int
passing(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE ? ER_EBUSY
           : errnum == ENOMEM                   ? ER_ENOMEM
                                                : ER_ENOTFOUND;
}

/* Reads at most size bytes: 0, ER_ENOTFOUND (also when there are less than `least`), or
 * what may pass. */
static int
read_bytes(const char *path, char *out, size_t least, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 ? 0 : passing(errno);
    size_t at = 0;
    ssize_t n = 1;
    while (fd >= 0 && at < size && n > 0) {
        n = read(fd, out + at, size - at);
        at += n > 0 ? (size_t)n : 0;
    }
    er_close(&fd);
    return rc ? rc : at < least ? ER_ENOTFOUND : 0;
}

static int
read_boot(char out[BOOT_MAX])
{
    memset(out, 0, BOOT_MAX);
    return read_bytes("/proc/sys/kernel/random/boot_id", out, 1, BOOT_MAX - 1);
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
    if (!b || !b->table || read_boot(b->table->boot) != 0) {
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
is_ours(const struct table *t, const char boot[BOOT_MAX])
{
    return memcmp(t->magic, MAGIC, sizeof MAGIC) == 0 &&
           strncmp(t->boot, boot, BOOT_MAX) == 0 && !t->full;
}

int
er_begun_read(const char *logs, int64_t session, struct er_begun_list *out)
{
    char path[4352], boot[BOOT_MAX];
    struct table *t = er_alloc(sizeof *t);
    *out = (struct er_begun_list){0};
    path_of(path, sizeof path, logs, session);
    int rc = t ? read_boot(boot) : ER_ENOMEM;
    rc = rc ? rc : read_bytes(path, (char *)t, sizeof *t, sizeof *t);
    if (rc == 0 && is_ours(t, boot)) {
        out->entries = er_realloc_array(NULL, ER_BEGUN_MAX, sizeof *out->entries);
        out->known = out->entries != NULL;
        rc = out->known ? 0 : ER_ENOMEM;
    }
    for (size_t i = 0; out->known && i < ER_BEGUN_MAX; i++) {
        if (t->entries[i].task != 0) {
            out->entries[out->n++] =
                (struct er_begun_entry){t->entries[i].task, t->entries[i].attempt};
        }
    }
    er_free(t);
    return rc == ER_ENOTFOUND ? 0 : rc;
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
