/* SPDX-License-Identifier: MIT */
/* How it works: a text is masked and cleaned first, then walked by grapheme clusters,
 * whose width is that of their widest character; what has no width of its own (direction
 * marks, unassigned characters) is left out. A table keeps clean cells and measures them
 * when it is rendered.
 *
 * The locale is read from the variables alone: setlocale would open a dozen files. */
#include "app/render.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "app/options.h"
#include "base/mem.h"
#include "model/mask.h"
#include "model/text.h"

/* ---- the terminal --------------------------------------------------------------------
 */

/* Whether LC_ALL, else LC_CTYPE, else LANG names UTF-8. */
static bool
is_utf8_locale(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *v = getenv(names[i]);
        if (v && v[0]) {
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
        }
    }
    return false;
}

void
er_term_init(struct er_term *t, int fd)
{
    struct winsize size = {0};
    int64_t columns;
    const char *term = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    const char *given = getenv("COLUMNS");
    *t = (struct er_term){.utf8 = is_utf8_locale()};
    t->tty = isatty(fd) == 1;
    t->colour = t->tty && term && term[0] && strcmp(term, "dumb") != 0 &&
                !(no_colour && no_colour[0]);
    if (t->tty && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        t->width = size.ws_col;
        t->height = size.ws_row;
    } else if (given && er_options_int(given, 20, 10000, &columns) == 0) {
        t->width = (int)columns;
    } else if (t->tty) {
        t->width = 80;
    }
}

static const char *
style_code(enum er_style style)
{
    switch (style) {
    case ER_STYLE_PLAIN:
        return "";
    case ER_STYLE_BOLD:
        return "\033[1m";
    case ER_STYLE_DIM:
        return "\033[2m";
    case ER_STYLE_RED:
        return "\033[31m";
    case ER_STYLE_GREEN:
        return "\033[32m";
    case ER_STYLE_YELLOW:
        return "\033[33m";
    case ER_STYLE_CYAN:
        return "\033[36m";
    }
    return "";
}

void
er_term_style(const struct er_term *t, struct er_buf *b, enum er_style style)
{
    if (t->colour) {
        er_buf_add_str(b, style_code(style));
    }
}

void
er_term_plain(const struct er_term *t, struct er_buf *b, enum er_style style)
{
    if (t->colour && style != ER_STYLE_PLAIN) {
        er_buf_add_str(b, "\033[0m");
    }
}

/* ---- text ---- */

/* One grapheme cluster: its bytes and its columns; not shown when its columns are 0. */
struct cluster {
    size_t len, width;
};

static struct cluster
next_cluster(const char *s, size_t n)
{
    utf8proc_int32_t before = 0, c, state = 0;
    struct cluster out = {0, 0};
    while (out.len < n) {
        utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s + out.len,
                                                (utf8proc_ssize_t)(n - out.len), &c);
        if (len <= 0) { /* not UTF-8; callers clean first, so this is no character */
            out.len += out.len == 0;
            break;
        }
        if (out.len > 0 && utf8proc_grapheme_break_stateful(before, c, &state)) {
            break;
        }
        int width = utf8proc_charwidth(c);
        if (width > 0 && (size_t)width > out.width) {
            out.width = (size_t)width;
        }
        out.len += (size_t)len;
        before = c;
    }
    return out;
}

size_t
er_term_width(const char *s, size_t n)
{
    size_t width = 0;
    for (size_t at = 0; at < n;) {
        struct cluster c = next_cluster(s + at, n - at);
        width += c.width;
        at += c.len;
    }
    return width;
}

/* Adds a cluster as the terminal can show it. */
static void
add_cluster(const struct er_term *t, struct er_buf *b, const char *s, struct cluster c)
{
    if (c.width == 0) {
        return;
    }
    if (!t->utf8 && (unsigned char)s[0] >= 0x80) {
        er_buf_add_char(b, '?');
    } else {
        er_buf_add(b, s, c.len);
    }
}

/* Takes back what was added behind `len`. */
static void
cut(struct er_buf *b, size_t len)
{
    if (len < b->len) {
        b->len = len;
        b->data[len] = '\0';
    }
}

