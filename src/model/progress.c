/* SPDX-License-Identifier: MIT */
/* Rates. Each value that moves has a pace: at every move the rate since the last move is
 * blended in with the weight dt / (dt + TAU), so that many small steps weigh as one large
 * one. Time is *active* time: since the start, without pauses. The first value is the
 * first anchor: whether it tells of work that was done since the start, of an earlier
 * attempt's, or of what is begun now is not known. Until another one tells, the rate is
 * guessed from the start on; then the guess counts no more. A restart sets the anchor
 * anew with no rate.
 *
 * Between two moves the time left counts down. Once a move is overdue (it takes longer
 * than they did on average) the rate decays as if by empty moves, and after ten times
 * that it is unknown. */
#include "model/progress.h"

#include <math.h>
#include <string.h>

#include "model/text.h"

#define TAU (10 * ER_USEC_PER_SEC)
/* no rate is told before that much active time has passed since its first anchor */
#define SETTLE (ER_USEC_PER_SEC / 2)

const char *
er_progress_source_word(enum er_progress_source s)
{
    static const char *const words[] = {"none", "estimate", "file", "output", "reported"};
    return (unsigned)s < sizeof words / sizeof words[0] ? words[s] : "none";
}

static double
to_seconds(er_usec span_for)
{
    return (double)span_for / (double)ER_USEC_PER_SEC;
}

static er_usec
active_time(const struct er_progress *p, er_usec now)
{
    er_usec end = p->paused_at != ER_NEVER && p->paused_at < now ? p->paused_at : now;
    er_usec active_for = end - p->start_at - p->paused_for;
    return active_for > 0 ? active_for : 0;
}

void
er_progress_init(struct er_progress *p, er_usec now)
{
    *p = (struct er_progress){.start_at = now, .paused_at = ER_NEVER};
}

static void
restart_pace(struct er_progress_pace *pace, double value, er_usec at)
{
    *pace = (struct er_progress_pace){
        .begun = true, .no_guess = true, .anchor = value, .anchor_at = at};
}

/* As if all of it was done since the start. */
static void
guess_pace(struct er_progress_pace *pace, double value, er_usec at)
{
    if (!pace->no_guess && value > 0.0 && at >= SETTLE) {
        pace->rate = value / to_seconds(at);
        pace->known = true;
    }
}

static void
move_pace(struct er_progress_pace *pace, double value, er_usec at)
{
    if (!pace->begun) {
        pace->begun = true;
        pace->anchor = value;
        pace->anchor_at = at;
        guess_pace(pace, value, at);
        return;
    }
    er_usec step_for = at - pace->anchor_at;
    if (value <= pace->anchor || step_for <= 0) {
        return;
    }
    if (!pace->settled && step_for < SETTLE) {
        guess_pace(pace, value, at);
        return; /* too short to tell: it counts with the next move */
    }
    double dt = to_seconds(step_for);
    double rate = (value - pace->anchor) / dt;
    double weight = pace->settled ? dt / (dt + to_seconds(TAU)) : 1.0;
    pace->rate += (rate - pace->rate) * weight;
    pace->known = pace->settled = true;
    pace->anchor = value;
    pace->anchor_at = at;
}

/* The position has moved: remembers when, and how far apart moves are. */
static void
note_move(struct er_progress *p, er_usec at)
{
    er_usec step_for = at - p->moved_at;
    bool blend =
        p->n_moves >= 2; /* the first step is none: it may be a slow start, or 0 */
    p->mean_step_for = blend ? (3 * p->mean_step_for + step_for) / 4 : step_for;
    p->n_moves += p->n_moves < 2;
    p->moved_at = at;
}

static double
clamp(double percent)
{
    return percent < 0.0 ? 0.0 : percent > 100.0 ? 100.0 : percent;
}

/* What the update says about the position, sorted out. */
struct position {
    bool has_percent, has_current, has_total, restart;
    double percent;
    int64_t current, total;
};

static struct position
read_position(const struct er_progress *p, const struct er_progress_update *u)
{
    struct position at = {.restart = u->restart};
    at.has_total =
        u->has_total ? u->total > 0 : p->has_total && u->has_current && !u->restart;
    at.total = u->has_total ? u->total : p->total;
    at.has_current = u->has_current;
    at.current = u->current < 0 ? 0 : u->current;
    if (at.has_total && at.current > at.total) {
        at.current = at.total;
    }
    if (u->has_percent) {
        at.has_percent = true;
        at.percent = clamp(u->percent);
    } else if (at.has_current && at.has_total) {
        at.has_percent = true;
        at.percent = 100.0 * (double)at.current / (double)at.total;
        at.restart |= p->has_total && p->total != at.total;
    }
    return at;
}

/* Moves the percent: true when the source has come further, or restarts. What is shown
 * follows only upwards, so a new source below what is shown has to catch up first. */
