/* SPDX-License-Identifier: MIT */
/* One line at a time. The programs are asked first; then the line is searched for its
 * first percent and its first n/m (or n of m), each with what stands left and right of
 * it. From that the finding's kind follows, and offer() decides whether it is believed.
 */
#include "model/progress_rules.h"

#include <strings.h>

#include "base/utf8.h"
#include "model/text.h"

/* Findings of lesser kinds after which a greater one that is silent gives way. */
#define PATIENCE     8
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

bool
er_span_take_number(struct er_span *s, int64_t *out)
{
    struct er_span at = *s;
    int64_t v = 0;
    while (er_span_is_digit(&at) && at.p - s->p < 15) {
        v = v * 10 + (*at.p++ - '0');
    }
    if (at.p == s->p || er_span_is_digit(&at)) {
        return false;
    }
    s->p = at.p;
    *out = v;
    return true;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A percent, n/m or n of m in a line. */
struct token {
    bool found, stepped; /* stepped: stands in brackets of its own */
    double percent;
    int64_t current, total;
    struct er_span left, right; /* of the line, without the token and its brackets */
};

/* Whether a number may begin behind this text. Bytes of other alphabets are let through:
 * bars are often drawn with them. */
static bool
may_begin(struct er_span left)
{
    if (left.p == left.end) {
        return true;
    }
    char c = left.end[-1];
    bool dots = c == '.' && left.end - left.p > 1 && left.end[-2] == '.';
    return dots || (c != '\0' && strchr(" \t[(|:=#>]", c)) || (unsigned char)c >= 0x80;
}

static bool
may_end(struct er_span right)
{
    if (right.p == right.end) {
        return true;
    }
    char c = *right.p;
    bool stop =
        c == '.' && (right.end - right.p == 1 || right.p[1] == '.' || right.p[1] == ' ');
    return stop || (c != '\0' && strchr(" \t])[|:,;", c)) || (unsigned char)c >= 0x80;
}

/* Takes brackets off that hold the token and nothing else, when they stand apart. */
static void
take_brackets(struct token *t, char open, char close)
{
    struct er_span left = t->left, right = t->right;
    while (left.p < left.end && left.end[-1] == ' ') {
        left.end--;
    }
    while (right.p < right.end && *right.p == ' ') {
        right.p++;
    }
    if (left.p == left.end || left.end[-1] != open || right.p == right.end ||
        *right.p != close) {
        return;
    }
    left.end--;
    right.p++;
    if ((left.p < left.end && !er_span_is_blank(left.end[-1])) ||
        (right.p < right.end && !strchr(" \t:", *right.p))) {
        return;
    }
    t->stepped = true;
    t->left = left;
    t->right = right;
}

/* Reads the number that ends before the percent sign at `sign`. */
static bool
read_percent(struct er_span line, const char *sign, struct token *t)
{
    const char *p = sign;
    double v = 0.0, fraction = 0.0;
    if (p > line.p && p[-1] == ' ') {
        p--;
    }
    const char *end = p;
    while (p > line.p && is_digit(p[-1]) && end - p < 10) {
        p--;
    }
    if (p == end) {
        return false;
    }
    if (p > line.p + 1 && (p[-1] == '.' || p[-1] == ',') && is_digit(p[-2])) {
        for (const char *f = end - 1; f >= p; f--) {
            fraction = (fraction + (*f - '0')) / 10.0;
        }
        end = --p;
        while (p > line.p && is_digit(p[-1]) && end - p < 4) {
            p--;
        }
    }
    for (const char *d = p; d < end; d++) {
        v = v * 10.0 + (*d - '0');
    }
    t->percent = v + fraction;
    t->left = (struct er_span){line.p, p};
    t->right = (struct er_span){sign + 1, line.end};
    return end - p <= 3 && t->percent <= 100.0 && may_begin(t->left) && may_end(t->right);
}

static struct token
find_percent(struct er_span line)
{
    struct token t = {0};
    const char *p = line.p;
    while (p < line.end && (p = memchr(p, '%', (size_t)(line.end - p)))) {
        if (read_percent(line, p, &t)) {
            t.found = true;
            take_brackets(&t, '[', ']');
            return t;
        }
        p++;
    }
    return t;
}

/* Reads n and m on both sides of the `n` bytes at `mid`. */
static bool
read_count(struct er_span line, const char *mid, size_t n, bool partial, struct token *t)
{
    const char *p = mid;
    while (p > line.p && is_digit(p[-1]) && mid - p < 15) {
        p--;
    }
    struct er_span from = {p, mid}, to = {mid + n, line.end};
    if (!er_span_take_number(&from, &t->current) ||
        !er_span_take_number(&to, &t->total)) {
        return false;
    }
    t->left = (struct er_span){line.p, p};
    t->right = to;
    return t->total > 0 && t->current <= t->total && may_begin(t->left) && may_end(to) &&
           !(partial && to.p == to.end);
}

static struct token
find_count(struct er_span line, bool partial)
{
    struct token t = {0};
    const char *p = line.p;
    while (p < line.end && (p = memchr(p, '/', (size_t)(line.end - p)))) {
        if (read_count(line, p, 1, partial, &t)) {
            t.found = true;
            take_brackets(&t, '[', ']');
            return t;
        }
        p++;
    }
    p = line.p;
    while (p < line.end && (p = memmem(p, (size_t)(line.end - p), " of ", 4))) {
        if (read_count(line, p, 4, partial, &t)) {
            t.found = true;
            take_brackets(&t, '(', ')');
            return t;
        }
        p++;
    }
    return t;
}

/* Reads digits and, behind a point, one more, as tenths. */
static bool
take_tenths(struct er_span *s, int64_t *out)
{
    int64_t whole;
    if (!er_span_take_number(s, &whole)) {
        return false;
    }
    *out = whole * 10;
    if (s->p + 1 < s->end && s->p[0] == '.' && is_digit(s->p[1])) {
        *out += s->p[1] - '0';
        for (s->p++; er_span_is_digit(s);) {
            s->p++;
        }
    }
    return true;
}

/* Finds pip's `1.2/3.4 MB`, sizes in a common unit, and counts in bytes. */
static struct token
find_sizes(struct er_span line)
{
    static const struct {
        const char *word;
        int64_t bytes;
    } units[] = {{" kB", 1000},       {" KB", 1000},     {" MB", 1000000},
                 {" GB", 1000000000}, {" KiB", 1 << 10}, {" MiB", 1 << 20},
                 {" GiB", 1 << 30}};
    struct token t = {0};
    const char *slash = memchr(line.p, '/', (size_t)(line.end - line.p));
    const char *p = slash ? slash : line.p;
    while (p > line.p && (is_digit(p[-1]) || p[-1] == '.')) {
        p--;
    }
    struct er_span from = {p, slash ? slash : p};
    struct er_span to = {slash ? slash + 1 : line.end, line.end};
    if (!take_tenths(&from, &t.current) || from.p != from.end ||
        !take_tenths(&to, &t.total)) {
        return t;
    }
    t.left = (struct er_span){line.p, p};
    for (size_t i = 0; i < COUNT(units); i++) {
        if (er_span_take(&to, units[i].word)) {
            t.right = to;
            t.found = t.total > 0 && t.current <= t.total &&
                      t.total < INT64_MAX / units[i].bytes && may_begin(t.left) &&
                      may_end(to);
            t.current = t.current * (units[i].bytes / 2) / 5;
            t.total = t.total * (units[i].bytes / 2) / 5;
            return t;
        }
    }
    return t;
}

/* Words that make a number a progress; each is the beginning of a word. */
static const char *const progress_words[] = {
    "progress", "download", "upload",    "install",    "extract",   "unpack",
    "copying",  "building", "compiling", "linking",    "process",   "complet",
    "done",     "finished", "loading",   "transfer",   "receiv",    "sending",
    "sync",     "convert",  "encod",     "decod",      "render",    "training",
    "import",   "export",   "index",     "scanning",   "verif",     "checking",
    "fetch",    "pulling",  "pushing",   "reading",    "writing",   "working",
    "step",     "phase",    "stage",     "epoch",      "iteration", "batch",
    "chunk",    "backup",   "restor",    "migrat",     "generat",   "running",
    "cloning",  "item",     "task",      "eta",        "testing",   "analy",
    "optimi",   "archiv",   "compress",  "hash",       "deploy",    "creating",
    "updating", "deleting", "removing",  "formatting", "erasing",   "flashing",
    "zipping",  "file",
};
/* Words that make a percent something else. */
static const char *const other_words[] = {
    "cpu",    "cpus",       "mem",         "memory",  "load",  "usage",     "used",
    "disk",   "free",       "idle",        "battery", "swap",  "coverage",  "covered",
    "iowait", "confidence", "probability", "quota",   "avail", "available", "utilization",
};

/* Whether a word of the text is one of n; with `stems` it only has to begin as one. */
static bool
has_word(struct er_span text, const char *const *words, size_t n, bool stems)
{
    const char *p = text.p;
    while (p < text.end) {
        const char *start = p;
        while (p < text.end && is_letter(*p)) {
            p++;
        }
        size_t len = (size_t)(p - start);
        for (size_t i = 0; len > 2 && i < n; i++) {
            size_t want = strlen(words[i]);
            if ((stems ? len >= want : len == want) &&
                strncasecmp(start, words[i], want) == 0) {
                return true;
            }
        }
        p += p < text.end ? 1 : 0;
    }
    return false;
}

static bool
has_progress_word(struct er_span text)
{
    return has_word(text, progress_words, COUNT(progress_words), true);
}

static bool
has_other_word(struct er_span text)
{
    return has_word(text, other_words, COUNT(other_words), false);
}

/* Whether there is nothing in the text but blanks, brackets and what bars are made of. */
static bool
is_bar(struct er_span text)
{
    for (const char *p = text.p; p < text.end; p++) {
        if ((unsigned char)*p < 0x80 && !strchr(" \t[](){}|#=>-.*:", *p)) {
            return false;
        }
    }
    return true;
}

/* Whether running text goes on behind the token: `95% of them`. */
static bool
goes_on(struct er_span right)
{
    er_span_trim(&right);
    bool of = right.end - right.p > 3 && memcmp(right.p, "of ", 3) == 0;
    return right.p < right.end && is_letter(*right.p) &&
           (of || !has_progress_word(right));
}

/* The kind of a token by what stands around it; NONE when only repetition can tell. */
static enum er_progress_kind
classify(const struct token *t, bool rewritten)
{
    if (t->stepped) {
        return ER_KIND_STEP;
    }
    if (rewritten) {
        return ER_KIND_METER;
    }
    if (is_bar(t->left) && is_bar(t->right)) {
        return ER_KIND_LINE;
    }
    if (has_progress_word(t->left)) {
        return goes_on(t->right) ? ER_KIND_NONE : ER_KIND_LINE;
    }
    struct er_span right = t->right;
    er_span_trim(&right);
    bool said_behind = is_bar(t->left) && !goes_on(right) && has_progress_word(right);
    return said_behind ? ER_KIND_LINE : ER_KIND_NONE;
}

/* A hash of the text in which all numbers, all blanks and all bars are the same. */
static uint32_t
hash_shape(struct er_span text)
{
    uint32_t h = 2166136261u;
    char before = '\0';
    for (const char *p = text.p; p < text.end; p++) {
        char c = is_digit(*p) ? '0' : er_span_is_blank(*p) ? ' ' : *p;
        bool bar = (unsigned char)c >= 0x80 || strchr("#=>-.*", c);
        if (!bar && (c != before || (c != '0' && c != ' '))) {
            h = (h ^ (unsigned char)c) * 16777619u;
            before = c;
        }
    }
    return h;
}

/* Counts how often a value has risen behind the same text: whether that was often enough.
 * Once it was, all that has the same shape is believed. */
static bool
has_repeated(struct er_progress_repeat *seen, struct er_span left, int64_t total,
             double value, unsigned enough)
{
    uint32_t shape = hash_shape(left);
    bool same = seen->seen > 0 && seen->shape == shape && seen->total == total;
    if (same && seen->seen < enough && value > seen->value) {
        seen->seen++;
        seen->value = value;
    } else if (!same || (seen->seen < enough && value < seen->value)) {
        *seen = (struct er_progress_repeat){shape, total, value, 1};
    }
    return seen->seen >= enough;
}

static bool
is_ended(const struct er_progress_finding *f)
{
    return f->ended || (f->kind != ER_KIND_GIT &&
                        ((f->has_percent && f->percent >= 100.0) ||
                         (!f->has_percent && f->has_counts && f->current >= f->total)));
}

static double
percent_of(bool has_percent, double percent, int64_t current, int64_t total)
{
    return has_percent ? percent
           : total > 0 ? 100.0 * (double)current / (double)total
                       : 0.0;
}

/* Whether the finding begins anew against what was found before. */
static bool
is_restart(const struct er_progress_rules *r, const struct er_progress_finding *f)
{
    const struct er_progress_found *old = &r->found;
    if (!old->any) {
        return false;
    }
    if (f->kind != (enum er_progress_kind)r->kind || f->restart) {
        return true;
    }
    bool other_total = old->has_counts && f->has_counts && old->total != f->total &&
                       f->kind != ER_KIND_GIT && f->kind != ER_KIND_CURL;
    return (r->ended || other_total) &&
           percent_of(f->has_percent, f->percent, f->current, f->total) <
               percent_of(old->has_percent, old->percent, old->current, old->total);
}

/* Believes the finding, unless a greater kind holds. */
static void
offer(struct er_progress_rules *r, const struct er_progress_finding *f)
{
    if (f->kind == ER_KIND_NONE) {
        return;
    }
    if ((int)f->kind < r->kind && !r->ended && ++r->others < PATIENCE) {
        return;
    }
    struct er_progress_found *to = &r->found;
    to->restarts += is_restart(r, f) ? 1u : 0u;
    to->any = true;
    to->has_percent = f->has_percent;
    to->has_counts = f->has_counts;
    to->percent = f->percent;
    to->current = f->has_counts ? f->current : 0;
    to->total = f->has_counts ? f->total : 0;
    to->unit = f->unit;
    to->message[0] = '\0';
    if (f->message.p) {
        (void)er_text_clean(to->message, sizeof to->message, f->message.p,
                            (size_t)(f->message.end - f->message.p));
    }
    r->kind = (int)f->kind;
    r->ended = is_ended(f);
    r->others = 0;
    r->findings++;
}

/* What is said behind a number that begins the line; nothing when it is no words. */
static struct er_span
message_behind(const struct token *t)
{
    struct er_span left = t->left, right = t->right;
    er_span_trim(&left);
    er_span_trim(&right);
    while (right.p < right.end &&
           (*right.p == ':' || *right.p == '-' || *right.p == ' ')) {
        right.p++;
    }
    bool words = left.p == left.end && right.p < right.end && is_letter(*right.p);
    return words ? right : (struct er_span){NULL, NULL};
}

/* Cargo: a bar in brackets stands right before the count. */
static bool
is_cargo(const struct token *t)
{
    struct er_span left = t->left;
    er_span_trim(&left);
    if (left.end - left.p < 12 || left.end[-1] != ']') {
        return false;
    }
    const char *open = memrchr(left.p, '[', (size_t)(left.end - left.p));
    struct er_span bar = {open ? open + 1 : left.end, left.end - 1};
    struct er_span verb = {left.p, open ? open : left.p};
    er_span_trim(&verb);
    if (!open || verb.p == verb.end || bar.end - bar.p < 5) {
        return false;
    }
    for (const char *p = bar.p; p < bar.end; p++) {
        if (*p != '=' && *p != '>' && *p != ' ') {
            return false;
        }
    }
    return t->right.p < t->right.end && *t->right.p == ':';
}

static bool
agrees(const struct token *percent, const struct token *count)
{
    double d = 100.0 * (double)count->current / (double)count->total - percent->percent;
    return d > -1.5 && d < 1.5;
}

/* The line by its count alone. */
static void
judge_count(struct er_progress_rules *r, const struct token *t, bool rewritten)
{
    struct er_progress_finding f = {
        .has_counts = true, .current = t->current, .total = t->total};
    if (is_cargo(t)) {
        f.kind = ER_KIND_CARGO;
        f.unit = "crates";
        f.message = (struct er_span){t->right.p + 1, t->right.end};
    } else {
        f.kind = classify(t, rewritten);
        f.message = message_behind(t);
    }
    if (f.kind == ER_KIND_NONE &&
        has_repeated(&r->count, t->left, t->total, (double)t->current, 2)) {
        f.kind = ER_KIND_REPEATED;
    }
    offer(r, &f);
}

/* The line by its percent, with the count when that says the same. */
static void
judge_percent(struct er_progress_rules *r, const struct token *t,
              const struct token *count, bool rewritten)
{
    struct er_progress_finding f = {.kind = classify(t, rewritten),
                                    .has_percent = true,
                                    .percent = t->percent,
                                    .message = message_behind(t)};
    if (f.kind == ER_KIND_NONE && has_repeated(&r->percent, t->left, 0, t->percent, 3)) {
        f.kind = ER_KIND_REPEATED;
    }
    if (count->found && agrees(t, count)) {
        f.has_counts = true;
        f.current = count->current;
        f.total = count->total;
    }
    offer(r, &f);
}

/* The line by two sizes; only as a meter, since sizes stand in many lines. */
static void
judge_sizes(struct er_progress_rules *r, const struct token *t)
{
    struct er_progress_finding f = {.kind = ER_KIND_METER,
                                    .has_counts = true,
                                    .current = t->current,
                                    .total = t->total,
                                    .unit = "bytes"};
    offer(r, &f);
}

static bool
offer_tools(struct er_progress_rules *r, struct er_span line)
{
    struct er_progress_finding f = {.kind = ER_KIND_NONE};
    if (er_progress_tools_git(r, line, &f) || er_progress_tools_rsync(r, line, &f) ||
        er_progress_tools_curl(r, line, &f)) {
        offer(r, &f);
        return true;
    }
    return false;
}

/* Whether the line is text: UTF-8 without control bytes. Binary output has percent signs
 * everywhere. */
static bool
is_text(struct er_span line)
{
    unsigned char all = 0;
    for (const char *p = line.p; p < line.end; p++) {
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f) {
            return false;
        }
        all |= (unsigned char)*p;
    }
    return all < 0x80 || er_utf8_is_valid(line.p, (size_t)(line.end - line.p));
}

