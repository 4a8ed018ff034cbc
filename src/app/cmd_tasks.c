/* SPDX-License-Identifier: MIT */
/* errand tasks: the table of tasks, once or live.
 *
 * Live (-w): a stream of events tells when something changed; then the list is asked for
 * again, at most five times a second. In between, times on the screen go on by
 * themselves. Nothing is polled. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/show.h"
#include "base/io.h"
#include "base/mem.h"
#include "model/suggest.h"

#define REDRAW_FOR (200 * ER_USEC_PER_MS)
#define PAGE_MAX   1000

struct tasks {
    bool running, completed, failed, all, watch, json;
    struct er_opt_int limit;
    const char *state, *queue, *type, *tag, *correlation;
};

#define AT(field) offsetof(struct tasks, field)
static const struct er_opt tasks_opts[] = {
    {0, "running", NULL, ER_OPT_FLAG, AT(running), "only what is not final", 0, 0, NULL},
    {0, "completed", NULL, ER_OPT_FLAG, AT(completed), "only what is final", 0, 0, NULL},
    {0, "failed", NULL, ER_OPT_FLAG, AT(failed), "only what failed", 0, 0, NULL},
    {'a', "all", NULL, ER_OPT_FLAG, AT(all), "cancelled ones too", 0, 0, NULL},
    {0, "state", "STATE[,...]", ER_OPT_TEXT, AT(state), "only those states", 0, 0,
     "queued scheduled blocked running paused completed failed cancelled"},
    {'q', "queue", "NAME", ER_OPT_TEXT, AT(queue), "only of that queue", 0, 0, NULL},
    {0, "type", "TYPE", ER_OPT_TEXT, AT(type), "only of that type", 0, 0, NULL},
    {0, "tag", "TAG", ER_OPT_TEXT, AT(tag), "only with that tag", 0, 0, NULL},
    {0, "correlation", "X", ER_OPT_TEXT, AT(correlation), "only with that correlation id",
     0, 0, NULL},
    {0, "limit", "N", ER_OPT_INT, AT(limit), "at most N tasks (50)", 1, 1000000, NULL},
    {'w', "watch", NULL, ER_OPT_FLAG, AT(watch), "go on showing it as it changes", 0, 0,
     NULL},
    {0, "json", NULL, ER_OPT_FLAG, AT(json), "one JSON object a line and task", 0, 0,
     NULL},
    ER_OPT_END,
};
#undef AT

/* The states that the options choose; NULL = the default list; "" = all. */
static const char *
states_of(const struct tasks *o)
{
    if (o->state) {
        return o->state;
    }
    if (o->failed) {
        return "failed";
    }
    if (o->running) {
        return "queued,scheduled,blocked,running,paused";
    }
    if (o->completed) {
        return "completed,failed,cancelled";
    }
    return o->all ? "" : NULL;
}

/* Each word of --state must be a state: 0, or ER_EINVALID with a suggestion. */
static int
check_states(const char *list, struct er_err *err)
{
    const char *names[ER_TASK_STATES];
    for (int i = 0; i < ER_TASK_STATES; i++) {
        names[i] = er_task_state_word((enum er_task_state)i);
    }
    while (list) {
        char word[32];
        size_t n = strcspn(list, ",");
        (void)snprintf(word, sizeof word, "%.*s", (int)(n < 31 ? n : 31), list);
        if (er_task_state_find(word) < 0) {
            return er_suggest_fail_list(err, ER_EINVALID, "state", word, names,
                                        ER_TASK_STATES);
        }
        list = list[n] ? list + n + 1 : NULL;
    }
    return 0;
}

static void
make_target(const struct tasks *o, int64_t limit, const char *cursor, struct er_buf *b)
{
    const char *states = states_of(o);
    er_buf_add_str(b, "/v1/tasks");
    if (!states) {
        er_daemon_param(b, "view", "default");
    } else if (states[0]) {
        er_daemon_param(b, "state", states);
    }
    const char *const filters[][2] = {{"queue", o->queue},
                                      {"type", o->type},
                                      {"tag", o->tag},
                                      {"correlation", o->correlation},
                                      {"cursor", cursor}};
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (filters[i][1]) {
            er_daemon_param(b, filters[i][0], filters[i][1]);
        }
    }
    er_daemon_param_int(b, "limit", limit < PAGE_MAX ? limit : PAGE_MAX);
}

