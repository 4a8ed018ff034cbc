/* SPDX-License-Identifier: MIT */
/* Bytes to lines. The happy path for a piece without anything like progress is one look
 * for a few bytes (memchr), after which only what follows its last line end is kept. Else
 * the piece is taken line by line, and where there are escape sequences or backspaces
 * piece of line by piece of line. All that depends on more than one piece is in the
 * struct: the line so far, a carriage return whose next byte is not known yet, and how
 * far an escape sequence has been read.
 *
 * A carriage return followed by a newline is a newline. An escape sequence that does not
 * end (a control byte or 4 KiB in it) is given up and forgotten. */
#include "model/progress_scan.h"

#include <string.h>

#include "model/progress_rules.h"

#define ESC           0x1b
#define BLOCK         4096 /* bytes that are looked at together */
#define WINDOW        65536
#define QUIET_WINDOWS 64 /* without a finding, after which only a part is looked at */
#define ESCAPE_MAX    4096

enum escape {
    NO_ESCAPE,
    AFTER_ESC,     /* ESC was read */
    IN_CSI,        /* ESC [ */
    IN_OSC,        /* ESC ], kept as far as it fits */
    IN_STRING,     /* ESC P, X, ^ or _ */
    AFTER_CHARSET, /* ESC ( and its kin: one byte follows */
    STRING_ESC,    /* ESC within OSC or a string: its end begins */
};

void
er_progress_scan_init(struct er_progress_scan *s)
{
    memset(s, 0, sizeof *s);
}

static void
add_text(struct er_progress_scan *s, const char *p, size_t n)
{
    if (s->overlong || n > sizeof s->line - s->len) {
        s->overlong = true;
        return;
    }
    memcpy(s->line + s->len, p, n);
    s->len += n;
}

/* The line so far is whole; `rewritten`: it is written over by what comes next. */
static void
end_line(struct er_progress_scan *s, bool rewritten)
{
    struct er_span line = {s->line, s->line + s->len};
    if (!s->overlong && er_progress_rules_wants(&s->rules, line)) {
        er_progress_rules_line(&s->rules, line, s->rewritten || rewritten, false);
    }
    s->len = 0;
    s->overlong = false;
    s->rewritten = rewritten;
}

/* Settles a carriage return by the byte behind it. */
static void
settle_return(struct er_progress_scan *s, char next)
{
    if (s->return_seen) {
        s->return_seen = false;
        if (next != '\n') {
            end_line(s, true);
        }
    }
}

/* Reads `9;4;STATE;PERCENT`; states 1, 2 and 4 have a percent. */
static void
end_osc(struct er_progress_scan *s)
{
    size_t n = s->escape_len < sizeof s->osc ? s->escape_len : 0;
    struct er_span osc = {s->osc, s->osc + n};
    int64_t state, percent;
    if (er_span_take(&osc, "9;4;") && er_span_take_number(&osc, &state) &&
        er_span_take(&osc, ";") && er_span_take_number(&osc, &percent) &&
        osc.p == osc.end && (state == 1 || state == 2 || state == 4) && percent <= 100) {
        er_progress_rules_terminal(&s->rules, (int)percent);
    }
}

static enum escape
begin_escape(char c)
{
    switch (c) {
    case '[':
        return IN_CSI;
    case ']':
        return IN_OSC;
    case 'P':
    case 'X':
    case '^':
    case '_':
        return IN_STRING;
    case '(':
    case ')':
    case '*':
    case '+':
        return AFTER_CHARSET;
    default:
        return NO_ESCAPE;
    }
}

static bool
is_final(char c)
{
    return c >= 0x40 && c <= 0x7e;
}

/* Final bytes of CSI sequences after which writing goes on elsewhere. */
static bool
moves_cursor(char c)
{
    return c != '\0' && strchr("ABDEFGHdfu", c) != NULL;
}

