/* SPDX-License-Identifier: MIT */
/* Whole numbers in options. */
#ifndef ER_BASE_NUMBER_H
#define ER_BASE_NUMBER_H

#include "base/error.h"

/* Reads decimal digits (a minus where lo is below 0), nothing before or behind them.
 * ER_EINVALID, and *out untouched: it is none, or not between lo and hi. */
int er_int_parse(const char *text, int lo, int hi, int *out) ER_MUSTCHECK;

#endif
