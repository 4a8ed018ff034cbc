/* SPDX-License-Identifier: MIT */
/* Compared byte by byte, with no pattern but a `*` at the end, so a match costs no more
 * than the name is long. */
#include "model/topic.h"

#include <string.h>

#include "model/task.h"

const char *
er_topic_refusal(const char *name)
{
    size_t len = strlen(name);
    if (len == 0) {
        return "is empty";
    }
    if (er_event_find(name) >= 0) {
        return "is one of errand's own events";
    }
    if (!strchr(name, '.')) {
        return "has no dot in it, as names of a program's own events have (import.page)";
    }
    if (len > ER_MAX_NAME) {
        return "is longer than 1000 bytes";
    }
    if (name[0] == '.' || name[len - 1] == '.' || strstr(name, "..")) {
        return "has nothing on one side of a dot";
    }
    if (name[0] == ' ' || name[len - 1] == ' ') {
        return "begins or ends with a blank";
    }
    for (const char *p = name; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return "contains a control character";
        }
        if (*p == ',' || *p == '*') {
            return "contains a comma or a '*', which choose among names";
        }
    }
    return NULL;
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