void
er_progress_rules_line(struct er_progress_rules *r, struct er_span line, bool rewritten,
                       bool partial)
{
    if (!is_text(line) || offer_tools(r, line)) {
        return;
    }
    struct token count = find_count(line, partial);
    struct token percent = find_percent(line);
    if (percent.found && !percent.stepped && has_other_word(line)) {
        percent.found = false;
    }
    if (percent.found && (!count.found || agrees(&percent, &count) || !count.stepped)) {
        judge_percent(r, &percent, &count, rewritten);
    } else if (count.found) {
        judge_count(r, &count, rewritten);
    } else if (rewritten && !percent.found) {
        struct token sizes = find_sizes(line);
        if (sizes.found) {
            judge_sizes(r, &sizes);
        }
    }
}

void
er_progress_rules_terminal(struct er_progress_rules *r, int percent)
{
    struct er_progress_finding f = {
        .kind = ER_KIND_TERMINAL, .has_percent = true, .percent = percent};
    offer(r, &f);
}

/* A digit, or a digit and a space, before a percent sign; or curl's head. Of many lines
 * at once it is true if it is of any of them, here and in wants_count. */
static bool
wants_percent(struct er_span line)
{
    const char *p = line.p;
    while (p < line.end && (p = memchr(p, '%', (size_t)(line.end - p)))) {
        char before = p > line.p ? p[-1] : '\0';
        char after = p + 1 < line.end ? p[1] : '\0';
        if (is_digit(before) || (before == ' ' && p > line.p + 1 && is_digit(p[-2])) ||
            (before == ' ' && after == ' ')) {
            return true;
        }
        p++;
    }
    return false;
}

/* Whether digits stand on both sides of the n bytes at mid, and no slash beyond them:
 * most slashes are in paths and dates. */
static bool
has_numbers_at(struct er_span line, const char *mid, size_t n)
{
    const char *left = mid, *right = mid + n;
    while (left > line.p && is_digit(left[-1])) {
        left--;
    }
    while (right < line.end && is_digit(*right)) {
        right++;
    }
    return left < mid && right > mid + n && (left == line.p || left[-1] != '/') &&
           (right == line.end || *right != '/');
}

static bool
wants_count(struct er_span line)
{
    const char *p = line.p;
    while (p < line.end && (p = memchr(p, '/', (size_t)(line.end - p)))) {
        if (has_numbers_at(line, p, 1)) {
            return true;
        }
        p++;
    }
    p = line.p;
    while (p < line.end && (p = memmem(p, (size_t)(line.end - p), " of ", 4))) {
        if (has_numbers_at(line, p, 4)) {
            return true;
        }
        p++;
    }
    return false;
}

bool
er_progress_rules_wants(const struct er_progress_rules *r, struct er_span line)
{
    return line.end - line.p > 1 &&
           (r->curl_lines > 0 || wants_percent(line) || wants_count(line));
}
