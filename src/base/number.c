/* SPDX-License-Identifier: MIT */
/* The digits are looked at before strtol is: it would take blanks, a plus and what
 * follows. Too many of them are out of range like any other number. */
#include "base/number.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
er_int_parse(const char *text, int lo, int hi, int *out)
{
    const char *digits = text + (lo < 0 && text[0] == '-');
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || digits[n] != '\0') {
        return ER_EINVALID;
    }
    errno = 0;
    long v = strtol(text, NULL, 10);
    if (errno != 0 || v < lo || v > hi) {
        return ER_EINVALID;
    }
    *out = (int)v;
    return 0;
}
