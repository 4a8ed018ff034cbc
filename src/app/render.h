/* SPDX-License-Identifier: MIT */
/* What people see: text cut to columns, tables, bars, colours; with ASCII forms where the
 * terminal has no UTF-8. Nothing that came from a task reaches a terminal with its
 * control bytes. Builds text in buffers; any thread. */
#ifndef ER_APP_RENDER_H
#define ER_APP_RENDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/clock.h"

struct er_term {
    bool tty;    /* the descriptor is a terminal */
    bool colour; /* a terminal, not dumb, and NO_COLOR is not set */
    bool utf8;   /* the locale says so */
    int width;   /* columns; 0 = no limit */
    int height;  /* lines; 0 = no limit */
};
/* Looks at a descriptor and the environment. A width in COLUMNS counts where there is no
 * terminal to ask. */
void er_term_init(struct er_term *t, int fd);

enum er_style {
    ER_STYLE_PLAIN,
    ER_STYLE_BOLD,
    ER_STYLE_DIM,
    ER_STYLE_RED,
    ER_STYLE_GREEN,
    ER_STYLE_YELLOW,
    ER_STYLE_CYAN,
};
/* Begins and ends a style; nothing where there are no colours. */
void er_term_style(const struct er_term *t, struct er_buf *b, enum er_style style);
void er_term_plain(const struct er_term *t, struct er_buf *b, enum er_style style);

/* Columns that a clean text takes on a terminal. */
size_t er_term_width(const char *s, size_t n);
/* Adds a text on one line: credentials masked, control bytes dropped, in ASCII where
 * there is no UTF-8, cut to max columns (0 = all of it) with an ellipsis at the end.
 * Returns the columns it takes. */
size_t er_term_text(const struct er_term *t, struct er_buf *b, const char *s, size_t n,
                    size_t max);
/* Adds a bar of `cells` cells for a percent (clamped to 0..100). */
void er_term_bar(const struct er_term *t, struct er_buf *b, double percent, int cells);

/* A table whose columns are as wide as their widest cell, within the terminal's width:
 * what is too much is taken from the flexible columns, the widest first; then the spare
 * ones are left out, the last first. */
struct er_table;
enum er_align {
    ER_ALIGN_LEFT,
    ER_ALIGN_RIGHT,
    ER_ALIGN_FLEX,
    ER_ALIGN_SPARE_LEFT,
    ER_ALIGN_SPARE_RIGHT,
};
/* `align` has one entry a column. Ends the process when memory is out. */
struct er_table *er_table_new(const enum er_align *align, size_t columns);
void er_table_free(struct er_table *table);
/* Adds the next cell; rows are as long as there are columns. NULL is an empty cell. */
void er_table_add(struct er_table *table, enum er_style style, const char *text);
size_t er_table_rows(const struct er_table *table);
/* Adds the rows from `first` on to b, one line each, two blanks between the columns. */
void er_table_render(const struct er_table *table, const struct er_term *t, size_t first,
                     struct er_buf *b);

#endif
