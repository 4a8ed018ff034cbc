/* SPDX-License-Identifier: MIT */
/* What is not set in the daemon's environment is left out; {} when nothing is. When
 * memory is out the caller gets NULL. */
#include <stdlib.h>

#include "base/buf.h"
#include "serve/server.h"

char *
er_server_default_env(void)
{
    static const char *const names[] = {"PATH", "HOME", "USER", "LANG", "SHELL", "TZ"};
    struct er_buf b;
    er_buf_init(&b, 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value) {
            er_buf_add_char(&b, b.len ? ',' : '{');
            er_buf_add_json_str(&b, names[i]);
            er_buf_add_char(&b, ':');
            er_buf_add_json_str(&b, value);
        }
    }
    er_buf_add_str(&b, b.len ? "}" : "{}");
    return er_buf_take(&b);
}
