/* SPDX-License-Identifier: MIT */
/* Compared byte by byte, with no pattern but a `*` at the end, so a match costs no more
 * than the name is long. */
#include "model/topic.h"

#include <string.h>

#include "base/utf8.h"
#include "model/task.h"

/* What was found in a name, in one walk. */
struct found {
    size_t len;
    bool dot, hole, control, chooser, high;
};

static struct found
look(const char *name)
{
    struct found f = {0};
    char before = '.';
    const char *p = name;
    for (; *p; before = *p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '.') {
            f.dot = true;
            f.hole = f.hole || before == '.';
        } else if (c == ',' || c == '*') {
            f.chooser = true;
        } else if (c < 0x20 || c == 0x7f) {
            f.control = true;
        } else if (c > 0x7f) {
            f.high = true;
        }
    }
    f.hole = f.hole || before == '.';
    f.len = (size_t)(p - name);
    return f;
}

const char *
er_topic_refusal(const char *name)
{
    struct found f = look(name);
    if (f.len == 0) {
        return "is empty";
    }
    if (!f.dot) { /* as all of errand's own are */
        return er_event_find(name) >= 0
                   ? "is one of errand's own events"
                   : "has no dot in it, as names of a program's own events have "
                     "(import.page)";
    }
    if (f.len > ER_MAX_NAME) {
        return "is longer than 1000 bytes";
    }
    if (f.hole) {
        return "has nothing on one side of a dot";
    }
    if (name[0] == ' ' || name[f.len - 1] == ' ') {
        return "begins or ends with a blank";
    }
    if (f.control) {
        return "contains a control character";
    }
    if (f.chooser) {
        return "contains a comma or a '*', which choose among names";
    }
    return f.high && !er_utf8_is_valid(name, f.len) ? "is not UTF-8" : NULL;
}

bool
er_topic_fits(const char *pattern, const char *name)
{
    size_t len = strlen(pattern);
    if (len > 0 && pattern[len - 1] == '*') {
        return strncmp(pattern, name, len - 1) == 0;
    }
    return strcmp(pattern, name) == 0;
}

bool
er_topic_fits_any(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (er_topic_fits(patterns[i], name)) {
            return true;
        }
    }
    return n == 0;
}
