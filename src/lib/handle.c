/* SPDX-License-Identifier: MIT */
/* errand.h: what needs no handle. */
#include "lib/handle.h"

#include "base/error.h"
#include "base/mem.h"

_Static_assert(ERRAND_ENODAEMON == ER_ENODAEMON && ERRAND_ETIMEOUT == ER_ETIMEOUT &&
                   ERRAND_EFULL == ER_EFULL && ERRAND_EIO == ER_EIO &&
                   ERRAND_ECLOSED == ER_ECLOSED && ERRAND_EBUSY == ER_EBUSY &&
                   ERRAND_EDISKFULL == ER_EDISKFULL && ERRAND_EAUTH == ER_EAUTH &&
                   ERRAND_ETOOBIG == ER_ETOOBIG && ERRAND_ECANCELLED == ER_ECANCELLED,
               "the public codes are the inner ones");

int
errand_version(void)
{
    return ERRAND_VERSION;
}

const char *
errand_strerror(int code)
{
    return code == 0 ? "ok" : er_error_meaning(code);
}

void
errand_free(void *p)
{
    er_free(p);
}
