/* SPDX-License-Identifier: MIT */
/* The type `wait`: waits for a time in equal steps. After each it says where it is; one
 * that was stopped goes on with what is left. */
#ifndef ER_TYPES_WAIT_H
#define ER_TYPES_WAIT_H

#include <errand.h>

/* Fills in the definition; what it refers to lives as long as the program. */
void er_wait_type(struct errand_type *t);

#endif