/* Takes one byte of an escape sequence; false when it is none of it. */
static bool
take_escape(struct er_progress_scan *s, char c)
{
    bool control = (unsigned char)c < 0x20 && c != '\a' && c != ESC;
    enum escape at = (enum escape)s->escape;
    if (control || s->escape_len >= ESCAPE_MAX) {
        s->escape = NO_ESCAPE;
        return !control;
    }
    s->escape_len++;
    if (at == AFTER_ESC) {
        s->escape = begin_escape(c);
        s->escape_len = 0;
        if (c == '8') { /* back to where the cursor was saved */
            end_line(s, true);
        }
    } else if (at == IN_CSI && is_final(c)) {
        s->escape = NO_ESCAPE;
        if (moves_cursor(c)) {
            end_line(s, true);
        }
    } else if (at == IN_OSC && c != '\a' && c != ESC) {
        if (s->escape_len <= sizeof s->osc) {
            s->osc[s->escape_len - 1] = c;
        }
    } else if (at == IN_OSC) {
        s->escape_len--;
        end_osc(s);
        s->escape = c == ESC ? STRING_ESC : NO_ESCAPE;
    } else if (at == IN_STRING && (c == '\a' || c == ESC)) {
        s->escape = c == ESC ? STRING_ESC : NO_ESCAPE;
    } else if (at == AFTER_CHARSET || at == STRING_ESC) {
        s->escape = NO_ESCAPE;
    }
    return true;
}

/* One byte that is not plain text. */
static void
take_special(struct er_progress_scan *s, char c)
{
    if (c == '\n') {
        end_line(s, false);
    } else if (c == '\r') {
        s->return_seen = true;
    } else if (c == '\b') {
        end_line(s, true);
    } else {
        s->escape = AFTER_ESC;
        s->escape_len = 0;
    }
}

/* The first byte in [p, end) that is not plain text; end when there is none. */
static const char *
find_special(const char *p, const char *end)
{
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    stop = stop ? stop : end;
    static const char others[] = {'\r', ESC, '\b'};
    for (size_t i = 0; i < sizeof others; i++) {
        const char *at = memchr(p, others[i], (size_t)(stop - p));
        stop = at ? at : stop;
    }
    return stop;
}

/* Takes [p, end) as it comes, with `one_line` up to its first newline: what is left. */
static const char *
feed_lines(struct er_progress_scan *s, const char *p, const char *end, bool one_line)
{
    while (p < end) {
        settle_return(s, *p);
        if (s->escape != NO_ESCAPE && take_escape(s, *p)) {
            p++;
            continue;
        }
        const char *special = find_special(p, end);
        add_text(s, p, (size_t)(special - p));
        p = special;
        if (p < end) {
            take_special(s, *p++);
            if (one_line && s->len == 0 && !s->return_seen && s->escape == NO_ESCAPE) {
                break;
            }
        }
    }
    return p;
}

/* Takes [p, end), which starts a line and has no line ends but newlines. */
static void
feed_plain(struct er_progress_scan *s, const char *p, const char *end)
{
    const char *stop;
    while (p < end && (stop = memchr(p, '\n', (size_t)(end - p)))) {
        struct er_span line = {p, stop};
        if ((size_t)(stop - p) <= sizeof s->line &&
            er_progress_rules_wants(&s->rules, line)) {
            er_progress_rules_line(&s->rules, line, s->rewritten, false);
        }
        s->rewritten = false;
        p = stop + 1;
    }
    add_text(s, p, (size_t)(end - p));
}

/* Takes n bytes at p, which start a line and have nothing of interest in them: only what
 * is behind their last line end is kept. */
static void
skip_lines(struct er_progress_scan *s, const char *p, size_t n)
{
    const char *end = p + n;
    const char *feed = memrchr(p, '\n', n);
    const char *back = memrchr(feed ? feed : p, '\r', (size_t)(end - (feed ? feed : p)));
    const char *last = back ? back : feed;
    if (!last) {
        add_text(s, p, n);
    } else if (last == back && back + 1 == end) {
        (void)feed_lines(s, back, end, false);
    } else {
        s->rewritten = last == back;
        add_text(s, last + 1, (size_t)(end - last - 1));
    }
}

