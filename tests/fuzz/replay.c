/* SPDX-License-Identifier: MIT */
/* A fuzzer's main without a fuzzer: feeds the files named, and of each every beginning
 * that is shorter than CUT bytes, so that gcc and its sanitizers see the seeds as well.
 * Speaks TAP, a line a file. What the fuzzer checks itself ends the program (abort), and
 * then the plan is not fulfilled. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUT  ((size_t)256)
#define MOST ((size_t)4 << 20) /* bytes of a seed */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file in memory of its own size, so that a read behind its end is found. */
static uint8_t *
read_seed(const char *path, size_t *out_size)
{
    static uint8_t most[MOST];
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(most, 1, sizeof most, file) : 0;
    uint8_t *seed = file ? malloc(n ? n : 1) : NULL;
    if (seed) {
        memcpy(seed, most, n);
    }
    if (file) {
        (void)fclose(file);
    }
    *out_size = n;
    return seed;
}

int
main(int argc, char **argv)
{
    int failed = 0;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *seed = read_seed(argv[i], &size);
        const char *slash = strrchr(argv[i], '/');
        if (seed) {
            for (size_t cut = 0; cut < size && cut < CUT; cut++) {
                (void)LLVMFuzzerTestOneInput(seed, cut);
            }
            (void)LLVMFuzzerTestOneInput(seed, size);
        }
        (void)printf("%s %d - %s\n", seed ? "ok" : "not ok", i,
                     slash ? slash + 1 : argv[i]);
        failed += !seed;
        free(seed);
    }
    return failed != 0;
}
