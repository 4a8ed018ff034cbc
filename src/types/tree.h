/* SPDX-License-Identifier: MIT */
/* Walking a folder in the order of the paths of its files, as bytes. One folder's names
 * are in memory at a time for each level, nothing else. The folder named is followed if
 * it is a link; those in it only with `follow`, and never into a folder above. */
#ifndef ER_TYPES_TREE_H
#define ER_TYPES_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ER_TREE_DEPTH 400 /* folders in folders; each holds a descriptor */

/* `path`: below the folder; a folder's ends with a slash. Borrowed for the call. */
struct er_tree_visitor {
    bool follow, hidden;
    void *ctx;
    /* A file, to be opened as `name` in the folder `fd`. False ends the walk. */
    bool (*file)(void *ctx, int fd, const char *name, const char *path, int64_t size);
    /* What cannot be read: errno's code. False ends the walk. */
    bool (*bad)(void *ctx, const char *path, int code);
    /* Whether to look into that folder; NULL = into all. */
    bool (*enter)(void *ctx, const char *path);
};
/* Walks the folder that `fd` is, which it closes: true, or false when a visitor has ended
 * it or (*out_code = ENOMEM) memory is out. */
bool er_tree_walk(int fd, const struct er_tree_visitor *v, int *out_code);

#endif