/* Adds clean text cut to max columns (0 = all); the columns it takes. */
static size_t
add_fitting(const struct er_term *t, struct er_buf *b, const char *s, size_t n,
            size_t max)
{
    const char *dots = t->utf8 ? "…" : "...";
    size_t dots_width = t->utf8 ? 1 : 3;
    size_t width = 0, cut_len = b->len, cut_width = 0;
    for (size_t at = 0; at < n;) {
        struct cluster c = next_cluster(s + at, n - at);
        if (!t->utf8 && c.width > 1) {
            c.width = 1;
        }
        if (max > 0 && width + c.width > max) {
            cut(b, cut_len);
            if (cut_width + dots_width <= max) {
                er_buf_add_str(b, dots);
                cut_width += dots_width;
            }
            return cut_width;
        }
        add_cluster(t, b, s + at, c);
        width += c.width;
        at += c.len;
        if (width + dots_width <= max) { /* an ellipsis would still fit behind this */
            cut_len = b->len;
            cut_width = width;
        }
    }
    return width;
}

/* The masked and clean form of a text; the caller frees it. */
static char *
clean(const char *s, size_t n, size_t *out_len)
{
    struct er_buf masked;
    er_buf_init(&masked, 0);
    er_mask_encode(&masked, s, n);
    char *out = er_xalloc(masked.len + 1);
    *out_len =
        er_text_clean(out, masked.len + 1, masked.data ? masked.data : "", masked.len);
    er_buf_fini(&masked);
    return out;
}

size_t
er_term_text(const struct er_term *t, struct er_buf *b, const char *s, size_t n,
             size_t max)
{
    size_t len;
    char *text = clean(s, n, &len);
    size_t width = add_fitting(t, b, text, len, max);
    er_free(text);
    return width;
}

void
er_term_bar(const struct er_term *t, struct er_buf *b, double percent, int cells)
{
    double part = percent < 0.0 || percent != percent ? 0.0
                  : percent > 100.0                   ? 100.0
                                                      : percent;
    int full = (int)(part * cells / 100.0);
    er_buf_add_str(b, t->utf8 ? "" : "[");
    for (int i = 0; i < cells; i++) {
        if (t->utf8) {
            er_buf_add_str(b, i < full ? "█" : "░");
        } else {
            er_buf_add_char(b, i < full ? '#' : '-');
        }
    }
    er_buf_add_str(b, t->utf8 ? "" : "]");
}

/* ---- tables ---- */

#define COLUMNS_MAX 12
#define GAP         2
#define FLEX_MIN    8 /* before others go */
#define FEW_COLUMNS 4 /* the first ones say the most */
#define FLEX_LEAST  4 /* before it goes itself */

struct cell {
    char *text; /* clean */
    size_t len, width;
    enum er_style style;
};
struct er_table {
    enum er_align align[COLUMNS_MAX];
    size_t columns;
    struct cell *cells;
    size_t n, size;
};

struct er_table *
er_table_new(const enum er_align *align, size_t columns)
{
    ER_ASSERT(columns > 0 && columns <= COLUMNS_MAX);
    struct er_table *table = er_xzalloc(sizeof *table);
    memcpy(table->align, align, columns * sizeof *align);
    table->columns = columns;
    return table;
}

void
er_table_free(struct er_table *table)
{
    if (!table) {
        return;
    }
    for (size_t i = 0; i < table->n; i++) {
        er_free(table->cells[i].text);
    }
    er_free(table->cells);
    er_free(table);
}

void
er_table_add(struct er_table *table, enum er_style style, const char *text)
{
    if (table->n == table->size) {
        table->size = table->size ? table->size * 2 : 64;
        table->cells = er_xrealloc_array(table->cells, table->size, sizeof *table->cells);
    }
    struct cell *c = &table->cells[table->n++];
    c->style = style;
    c->text = clean(text ? text : "", text ? strlen(text) : 0, &c->len);
    c->width = er_term_width(c->text, c->len);
}

size_t
er_table_rows(const struct er_table *table)
{
    return table->n / table->columns;
}

/* The flexible column that is widest, or `columns` when none can give anything. */
static size_t
widest_flex(const struct er_table *table, const size_t *widths)
{
    size_t best = table->columns;
    for (size_t i = 0; i < table->columns; i++) {
        if (table->align[i] == ER_ALIGN_FLEX && widths[i] > FLEX_MIN &&
            (best == table->columns || widths[i] > widths[best])) {
            best = i;
        }
    }
    return best;
}

static bool
is_right(enum er_align align)
{
    return align == ER_ALIGN_RIGHT || align == ER_ALIGN_SPARE_RIGHT;
}

