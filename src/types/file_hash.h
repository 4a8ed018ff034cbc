/* SPDX-License-Identifier: MIT */
/* The type `file.hash`: the SHA-256 of a file, or of all files of a folder.
 *
 * The hash of a tree: begin with 32 bytes of zero; for each file, in the order of the
 * paths below the folder as bytes ("a-b", "a/c", "ab"), the SHA-256 of what there was so
 * far, the 32 bytes of the file's own SHA-256, its path and a zero byte. Links are left
 * out unless `follow`, names that begin with a dot unless `hidden`; what is neither file
 * nor folder always. So two trees with the same names and contents have the same hash, on
 * any machine. */
#ifndef ER_TYPES_FILE_HASH_H
#define ER_TYPES_FILE_HASH_H

#include <errand.h>

/* Fills in the definition; what it refers to lives as long as the program. */
void er_file_hash_type(struct errand_type *t);

#endif