/* What was asked for: the tasks (newest first), and what is below them. */
struct listing {
    json_t *tasks, *counts;
    bool all_paused;
    bool more;  /* there are more than the limit */
    er_usec at; /* mono: when this was so */
};

static void
drop(struct listing *l)
{
    json_decref(l->tasks);
    json_decref(l->counts);
}

/* Gets as many pages as the limit needs. */
static int
fetch(struct er_app *app, const struct tasks *o, struct listing *out, struct er_err *err)
{
    int64_t left = o->limit.set ? o->limit.value : 50;
    json_t *tasks = json_array();
    json_t *counts = NULL;
    char *cursor = NULL;
    bool all_paused = false;
    int rc = 0;
    do {
        json_t *page;
        struct er_buf target;
        er_buf_init(&target, 0);
        make_target(o, left, cursor, &target);
        rc = er_daemon_get(app, target.data, &page, err);
        er_buf_fini(&target);
        er_free(cursor);
        cursor = NULL;
        if (rc) {
            break;
        }
        json_t *part = json_object_get(page, "tasks");
        const char *next = er_json_text(page, "next");
        left -= (int64_t)json_array_size(part);
        (void)json_array_extend(tasks, part);
        cursor = json_array_size(part) > 0 ? er_strdup(next) : NULL;
        counts = counts ? counts : json_incref(json_object_get(page, "counts"));
        all_paused = er_json_bool(page, "all_paused");
        json_decref(page);
    } while (cursor && left > 0);
    bool more = cursor != NULL;
    er_free(cursor);
    if (rc) {
        json_decref(tasks);
        json_decref(counts);
        return rc;
    }
    *out = (struct listing){tasks, counts, all_paused, more,
                            er_clock_mono(er_clock_system())};
    return 0;
}

/* How many tasks there are in all. */
static int64_t
total(const json_t *counts)
{
    int64_t n = 0;
    for (int i = 0; i < ER_TASK_STATES; i++) {
        n += er_json_int(counts, er_task_state_word((enum er_task_state)i), 0);
    }
    return n;
}

/* Which rows there is room for when it is not enough for all: what runs comes first, then
 * what waits, then what is final; the newest of each. Sets show[i]. */
static void
choose(const json_t *tasks, size_t room, bool *show)
{
    for (int turn = 0; turn < 3; turn++) {
        size_t i;
        const json_t *task;
        json_array_foreach(tasks, i, task)
        {
            enum er_task_state state = er_json_state(task);
            int due = state == ER_TASK_RUNNING        ? 0
                      : er_task_state_is_final(state) ? 2
                                                      : 1;
            if (due == turn && room > 0) {
                show[i] = true;
                room--;
            }
        }
    }
}

/* What is below the table: what is cut away, the counts, whether all is paused. */
static void
add_below(const struct er_term *t, const struct listing *l, size_t cut, struct er_buf *b)
{
    if (cut > 0) {
        er_buf_addf(b, "%s %zu more\n", t->utf8 ? "…" : "...", cut);
    }
    er_show_footer(t, l->counts, b);
    if (l->all_paused) {
        er_buf_add_str(b, "Paused: everything (errand resume --all)\n");
    }
}

/* Adds the table, newest last, in as many lines as the screen has (0 = all). */
static void
render(const struct er_term *t, const struct listing *l, int lines, struct er_buf *b)
{
    er_usec now = er_clock_wall(er_clock_system());
    const json_t *tasks = l->tasks, *counts = l->counts;
    size_t n = json_array_size(tasks);
    struct er_buf below;
    if (n == 0) {
        er_buf_add_str(b, total(counts) == 0
                              ? "No tasks yet. Try: errand add -- sleep 3\n"
                              : "No tasks match.\n");
        if (total(counts) == 0) {
            return;
        }
    }
    er_buf_init(&below, 0);
    add_below(t, l, 0, &below);
    size_t room = n;
    if (lines > 0) {
        size_t taken = 1; /* the cursor's */
        for (size_t i = 0; i < below.len; i++) {
            taken += below.data[i] == '\n';
        }
        room = (size_t)lines > taken ? (size_t)lines - taken : 0;
        room = room < n && room > 0 ? room - 1 : room; /* "... 14 more" takes one */
    }
    er_buf_fini(&below);
    bool *show = er_xzalloc((n + 1) * sizeof *show);
    choose(tasks, room, show);
    struct er_table *table = er_show_table();
    for (size_t i = n; i > 0; i--) {
        if (show[i - 1]) {
            er_show_row(table, t, json_array_get(tasks, i - 1), now);
        }
    }
    er_free(show);
    er_table_render(table, t, 0, b);
    er_table_free(table);
    add_below(t, l, n > room ? n - room : 0, b);
}

