/* SPDX-License-Identifier: MIT */
/* A check of errand doctor is noted: an object of the array that is printed at the end.
 * Where memory is out the check is missing there, and still counted as bad. */
#include "app/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "app/daemon.h"
#include "model/text.h"

void
er_doctor_note(struct er_doctor *d, const char *name, bool ok, const char *advice,
               const char *fmt, ...)
{
    char detail[700];
    size_t i;
    const json_t *known;
    va_list ap;
    json_array_foreach(d->checks, i, known)
    {
        if (ok && strcmp(er_json_text(known, "name"), name) == 0) {
            return;
        }
    }
    va_start(ap, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    detail[er_text_fit(detail, strlen(detail), sizeof detail - 1)] = '\0';
    json_t *c = json_pack("{s:s, s:b, s:s, s:s?}", "name", name, "ok", ok ? 1 : 0,
                          "detail", detail, "advice", ok ? NULL : advice);
    d->bad += !ok;
    if (c) {
        (void)json_array_append_new(d->checks, c);
    }
}
