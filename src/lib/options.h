/* SPDX-License-Identifier: MIT */
/* What errand_open was given. */
#ifndef ER_LIB_OPTIONS_H
#define ER_LIB_OPTIONS_H

#include <errand.h>

#include "base/error.h"

/* Copies and checks options (NULL = defaults) into o, with the defaults filled in; to be
 * given to er_options_fini also when it fails. The error names the option. */
int er_options_read(struct errand_options *o, const struct errand_options *given,
                    errand_error *error) ER_MUSTCHECK;
void er_options_fini(struct errand_options *o);
/* Whether the URL is one (NULL is), and the options go with it. */
int er_options_check(const char *url, const struct errand_options *o,
                     errand_error *error) ER_MUSTCHECK;

#endif
