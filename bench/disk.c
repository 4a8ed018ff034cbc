/* SPDX-License-Identifier: MIT */
/* usage: disk FOLDER SECONDS: how often a second the disk syncs 4 KiB that are written
 * over (fdatasync_per_s), as a write-ahead log does after its first round. */
#include "bench.h"

#include <fcntl.h>

enum { BLOCK = 4096, BLOCKS = 1024 };

int
main(int argc, char **argv)
{
    if (argc != 3) {
        DIE("usage: disk FOLDER SECONDS");
    }
    char path[4096], block[BLOCK];
    snprintf(path, sizeof path, "%s/disk.%d", argv[1], (int)getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd < 0) {
        DIE("cannot open %s: %s", path, strerror(errno));
    }
    unlink(path);
    memset(block, 'x', sizeof block);
    for (int i = 0; i < BLOCKS; i++) {
        bench_write(fd, block, sizeof block);
    }
    if (fsync(fd) != 0) {
        DIE("fsync: %s", strerror(errno));
    }
    double start = bench_now(), end = start + atof(argv[2]);
    long n = 0;
    while (bench_now() < end) {
        if (pwrite(fd, block, sizeof block, n % BLOCKS * BLOCK) != BLOCK ||
            fdatasync(fd) != 0) {
            DIE("cannot sync: %s", strerror(errno));
        }
        n++;
    }
    printf("fdatasync_per_s\t%.0f\n", (double)n / (bench_now() - start));
    return 0;
}
