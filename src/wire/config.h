/* SPDX-License-Identifier: MIT */
/* The configuration: settings from model/options.def with their values and where each
 * came from. A flag wins over an ERRAND_* variable, that over the file, that over the
 * default.
 *
 * The file is YAML: one mapping from setting to value. The kind of a setting decides how
 * its value is read (`no` is a text where a text is asked for), each is checked by kind
 * and range, and what is wrong is told with file, line, setting and what would be right.
 *
 * A static library of its own, so that the command does not load libyaml. Blocking; one
 * thread at a time. */
#ifndef ER_WIRE_CONFIG_H
#define ER_WIRE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"

enum er_config_option {
#define OPTION(name, key, kind, fallback, min, max, variable, meaning) ER_CONFIG_##name,
#include "model/options.def"
#undef OPTION
};
#define ER_CONFIG_OPTIONS 18

/* From the least to the most important. */
enum er_config_origin {
    ER_CONFIG_DEFAULT,
    ER_CONFIG_FILE,
    ER_CONFIG_ENV,
    ER_CONFIG_FLAG,
};
struct er_config_value {
    enum er_config_origin origin;
    char *where; /* "/path/config.yml:3", "ERRAND_GRACE", "--grace"; NULL for defaults */
    char *text;  /* as it was written; of a LIST, joined by commas */
    int64_t number; /* INT, CORES: itself; SIZE: bytes; SPAN, STEP: microseconds */
    char **list;    /* LIST */
    size_t n_list;
};
struct er_config {
    struct er_config_value values[ER_CONFIG_OPTIONS];
};

/* All defaults. Ends the process when memory is out, as all of these do. */
void er_config_init(struct er_config *c);
void er_config_fini(struct er_config *c);
/* Reads a file. Every problem is added to `problems` (may be NULL) as a line; the first
 * one is also the words of err. ER_EINVALID when there was one, ER_ENOTFOUND when there
 * is no such file, ER_ETOOBIG above 1 MiB. What is right in it counts all the same. */
int er_config_read(struct er_config *c, const char *path, struct er_buf *problems,
                   struct er_err *err) ER_MUSTCHECK;
/* Sets one from a text (of a LIST: with commas), unless it has a more important origin.
 */
int er_config_set(struct er_config *c, const char *key, const char *text,
                  enum er_config_origin origin, const char *where,
                  struct er_err *err) ER_MUSTCHECK;
/* All of it: defaults, the file when it is there, variables. c is usable and to be freed
 * whatever comes back. */
int er_config_load(struct er_config *c, const char *path,
                   struct er_err *err) ER_MUSTCHECK;

/* The value of an INT, CORES (the number of cores in the place of `cores`) or SIZE. */
int64_t er_config_int(const struct er_config *c, enum er_config_option option);
/* The value of a SPAN or STEP; ER_NEVER for `off`. */
er_usec er_config_span(const struct er_config *c, enum er_config_option option);
/* The value of a WORD. */
const char *er_config_word(const struct er_config *c, enum er_config_option option);

/* Adds each setting, its value and its origin: a line each, or as one JSON object. */
void er_config_print(const struct er_config *c, bool json, struct er_buf *b);

#endif