/* Takes [p, end), which starts a line, in the cheapest way. */
static void
feed_block(struct er_progress_scan *s, const char *p, const char *end)
{
    ER_ASSERT(p && p < end);
    size_t n = (size_t)(end - p);
    if (memchr(p, ESC, n) || memchr(p, '\b', n)) {
        (void)feed_lines(s, p, end, false);
    } else if (!er_progress_rules_wants(&s->rules, (struct er_span){p, end})) {
        skip_lines(s, p, n);
    } else if (memchr(p, '\r', n)) {
        (void)feed_lines(s, p, end, false);
    } else {
        feed_plain(s, p, end);
    }
}

/* Takes [p, end), all of one window. */
static void
feed_window(struct er_progress_scan *s, const char *p, const char *end)
{
    unsigned before = s->rules.findings;
    while (p < end) {
        bool mid_line =
            s->len > 0 || s->overlong || s->return_seen || s->escape != NO_ESCAPE;
        if (mid_line) {
            p = feed_lines(s, p, end, true);
            continue;
        }
        const char *block = end - p > BLOCK ? p + BLOCK : end;
        feed_block(s, p, block);
        p = block;
    }
    s->quiet = s->rules.findings == before ? s->quiet : 0;
}

/* Forgets the line at hand: its rest is not looked at. */
static void
leave_line(struct er_progress_scan *s)
{
    s->len = 0;
    s->overlong = true;
    s->rewritten = s->return_seen = false;
    s->escape = NO_ESCAPE;
}

static bool
is_found_same(const struct er_progress_found *a, const struct er_progress_found *b)
{
    return a->any == b->any && a->has_percent == b->has_percent &&
           a->has_counts == b->has_counts && !(a->percent < b->percent) &&
           !(a->percent > b->percent) && a->current == b->current &&
           a->total == b->total && a->unit == b->unit && a->restarts == b->restarts &&
           strcmp(a->message, b->message) == 0;
}

/* Works out what is to be shown: what the lines say, or what they would with the line
 * that has not ended yet. */
static void
show(struct er_progress_scan *s)
{
    struct er_span line = {s->line, s->line + s->len};
    const struct er_progress_found *found = &s->rules.found;
    struct er_progress_rules with;
    if (!s->overlong && er_progress_rules_wants(&s->rules, line)) {
        with = s->rules;
        er_progress_rules_line(&with, line, s->rewritten, !s->return_seen);
        if (!s->return_seen) {
            memcpy(with.found.message, s->rules.found.message, sizeof with.found.message);
        }
        found = &with.found;
    }
    if (!is_found_same(&s->shown, found)) {
        s->shown = *found;
        s->fresh = true;
    }
}

void
er_progress_scan_feed(struct er_progress_scan *s, const char *p, size_t n)
{
    while (n > 0) {
        if (s->in_window == 0) {
            s->sparse = s->quiet >= QUIET_WINDOWS;
            s->quiet++;
        }
        bool looks = !s->sparse || s->in_window < BLOCK;
        size_t until = looks && s->sparse ? BLOCK : WINDOW;
        size_t take = n < until - s->in_window ? n : until - s->in_window;
        if (looks) {
            feed_window(s, p, p + take);
        } else {
            leave_line(s);
        }
        s->in_window = (s->in_window + take) % WINDOW;
        p += take;
        n -= take;
    }
    show(s);
}

bool
er_progress_scan_take(struct er_progress_scan *s, struct er_progress_update *out_update)
{
    const struct er_progress_found *f = &s->shown;
    if (!s->fresh || !f->any) {
        return false;
    }
    *out_update = (struct er_progress_update){
        .source = ER_PROGRESS_OUTPUT,
        .has_percent = f->has_percent,
        .percent = f->percent,
        .has_current = f->has_counts,
        .has_total = f->has_counts,
        .current = f->current,
        .total = f->total,
        .unit = f->unit ? f->unit : "", /* not that of what was counted before */
        .message = f->message,
        .restart = f->restarts != s->restarts_taken,
    };
    s->restarts_taken = f->restarts;
    s->fresh = false;
    return true;
}
