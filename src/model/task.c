/* SPDX-License-Identifier: MIT */
/* The words and moves of states and events, made from task_states.def and events.def. A
 * number that is in no table (from a newer store, say) is answered with "unknown", never
 * with a read outside the table. */
#include "model/task.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct state_row {
    const char *word, *icon, *ascii;
    bool final;
    unsigned moves; /* bit set of the states it may go to */
};

static const struct state_row states[] = {
#define ER_STATE(name, number, word, icon, ascii, final, moves, meaning)                 \
    [number] = {word, icon, ascii, final, moves},
#include "model/task_states.def"
#undef ER_STATE
};
_Static_assert(COUNT(states) == ER_TASK_STATES, "ER_TASK_STATES counts task_states.def");

static const struct state_row *
find_state(enum er_task_state s)
{
    static const struct state_row unknown = {"unknown", "?", "[?]", false, 0};
    return (unsigned)s < COUNT(states) ? &states[s] : &unknown;
}

const char *
er_task_state_word(enum er_task_state s)
{
    return find_state(s)->word;
}

const char *
er_task_state_icon(enum er_task_state s, bool utf8)
{
    return utf8 ? find_state(s)->icon : find_state(s)->ascii;
}

int
er_task_state_find(const char *word)
{
    for (size_t i = 0; i < COUNT(states); i++) {
        if (strcmp(states[i].word, word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool
er_task_state_is_final(enum er_task_state s)
{
    return find_state(s)->final;
}

bool
er_task_state_can_move(enum er_task_state from, enum er_task_state to)
{
    return (unsigned)to < COUNT(states) && (find_state(from)->moves >> to & 1u) != 0;
}

enum er_task_state
er_task_shown_state(const struct er_task *t)
{
    bool waits = t->state == ER_TASK_QUEUED || t->state == ER_TASK_SCHEDULED ||
                 t->state == ER_TASK_BLOCKED;
    return t->held && waits ? ER_TASK_PAUSED : t->state;
}

enum event_kind { FACT, SAMPLE };

struct event_row {
    enum er_event event;
    const char *word;
    enum event_kind kind;
};

static const struct event_row events[] = {
#define ER_EVENT(name, number, word, kind, meaning) {ER_EVENT_##name, word, kind},
#include "model/events.def"
#undef ER_EVENT
};

static const struct event_row *
find_event(enum er_event e)
{
    static const struct event_row unknown = {0, "unknown", SAMPLE};
    for (size_t i = 0; i < COUNT(events); i++) {
        if (events[i].event == e) {
            return &events[i];
        }
    }
    return &unknown;
}

const char *
er_event_word(enum er_event e)
{
    return find_event(e)->word;
}

int
er_event_find(const char *word)
{
    for (size_t i = 0; i < COUNT(events); i++) {
        if (strcmp(events[i].word, word) == 0) {
            return (int)events[i].event;
        }
    }
    return -1;
}

bool
er_event_is_fact(enum er_event e)
{
    return find_event(e)->kind == FACT;
}

enum er_event
er_event_of_state(enum er_task_state s)
{
    switch (s) {
    case ER_TASK_QUEUED:
        return ER_EVENT_TASK_QUEUED;
    case ER_TASK_SCHEDULED:
        return ER_EVENT_TASK_SCHEDULED;
    case ER_TASK_BLOCKED:
        return ER_EVENT_TASK_BLOCKED;
    case ER_TASK_RUNNING:
        return ER_EVENT_TASK_STARTED;
    case ER_TASK_PAUSED:
        return ER_EVENT_TASK_PAUSED;
    case ER_TASK_COMPLETED:
        return ER_EVENT_TASK_COMPLETED;
    case ER_TASK_FAILED:
        return ER_EVENT_TASK_FAILED;
    case ER_TASK_CANCELLED:
        return ER_EVENT_TASK_CANCELLED;
    }
    return ER_EVENT_TASK_CHANGED;
}

/* The place of a word in a short list, or -1. */
static int
find_word(const char *const *words, int n, const char *word)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

static const char *const on_lost_words[] = {"run", "fail", "hold"};

const char *
er_on_lost_word(enum er_on_lost v)
{
    return (unsigned)v < COUNT(on_lost_words) ? on_lost_words[v] : "unknown";
}

int
er_on_lost_find(const char *word)
{
    return find_word(on_lost_words, COUNT(on_lost_words), word);
}

static const char *const after_when_words[] = {"ok", "any", "fail"};

const char *
er_after_when_word(enum er_after_when v)
{
    return (unsigned)v < COUNT(after_when_words) ? after_when_words[v] : "unknown";
}

int
er_after_when_find(const char *word)
{
    return find_word(after_when_words, COUNT(after_when_words), word);
}

bool
er_after_is_met(enum er_after_when when, enum er_task_state state)
{
    switch (when) {
    case ER_AFTER_OK:
        return state == ER_TASK_COMPLETED;
    case ER_AFTER_ANY:
        return er_task_state_is_final(state);
    case ER_AFTER_FAIL:
        return state == ER_TASK_FAILED;
    }
    return false;
}
