/* SPDX-License-Identifier: MIT */
/* The first flaw found is the answer. */
#include "model/name.h"

#include <string.h>

#include "model/task.h"

const char *
er_name_refusal(const char *name)
{
    size_t len = strlen(name);
    if (len == 0) {
        return "is empty";
    }
    if (len > ER_MAX_NAME) {
        return "is too long (at most 1000 bytes)";
    }
    for (const char *p = name; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return "contains a control character";
        }
    }
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return "is '.' or '..', which addresses cannot hold";
    }
    return name[len - 1] == '/' ? "ends with a '/'" : NULL;
}
