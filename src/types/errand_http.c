/* SPDX-License-Identifier: MIT */
/* errand-http: the built-in type `http.request`, in a process of its own for each
 * attempt: nothing but this program has libcurl in it. Written with errand.h alone. */
#include <errand.h>

#include <curl/curl.h>
#include <stdio.h>

#include "types/http_request.h"

int
main(int argc, char **argv)
{
    struct errand_type type = ERRAND_INIT(errand_type);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) !=
        CURLE_OK) { /* before any thread is made */
        (void)fputs("errand-http: libcurl cannot be set up\n", stderr);
        return 1;
    }
    er_http_request_type(&type);
    int rc = errand_worker_main(argc, argv, &type, 1);
    curl_global_cleanup();
    return rc;
}