static int
print_json(const json_t *tasks)
{
    int rc = 0;
    for (size_t i = json_array_size(tasks); rc == 0 && i > 0; i--) {
        rc = er_show_json(json_array_get(tasks, i - 1));
    }
    return rc;
}

/* ---- live ---- */

#define SCREEN_ON  "\033[?1049h\033[?25l" /* another screen, without a cursor */
#define SCREEN_OFF "\033[?25h\033[?1049l"

static void
on_signal_tty(int number)
{
    (void)!write(STDOUT_FILENO, SCREEN_OFF, sizeof SCREEN_OFF - 1);
    _exit(128 + number);
}

struct screen {
    struct er_term term;
    struct listing list;
    er_usec drawn_at;
};

/* The time that is left was told when the list was asked for: it runs on. */
static void
count_down(struct listing *l)
{
    size_t i;
    json_t *task;
    er_usec now = er_clock_mono(er_clock_system());
    json_array_foreach(l->tasks, i, task)
    {
        json_t *progress = json_object_get(task, "progress");
        double left = er_json_number(progress, "eta_s", -1.0);
        if (er_json_state(task) == ER_TASK_RUNNING && left > 0.0) {
            left -= (double)(now - l->at) / (double)ER_USEC_PER_SEC;
            (void)json_object_set_new(progress, "eta_s",
                                      json_real(left > 0.0 ? left : 0.0));
        }
    }
    l->at = now;
}

/* Draws what is known; on a terminal in place, else one table below the other. */
static int
draw(struct screen *s)
{
    struct er_buf b, lines;
    er_buf_init(&b, 0);
    er_buf_init(&lines, 0);
    er_term_init(&s->term, STDOUT_FILENO);
    count_down(&s->list);
    render(&s->term, &s->list, s->term.tty ? s->term.height : 0, &lines);
    if (s->term.tty) {
        er_buf_add_str(&b, "\033[H");
        for (const char *p = lines.data; p && *p;) {
            size_t n = strcspn(p, "\n");
            er_buf_add(&b, p, n);
            er_buf_add_str(&b, "\033[K");
            p += n;
            if (*p == '\n' && *++p) {
                er_buf_add_str(&b, "\r\n");
            }
        }
        er_buf_add_str(&b, "\033[J");
    } else {
        er_buf_add(&b, lines.data, lines.len);
        er_buf_add_char(&b, '\n');
    }
    int rc = er_app_out(&b);
    er_buf_fini(&b);
    er_buf_fini(&lines);
    s->drawn_at = er_clock_mono(er_clock_system());
    return rc;
}

/* Whether something on the screen changes by time alone. */
static bool
moves(const json_t *counts)
{
    return er_json_int(counts, "running", 0) > 0 ||
           er_json_int(counts, "scheduled", 0) > 0;
}

static int
refresh(struct er_app *app, const struct tasks *o, struct screen *s, struct er_err *err)
{
    struct listing list;
    int rc = fetch(app, o, &list, err);
    if (!rc) {
        drop(&s->list);
        s->list = list;
    }
    return rc;
}