static bool
move_percent(struct er_progress *p, const struct position *at, er_usec active_at)
{
    if (!at->has_percent ||
        (!at->restart && p->has_raw && at->percent <= p->raw_percent)) {
        return false;
    }
    if (at->restart) {
        restart_pace(&p->percent_pace, at->percent, active_at);
    } else {
        move_pace(&p->percent_pace, at->percent, active_at);
    }
    p->has_raw = true;
    p->raw_percent = at->percent;
    if (at->restart || !p->has_percent || at->percent > p->percent) {
        p->percent = at->percent;
    }
    p->has_percent = true;
    return true;
}

static bool
move_current(struct er_progress *p, const struct position *at, er_usec active_at)
{
    if (!at->has_current) {
        return false;
    }
    bool other = p->has_total != at->has_total || (p->has_total && p->total != at->total);
    bool again = p->has_current && (at->restart || other);
    if (again) {
        restart_pace(&p->current_pace, (double)at->current, active_at);
    } else if (!p->has_current || at->current > p->current) {
        move_pace(&p->current_pace, (double)at->current, active_at);
    } else {
        return false; /* not further, or back: as with the percent */
    }
    bool changed = !p->has_current || other || at->current != p->current;
    p->has_current = true;
    p->current = at->current;
    p->has_total = at->has_total;
    p->total = at->has_total ? at->total : 0;
    return changed;
}

/* A percent without counts makes counts stale that say something else. */
static bool
drop_stale_counts(struct er_progress *p, const struct position *at)
{
    if (!at->has_percent || at->has_current || !p->has_current || !p->has_total) {
        return false;
    }
    double off = 100.0 * (double)p->current / (double)p->total - at->percent;
    if (off > -1.0 && off < 1.0) {
        return false;
    }
    p->has_current = p->has_total = false;
    p->current_pace = (struct er_progress_pace){.no_guess = true};
    return true;
}

/* A higher source takes over: what the lower one counted is not comparable. The percent
 * that is shown stays until the new source has passed it. */
static void
take_over(struct er_progress *p, enum er_progress_source source)
{
    if (p->source != ER_PROGRESS_NONE) {
        p->has_current = p->has_total = p->has_raw = false;
        p->unit[0] = '\0';
        p->current_pace = p->percent_pace = (struct er_progress_pace){.no_guess = true};
    }
    p->source = source;
}

/* Takes a text over if one is given: true when it differs from the old one. */
static bool
take_text(char *old, size_t size, const char *given)
{
    char text[ER_PROGRESS_TEXT + 1];
    if (!given) {
        return false;
    }
    size_t n = er_text_clean(text, size, given, strnlen(given, 8 * ER_PROGRESS_TEXT));
    if (strcmp(old, text) == 0) {
        return false;
    }
    memcpy(old, text, n + 1);
    return true;
}

/* A total that comes alone. */
static bool
take_total(struct er_progress *p, const struct position *at)
{
    int64_t total = at->has_total ? at->total : 0;
    bool changed = p->has_total != at->has_total || p->total != total;
    p->has_total = at->has_total;
    p->total = total;
    return changed;
}

static bool
take_position(struct er_progress *p, const struct er_progress_update *u, er_usec now)
{
    if ((!u->has_percent && !u->has_current && !u->has_total) || u->source < p->source) {
        return false;
    }
    er_usec active_at = active_time(p, now);
    bool changed = u->source > p->source;
    if (changed) {
        take_over(p, u->source);
    }
    struct position at = read_position(p, u);
    changed |= drop_stale_counts(p, &at);
    bool moved = move_percent(p, &at, active_at);
    moved |= move_current(p, &at, active_at);
    if (u->has_total && !u->has_current) {
        changed |= take_total(p, &at);
    }
    if (moved) {
        note_move(p, active_at);
    }
    return take_text(p->unit, sizeof p->unit, u->unit) || moved || changed;
}

int
er_progress_update(struct er_progress *p, const struct er_progress_update *u, er_usec now)
{
    if (u->has_percent && !isfinite(u->percent)) {
        return ER_EINVALID;
    }
    if (p->finished) {
        return 0;
    }
    bool changed = take_position(p, u, now);
    if ((u->item || u->message) && u->source >= p->text_source) {
        p->text_source = u->source;
        changed |= take_text(p->item, sizeof p->item, u->item);
        changed |= take_text(p->message, sizeof p->message, u->message);
    }
    return changed ? 1 : 0;
}

void
er_progress_add_item(struct er_progress *p, const char *name, bool failed)
{
    p->has_items = true;
    if (failed) {
        p->items_failed++;
    } else {
        p->items_completed++;
    }
    if (name) {
        p->text_source = ER_PROGRESS_REPORTED;
        (void)take_text(p->item, sizeof p->item, name);
    }
}

void
er_progress_pause(struct er_progress *p, er_usec now)
{
    if (p->paused_at == ER_NEVER) {
        p->paused_at = now;
    }
}

