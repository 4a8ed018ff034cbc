/* SPDX-License-Identifier: MIT */
/* errand-types: the built-in types `wait` and `file.hash`, in a process of their own for
 * each attempt. Written with errand.h alone: what they can do, any program can. */
#include <errand.h>

#include "types/file_hash.h"
#include "types/wait.h"

int
main(int argc, char **argv)
{
    struct errand_type types[] = {ERRAND_INIT(errand_type), ERRAND_INIT(errand_type)};
    er_wait_type(&types[0]);
    er_file_hash_type(&types[1]);
    return errand_worker_main(argc, argv, types, sizeof types / sizeof *types);
}