/* Follows the events until the connection breaks: the error. */
static int
follow(struct er_app *app, const struct tasks *o, struct screen *s, struct er_err *err)
{
    struct er_client *events;
    struct er_buf seen;
    int rc = er_daemon_side_stream(app, "/v1/events", &events, err);
    if (rc) {
        return rc;
    }
    er_buf_init(&seen, 0);
    bool changed = true; /* since the list on the screen was asked for */
    while (!rc) {
        er_usec since = er_clock_mono(er_clock_system()) - s->drawn_at;
        if (changed && since >= REDRAW_FOR) {
            changed = false;
            rc = refresh(app, o, s, err);
            rc = rc ? rc : draw(s) ? ER_EIO : 0;
            continue;
        }
        er_usec wait_for = changed                                ? REDRAW_FOR - since
                           : s->term.tty && moves(s->list.counts) ? ER_USEC_PER_SEC
                                                                  : 0;
        rc = er_client_stream_read(events, &seen, wait_for, err);
        if (rc == ER_ETIMEOUT) {
            rc = changed ? 0 : draw(s) ? ER_EIO : 0;
            continue;
        }
        changed = changed || seen.len > 0;
        er_buf_clear(&seen);
        rc = rc > 0 ? 0 : rc == 0 ? ER_ENODAEMON : rc;
    }
    er_buf_fini(&seen);
    er_client_close(events);
    return rc;
}

static int
watch(struct er_app *app, const struct tasks *o)
{
    struct screen s = {.drawn_at = -REDRAW_FOR};
    struct er_err err;
    er_term_init(&s.term, STDOUT_FILENO);
    bool tty = s.term.tty;
    if (tty) {
        struct sigaction act = {.sa_handler = on_signal_tty};
        (void)sigaction(SIGINT, &act, NULL);
        (void)sigaction(SIGTERM, &act, NULL);
        (void)!er_write_all(STDOUT_FILENO, SCREEN_ON, sizeof SCREEN_ON - 1);
    }
    int rc = follow(app, o, &s, &err);
    while (rc == ER_ENODAEMON && app->connected_once) {
        rc = er_daemon_again(app, er_clock_mono(er_clock_system()), &err);
        rc = rc ? rc : follow(app, o, &s, &err);
    }
    if (tty) {
        (void)!er_write_all(STDOUT_FILENO, SCREEN_OFF, sizeof SCREEN_OFF - 1);
    }
    drop(&s.list);
    return er_app_fail(rc, &err);
}

/* Says that the limit has cut the list, and by how many where the counts tell that. */
static void
note_more(const struct tasks *o, const struct listing *l)
{
    size_t shown = json_array_size(l->tasks);
    const char *states = states_of(o);
    bool filtered = o->queue || o->type || o->tag || o->correlation;
    int64_t n = 0;
    for (int i = 0; i < ER_TASK_STATES; i++) {
        const char *word = er_task_state_word((enum er_task_state)i);
        bool in_view =
            states ? !states[0] || strstr(states, word) : i != ER_TASK_CANCELLED;
        n += in_view ? er_json_int(l->counts, word, 0) : 0;
    }
    if (filtered) {
        er_app_note("there are more than these %zu (--limit %zu)", shown, shown * 2);
    } else if (n > (int64_t)shown) {
        er_app_note("%" PRId64 " more (--limit %" PRId64 ")", n - (int64_t)shown, n);
    }
}

static int
tasks_exec(struct er_app *app, void *data, int n, char **args)
{
    struct tasks *o = data;
    struct er_err err;
    struct listing list;
    (void)n;
    (void)args;
    int rc = o->state ? check_states(o->state, &err) : 0;
    if (!rc && o->watch && o->json) {
        rc = er_fail(&err, ER_EINVALID,
                     "-w draws a table and --json does not: errand events -f "
                     "--json follows what changes");
    }
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (o->watch) {
        return watch(app, o);
    }
    rc = fetch(app, o, &list, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    if (o->json) {
        rc = print_json(list.tasks);
    } else {
        struct er_term t;
        struct er_buf b;
        er_buf_init(&b, 0);
        er_term_init(&t, STDOUT_FILENO);
        render(&t, &list, 0, &b);
        rc = er_app_out(&b);
        er_buf_fini(&b);
    }
    if (rc == 0 && list.more && !(o->json && o->limit.set)) {
        note_more(o, &list);
    }
    drop(&list);
    return rc;
}

const struct er_cmd er_cmd_tasks = {
    .name = "tasks",
    .operands = "",
    .summary = "list tasks (what errand alone does)",
    .text =
        "Shows everything that is not final, and what completed or failed, newest last;\n"
        "cancelled tasks only with --all, --completed or --state.",
    .group = "Look",
    .opts = {tasks_opts},
    .data_size = sizeof(struct tasks),
    .exec = tasks_exec,
};
