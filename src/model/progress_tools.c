/* SPDX-License-Identifier: MIT */
/* Programs whose meters need more than the general rules: git's phases are parts of one
 * whole, rsync's percent may be of one file only, curl's table has no percent sign. */
#include "model/progress_rules.h"

static bool
take_char(struct er_span *s, char c)
{
    bool is = s->p < s->end && *s->p == c;
    s->p += is ? 1 : 0;
    return is;
}

static void
skip_blanks(struct er_span *s)
{
    while (s->p < s->end && er_span_is_blank(*s->p)) {
        s->p++;
    }
}

/* The phases of a clone, fetch, push or checkout, and the part of the whole they fill;
 * what travels over the network takes most of it. */
static const struct git_phase {
    const char *name, *unit;
    int from, to;
    bool last; /* nothing need follow */
} git_phases[] = {
    {"Counting objects", "objects", 0, 2, false},
    {"Compressing objects", "objects", 2, 6, false},
    {"Receiving objects", "objects", 6, 75, false},
    {"Unpacking objects", "objects", 6, 75, true},
    {"Writing objects", "objects", 6, 75, true},
    {"Indexing objects", "objects", 6, 75, false},
    {"Resolving deltas", "deltas", 75, 92, true},
    {"Checking connectivity", "objects", 92, 93, true},
    {"Updating files", "files", 92, 100, true},
    {"Checking out files", "files", 92, 100, true},
    {"Filtering content", "files", 92, 100, true},
};
#define GIT_PHASES ((int)(sizeof git_phases / sizeof git_phases[0]))

bool
er_progress_tools_git(struct er_progress_rules *r, struct er_span line,
                      struct er_progress_finding *f)
{
    int64_t percent, current, total;
    er_span_trim(&line);
    if (er_span_take(&line, "remote:")) {
        skip_blanks(&line);
    }
    struct er_span name = line;
    int i = 0;
    while (i < GIT_PHASES && !er_span_take(&line, git_phases[i].name)) {
        i++;
    }
    if (i == GIT_PHASES || !take_char(&line, ':')) {
        return false;
    }
    name.end = line.p - 1;
    skip_blanks(&line);
    if (!er_span_take_number(&line, &percent) || percent > 100 ||
        !er_span_take(&line, "% (") || !er_span_take_number(&line, &current) ||
        !take_char(&line, '/') || !er_span_take_number(&line, &total) ||
        !take_char(&line, ')')) {
        return true;
    }
    const struct git_phase *phase = &git_phases[i];
    double part = total > 0 ? (double)current / (double)total : (double)percent / 100.0;
    part = part > 1.0 ? 1.0 : part;
    *f = (struct er_progress_finding){
        .kind = ER_KIND_GIT,
        .has_percent = true,
        .percent = phase->from + (phase->to - phase->from) * part,
        .has_counts = total > 0,
        .current = current,
        .total = total,
        .unit = phase->unit,
        .message = name,
        .restart = r->kind == ER_KIND_GIT && phase->from < git_phases[r->git_phase].from,
        .ended = phase->last && part >= 1.0,
    };
    r->git_phase = i;
    return true;
}

enum rsync_mode { RSYNC_UNKNOWN, RSYNC_WHOLE, RSYNC_FILES };
/* lines without a tail after which an unknown mode is taken to be of the whole */
#define RSYNC_HOLD 3

/* Takes `1,234,567  42%   14.38MB/s    0:00:12` off the front; the units vary. */
static bool
take_rsync_meter(struct er_span *s, int64_t *out_percent)
{
    skip_blanks(s);
    if (!er_span_is_digit(s)) {
        return false;
    }
    while (s->p < s->end && (er_span_is_digit(s) || strchr(",.KMGTP", *s->p))) {
        s->p++;
    }
    if (s->p == s->end || *s->p != ' ') {
        return false;
    }
    skip_blanks(s);
    if (!er_span_take_number(s, out_percent) || *out_percent > 100 ||
        !er_span_take(s, "% ")) {
        return false;
    }
    skip_blanks(s);
    const char *rate = s->p;
    while (s->p < s->end && *s->p != ' ') {
        s->p++;
    }
    if (s->p - rate < 3 || memcmp(s->p - 2, "/s", 2) != 0) {
        return false;
    }
    skip_blanks(s);
    while (s->p < s->end && (er_span_is_digit(s) || *s->p == ':' || *s->p == '?')) {
        s->p++;
    }
    skip_blanks(s);
    return true;
}

/* The files left and known of `(xfr#5, to-chk=169/396)`; with ir-chk the total still
 * grows and *out_total is 0. */