void
er_progress_resume(struct er_progress *p, er_usec now)
{
    if (p->paused_at != ER_NEVER) {
        p->paused_for += now > p->paused_at ? now - p->paused_at : 0;
        p->paused_at = ER_NEVER;
    }
}

void
er_progress_finish(struct er_progress *p, bool completed, er_usec now)
{
    er_progress_pause(p, now);
    p->finished = true;
    if (completed) {
        p->has_percent = true;
        p->percent = 100.0;
    }
}

/* How much of the rate is left: 1 until the next move is overdue, then less and less; 0
 * when it is so late that the rate means nothing. */
static double
freshness(const struct er_progress *p, er_usec now)
{
    er_usec idle_for = active_time(p, now) - p->moved_at;
    er_usec late_for = idle_for - p->mean_step_for;
    er_usec patience_for = p->mean_step_for > TAU ? p->mean_step_for : TAU;
    if (late_for <= 0 || p->finished) {
        return 1.0;
    }
    if (late_for > 10 * patience_for) {
        return 0.0;
    }
    return to_seconds(patience_for) / to_seconds(patience_for + late_for);
}

bool
er_progress_rate(const struct er_progress *p, er_usec now, double *out_rate)
{
    const struct er_progress_pace *pace =
        p->has_current ? &p->current_pace : &p->percent_pace;
    double fresh = freshness(p, now);
    if (!pace->known || fresh <= 0.0) {
        return false;
    }
    *out_rate = pace->rate * fresh;
    return true;
}

bool
er_progress_eta(const struct er_progress *p, er_usec now, double *out_seconds)
{
    double fresh = freshness(p, now);
    double rate = p->percent_pace.rate * fresh;
    if (!p->percent_pace.known || p->finished || !p->has_raw || rate <= 0.0) {
        return false;
    }
    er_usec idle_for = active_time(p, now) - p->moved_at;
    double passed = to_seconds(idle_for < p->mean_step_for ? idle_for : p->mean_step_for);
    double left = (100.0 - p->raw_percent) / rate - passed;
    if (left <= 0.0 || left > to_seconds(ER_NEVER) / 4) {
        return false;
    }
    *out_seconds = left;
    return true;
}

/* Adds a number with a fixed count of digits behind the point, rounded down; printf would
 * take the point from the locale. */
static void
add_fixed(struct er_buf *b, double v, int digits)
{
    int64_t scale = 1;
    for (int i = 0; i < digits; i++) {
        scale *= 10;
    }
    int64_t n =
        v >= 9e12 ? INT64_C(9000000000000) * scale : (int64_t)(v * (double)scale + 1e-6);
    er_buf_addf(b, "%lld.%0*lld", (long long)(n / scale), digits, (long long)(n % scale));
}

static void
add_number(struct er_buf *b, const char *key, bool known, double v, int digits)
{
    er_buf_addf(b, "\"%s\":", key);
    if (known) {
        add_fixed(b, v, digits);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_add_char(b, ',');
}

static void
add_count(struct er_buf *b, const char *key, bool known, int64_t v)
{
    er_buf_addf(b, "\"%s\":", key);
    if (known) {
        er_buf_add_i64(b, v);
    } else {
        er_buf_add_str(b, "null");
    }
    er_buf_add_char(b, ',');
}

static void
add_text(struct er_buf *b, const char *key, const char *text)
{
    er_buf_addf(b, "\"%s\":", key);
    er_buf_add_json_str(b, text[0] ? text : NULL);
    er_buf_add_char(b, ',');
}

void
er_progress_encode(const struct er_progress *p, er_usec now, struct er_buf *b)
{
    double rate = 0.0, eta = 0.0;
    bool has_rate = er_progress_rate(p, now, &rate);
    bool has_eta = er_progress_eta(p, now, &eta);
    enum er_progress_source source = p->source ? p->source : p->text_source;
    er_buf_add_char(b, '{');
    add_number(b, "percent", p->has_percent, p->percent, 1);
    add_count(b, "current", p->has_current, p->current);
    add_count(b, "total", p->has_total, p->total);
    add_text(b, "unit", p->unit);
    add_text(b, "item", p->item);
    add_text(b, "message", p->message);
    add_number(b, "rate", has_rate, rate, rate < 1.0 ? 6 : 2);
    add_number(b, "eta_s", has_eta, eta, 1);
    add_count(b, "items_completed", p->has_items, p->items_completed);
    add_count(b, "items_failed", p->has_items, p->items_failed);
    er_buf_add_str(b, "\"source\":");
    er_buf_add_json_str(b, source ? er_progress_source_word(source) : NULL);
    er_buf_add_char(b, '}');
}

double
er_progress_estimate(er_usec active_for, er_usec expected_for)
{
    if (active_for <= 0 || expected_for <= 0) {
        return 0.0;
    }
    double part = (double)active_for / (double)expected_for;
    if (part <= 0.9) {
        return 100.0 * part;
    }
    double over = (part - 0.9) * 10.0;
    return 90.0 + 9.0 * over / (1.0 + over);
}
