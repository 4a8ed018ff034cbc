/* SPDX-License-Identifier: MIT */
/* Output of any kind, in pieces whose sizes come from its own bytes: the scanner must
 * find what it finds in one piece, and the progress made of it must stay within its
 * bounds. `./dev fuzz scan`; replay.c feeds seeds without a fuzzer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/progress_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void
check_progress(const struct er_progress *p)
{
    require(!p->has_percent || (p->percent >= 0.0 && p->percent <= 100.0));
    require(!p->has_total || (p->total > 0 && p->current <= p->total));
    require(p->current >= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct er_progress_scan cut, whole;
    struct er_progress progress;
    struct er_progress_update u;
    er_usec now = 0;
    er_progress_scan_init(&cut);
    er_progress_scan_init(&whole);
    er_progress_init(&progress, now);
    er_progress_scan_feed(&whole, p, size);
    for (size_t at = 0; at < size;) {
        size_t take = 1 + data[at] % 37;
        take = take > size - at ? size - at : take;
        er_progress_scan_feed(&cut, p + at, take);
        at += take;
        now += ER_USEC_PER_SEC / 7;
        if (er_progress_scan_take(&cut, &u)) {
            require(er_progress_update(&progress, &u, now) >= 0);
            check_progress(&progress);
        }
    }
    const struct er_progress_found *a = &cut.shown, *b = &whole.shown;
    require(a->any == b->any && a->current == b->current && a->total == b->total);
    require(!(a->percent < b->percent) && !(a->percent > b->percent));
    require(a->restarts == b->restarts && strcmp(a->message, b->message) == 0);
    struct er_buf json;
    er_buf_init(&json, 0);
    er_progress_encode(&progress, now, &json);
    require(!json.failed);
    er_buf_fini(&json);
    return 0;
}