/* The last spare column that is there, or `columns`. */
static size_t
last_spare(const struct er_table *table, const size_t *widths)
{
    for (size_t i = table->columns; i-- > 0;) {
        if (table->align[i] >= ER_ALIGN_SPARE_LEFT && widths[i] > 0) {
            return i;
        }
    }
    return table->columns;
}

/* What gives way when there is no more to spare: the last column where there are many,
 * then flexible ones become narrow, then the last one goes. 0 = there is only the
 * first. */
static size_t
last_wide(const struct er_table *table, const size_t *widths)
{
    size_t last = 0, flex = 0;
    for (size_t i = 1; i < table->columns; i++) {
        last = widths[i] > 0 ? i : last;
        flex = table->align[i] == ER_ALIGN_FLEX && widths[i] > FLEX_LEAST &&
                       (flex == 0 || widths[i] >= widths[flex])
                   ? i
                   : flex;
    }
    bool many = last > FEW_COLUMNS && table->align[last] != ER_ALIGN_FLEX;
    return flex > 0 && !many ? flex : last;
}

/* Gives columns that are left over to flexible ones that have too few, the last first. */
static void
give_back(const struct er_table *table, size_t left, const size_t *wanted, size_t *widths)
{
    for (size_t i = table->columns; i-- > 0 && left > 0;) {
        if (table->align[i] == ER_ALIGN_FLEX && widths[i] > 0) {
            size_t more = wanted[i] - widths[i];
            more = more < left ? more : left;
            widths[i] += more;
            left -= more;
        }
    }
}

/* How wide each column is to be: its widest cell, less what the terminal has no room for.
 */
static void
measure(const struct er_table *table, const struct er_term *t, size_t first,
        size_t *widths)
{
    size_t total = 0, wanted[COLUMNS_MAX];
    memset(widths, 0, COLUMNS_MAX * sizeof *widths);
    for (size_t i = first * table->columns; i < table->n; i++) {
        size_t *w = &widths[i % table->columns];
        *w = table->cells[i].width > *w ? table->cells[i].width : *w;
    }
    for (size_t i = 0; i < table->columns; i++) {
        total += widths[i] > 0 ? widths[i] + GAP : 0;
    }
    total -= total > 0 ? GAP : 0;
    memcpy(wanted, widths, sizeof wanted);
    while (t->width > 0 && total > (size_t)t->width) {
        size_t i = widest_flex(table, widths);
        if (i < table->columns) {
            widths[i]--;
            total--;
            continue;
        }
        i = last_spare(table, widths);
        i = i < table->columns ? i : last_wide(table, widths);
        if (i == 0) {
            break;
        }
        if (table->align[i] == ER_ALIGN_FLEX && widths[i] > FLEX_LEAST) {
            widths[i]--;
            total--;
            continue;
        }
        total -= widths[i] + GAP;
        widths[i] = 0;
    }
    if (t->width > 0 && total < (size_t)t->width) {
        give_back(table, (size_t)t->width - total, wanted, widths);
    }
}

static void
pad(struct er_buf *b, size_t n)
{
    while (n-- > 0) {
        er_buf_add_char(b, ' ');
    }
}

/* Adds one row; blanks at its end are left out. */
static void
render_row(const struct er_table *table, const struct er_term *t, const struct cell *row,
           const size_t *widths, struct er_buf *b)
{
    size_t due = 0; /* blanks before the next text */
    for (size_t i = 0; i < table->columns; i++) {
        if (widths[i] == 0) {
            continue;
        }
        size_t width = row[i].width < widths[i] ? row[i].width : widths[i];
        size_t rest = widths[i] - width;
        if (row[i].len > 0) {
            pad(b, due + (is_right(table->align[i]) ? rest : 0));
            er_term_style(t, b, row[i].style);
            size_t got = add_fitting(t, b, row[i].text, row[i].len, widths[i]);
            er_term_plain(t, b, row[i].style);
            due = is_right(table->align[i]) ? 0 : widths[i] - got;
        } else {
            due += widths[i];
        }
        due += GAP;
    }
    er_buf_add_char(b, '\n');
}

void
er_table_render(const struct er_table *table, const struct er_term *t, size_t first,
                struct er_buf *b)
{
    size_t widths[COLUMNS_MAX];
    measure(table, t, first, widths);
    for (size_t i = first; i < er_table_rows(table); i++) {
        render_row(table, t, &table->cells[i * table->columns], widths, b);
    }
}