static bool
take_rsync_tail(struct er_span *s, int64_t *out_left, int64_t *out_total)
{
    int64_t files;
    if (!er_span_take(s, "(xfr#") || !er_span_take_number(s, &files) ||
        !er_span_take(s, ", ")) {
        return false;
    }
    bool growing = er_span_take(s, "ir-chk=");
    if ((!growing && !er_span_take(s, "to-chk=")) || !er_span_take_number(s, out_left) ||
        !take_char(s, '/') || !er_span_take_number(s, out_total) || !take_char(s, ')')) {
        return false;
    }
    *out_total = growing || *out_left > *out_total ? 0 : *out_total;
    return true;
}

/* A percent below 100 with a tail is of the whole; 100 with files left is of one file. */
static void
learn_rsync_mode(struct er_progress_rules *r, bool tail, int64_t percent, int64_t left)
{
    if (tail && percent < 100) {
        r->rsync_mode = RSYNC_WHOLE;
    } else if (tail && left > 0 && r->rsync_mode == RSYNC_UNKNOWN) {
        r->rsync_mode = RSYNC_FILES;
    } else if (!tail && r->rsync_mode == RSYNC_UNKNOWN && r->rsync_held < RSYNC_HOLD) {
        r->rsync_held++;
    }
}

bool
er_progress_tools_rsync(struct er_progress_rules *r, struct er_span line,
                        struct er_progress_finding *f)
{
    int64_t percent, left = 0, total = 0;
    er_span_trim(&line);
    if (!take_rsync_meter(&line, &percent)) {
        return false;
    }
    bool tail = take_rsync_tail(&line, &left, &total);
    if (!tail && line.p != line.end) {
        return false;
    }
    learn_rsync_mode(r, tail, percent, left);
    if (r->rsync_mode == RSYNC_FILES) {
        if (tail && total > 0) {
            f->kind = ER_KIND_RSYNC;
            f->has_counts = true;
            f->current = total - left;
            f->total = total;
            f->unit = "files";
        }
    } else if ((!tail || total > 0) &&
               (r->rsync_mode == RSYNC_WHOLE || tail || r->rsync_held >= RSYNC_HOLD)) {
        f->kind = ER_KIND_RSYNC;
        f->has_percent = true;
        f->percent = (double)percent;
    }
    return true;
}

/* Lines in a row that are not of curl's table until it is no longer expected. */
#define CURL_PATIENCE 64
#define CURL_FIELDS   12

/* A size as curl writes it, in 1024s: 0, 1234, 12.3M. */
static bool
read_curl_size(struct er_span s, int64_t *out)
{
    int64_t whole, tenths = 0, unit = 1;
    if (!er_span_take_number(&s, &whole)) {
        return false;
    }
    if (take_char(&s, '.')) {
        tenths = er_span_is_digit(&s) ? *s.p++ - '0' : 0;
    }
    static const char units[] = "kMGTP";
    const char *at = s.p < s.end ? strchr(units, *s.p) : NULL;
    if (at && *at) {
        for (const char *u = units; u <= at; u++) {
            unit *= 1024;
        }
        s.p++;
    }
    *out = whole < INT64_MAX / unit - 1 ? whole * unit + tenths * unit / 10 : INT64_MAX;
    return s.p == s.end;
}

static int
split_fields(struct er_span line, struct er_span *fields, int max)
{
    int n = 0;
    for (;;) {
        skip_blanks(&line);
        if (line.p == line.end || n == max) {
            return line.p == line.end ? n : max + 1;
        }
        fields[n].p = line.p;
        while (line.p < line.end && !er_span_is_blank(*line.p)) {
            line.p++;
        }
        fields[n++].end = line.p;
    }
}

static bool
is_curl_head(struct er_span line)
{
    er_span_trim(&line);
    if (!er_span_take(&line, "% Total")) {
        return false;
    }
    skip_blanks(&line);
    return er_span_take(&line, "% Received");
}

static bool
is_curl_time(struct er_span s)
{
    return memchr(s.p, ':', (size_t)(s.end - s.p)) != NULL;
}

/* Fields: % total, % received, % sent, speeds down and up, three times, speed now. */
bool
er_progress_tools_curl(struct er_progress_rules *r, struct er_span line,
                       struct er_progress_finding *f)
{
    struct er_span field[CURL_FIELDS];
    int64_t percent, total, received, sent;
    if (is_curl_head(line)) {
        r->curl_lines = CURL_PATIENCE;
        return true;
    }
    if (r->curl_lines == 0) {
        return false;
    }
    r->curl_lines--;
    if (split_fields(line, field, CURL_FIELDS) != CURL_FIELDS ||
        !read_curl_size(field[0], &percent) || percent > 100 ||
        !read_curl_size(field[1], &total) || !read_curl_size(field[3], &received) ||
        !read_curl_size(field[5], &sent) || !is_curl_time(field[8])) {
        return false;
    }
    r->curl_lines = CURL_PATIENCE;
    if (total > 0) {
        f->kind = ER_KIND_CURL;
        f->has_percent = f->has_counts = true;
        f->percent = (double)percent;
        f->current = received > sent ? received : sent;
        f->total = total;
        f->unit = "bytes";
    }
    return true;
}
