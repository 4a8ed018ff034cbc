/* SPDX-License-Identifier: MIT */
/* Loses what the library has given it: for the proof that such a thing would be found. */
#include <errand.h>
#include <string.h>

int
main(void)
{
    char *args = errand_args("path", "/a.png", NULL);
    size_t len = args ? strlen(args) : 0;
    args = NULL;
    return len > 0 && !args ? 0 : 1;
}
