/* SPDX-License-Identifier: MIT */
/* Hides credentials in URLs, wherever a command or a text of a task is shown. Only for
 * showing: what is executed stays as it is. Pure; any thread.
 *
 *   user:secret@host    becomes user:***@host
 *   token@host          becomes ***@host   (not for ssh, sftp: there it is a login name)
 *   ?token=abc&page=2   becomes ?token=***&page=2
 *
 * Parameters of a query or fragment are hidden by name, without regard to case: token,
 * access_token, api_key, apikey, key, password, passwd, pwd, secret, sig, signature,
 * credential, auth - or any name whose last part after '_', '-' or '.' is one of these
 * (`client_secret`, `X-Amz-Signature`). Masking a masked text changes nothing. What is no
 * URL (`--password x`) is not known to be a secret and stays. */
#ifndef ER_MODEL_MASK_H
#define ER_MODEL_MASK_H

#include <stddef.h>

#include "base/buf.h"

/* Adds the n bytes at s, masked, to b; look at b->failed afterwards. */
void er_mask_encode(struct er_buf *b, const char *s, size_t n);

#endif
