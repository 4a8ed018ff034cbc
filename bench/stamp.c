/* SPDX-License-Identifier: MIT */
/* usage: stamp FIFO: a task that tells when it began: writes its monotonic time to a
 * named pipe (with "-": to its output) as text of 32 bytes, and ends. */
#include "bench.h"

#include <fcntl.h>

int
main(int argc, char **argv)
{
    double began = bench_now();
    if (argc != 2) {
        DIE("usage: stamp FIFO");
    }
    char text[33];
    snprintf(text, sizeof text, "%031.9f\n", began);
    int fd = strcmp(argv[1], "-") == 0 ? STDOUT_FILENO : open(argv[1], O_WRONLY);
    if (fd < 0) {
        DIE("cannot open %s: %s", argv[1], strerror(errno));
    }
    bench_write(fd, text, 32);
    return 0;
}
