/* SPDX-License-Identifier: MIT */
/* Types that are defined by files: types.d/NAME.yml, one type each. Loop thread;
 * blocking, but a folder of small files. */
#ifndef ER_SERVE_TYPES_D_H
#define ER_SERVE_TYPES_D_H

#include "api/api.h"
#include "base/log.h"

/* Reads the folder: each file defines its type, instead of what was defined otherwise.
 * One that is wrong is logged with file, line and member and changes nothing: what its
 * type was before, it stays. Types whose file is gone go too. No folder is an empty
 * one. */
void er_types_d_read(struct er_api *api);
/* Frees what a reading has noted; to be read again, or at the end. */
void er_types_d_fini(struct er_types_files *found);
/* Gets what is wrong, a file at a time. */
typedef void er_types_d_tell(enum er_log_level level, const char *words);
/* Reads the folder without taking anything from it; *out is to be given to
 * er_types_d_fini. */
void er_types_d_look(const char *folder, struct er_types_files *out,
                     er_types_d_tell *tell);
/* Checks a file as `errandd --check` does: whether it is one of a folder types.d. */
bool er_types_d_is_file(const char *path);
/* Says on stdout that it is fine, or on stderr what is wrong; gives the exit code. */
int er_types_d_check(const char *path);

#endif
