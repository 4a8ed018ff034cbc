/* SPDX-License-Identifier: MIT */
/* Happy path of a registration, on the caller's thread: the definition is made and
 * checked here; what the store has under that name is asked for; if it differs it is
 * replaced; then the handler is served, which begins (or widens) the session.
 *
 * Failure modes: what is refused here names the member as C has it, what the daemon
 * refuses too; a definition that others serve is left as it is (ERRAND_EEXISTS, with the
 * member that differs): the daemon looks, when it is about to replace it. What was
 * refused has changed nothing. */
#include "lib/types.h"

#include <stdlib.h>
#include <string.h>

#include "api/builtin.h"
#include "lib/handle.h"
#include "lib/handlers.h"
#include "lib/sync.h"
#include "model/param.h"

/* ---- what the loop does ---- */

struct serve {
    struct er_wait wait; /* first */
    const char *name;
    const struct er_handler *handler; /* NULL: withdraw */
    int64_t session;
    bool is_pending; /* it is served here, but that session has no number yet */
};

static void
serve_on_loop(struct er_wait *wait)
{
    struct serve *s = (struct serve *)(void *)wait;
    struct er_handlers *h = er_handlers_get(wait->e);
    er_handle_done(wait, h ? er_handlers_serve(h, s->name, s->handler) : ER_ENOMEM);
}

static void
withdraw_on_loop(struct er_wait *wait)
{
    struct serve *s = (struct serve *)(void *)wait;
    struct er_handlers *h = wait->e->handlers;
    er_handle_done(wait, h ? er_handlers_withdraw(h, s->name) : ER_ENOTFOUND);
}

/* Its own session, 0 = none. */
static void
ask_on_loop(struct er_wait *wait)
{
    struct serve *s = (struct serve *)(void *)wait;
    const struct er_handlers *h = wait->e->handlers;
    s->session = h ? er_handlers_session(h) : 0;
    s->is_pending = h && s->session == 0 && er_handlers_serves(h, s->name);
    er_handle_done(wait, 0);
}

static int
on_loop(errand *e, void (*fn)(struct er_wait *wait), const char *name,
        const struct er_handler *handler)
{
    struct serve s = {.wait = {.fn = fn}, .name = name, .handler = handler};
    return er_handle_wait(e, &s.wait);
}

/* ---- the definition ---- */

static int
get_definition(errand *e, const char *name, json_t **out, errand_error *error)
{
    char target[160];
    struct er_sync_spec spec = {.method = "GET", .target = target};
    struct er_buf body;
    *out = NULL;
    (void)snprintf(target, sizeof target, "/v1/types/%s", name);
    int rc = er_sync_run(e, &spec, &body, error);
    if (rc == 0) {
        *out = json_loadb(body.data, body.len, 0, NULL);
        er_buf_fini(&body);
    }
    return rc == ER_ENOTFOUND ? er_handle_fine(error) : rc;
}

/* Puts it, unless others than that session serve it by another one. */
static int
put_besides(errand *e, const char *name, const char *text, int64_t session,
            errand_error *error)
{
    char target[200];
    struct er_sync_spec spec = {.method = "PUT", .target = target};
    struct er_buf body;
    (void)snprintf(target, sizeof target, "/v1/types/%s?merge=0&besides=%lld", name,
                   (long long)session);
    er_buf_init(&spec.body, 0);
    er_buf_add_str(&spec.body, text);
    int rc = er_sync_run(e, &spec, &body, error);
    if (rc == 0) {
        er_buf_fini(&body);
    } else if (error) {
        er_types_to_c_names(error->field, sizeof error->field);
    }
    return rc;
}

/* While its own session has no number yet, that may be the other one that serves it: the
 * number comes with one of the next answers. */
static int
put_definition(errand *e, const char *name, const json_t *definition, errand_error *error)
{
    er_usec until = er_clock_mono(er_clock_system()) + ER_SYNC_BOUND;
    struct serve ask = {.wait = {.fn = ask_on_loop}, .name = name};
    char *text = json_dumps(definition, JSON_COMPACT);
    int rc = ER_EEXISTS;
    if (!text) {
        return er_handle_fail(error, ER_ENOMEM, NULL, "out of memory");
    }
    for (bool again = true; again && rc == ER_EEXISTS;) {
        rc = er_handle_wait(e, &ask.wait);
        if (rc) {
            rc = er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc));
        } else {
            rc = put_besides(e, name, text, ask.session, error);
        }
        again = ask.is_pending && er_clock_mono(er_clock_system()) < until;
    }
    free(text);
    return rc;
}

/* Puts it where it differs from what there is. */
static int
settle(errand *e, const char *name, const json_t *definition, errand_error *error)
{
    json_t *old = NULL;
    const char *member = "";
    int rc = get_definition(e, name, &old, error);
    if (rc == 0 && old) {
        int compared = er_types_compare(name, old, definition, &member);
        member = compared ? "" : member; /* what there is cannot be read: it differs */
        rc = compared != ER_ENOMEM ? 0
                                   : er_handle_fail(error, compared, NULL, "%s",
                                                    er_error_meaning(compared));
    }
    if (rc == 0 && member) {
        rc = put_definition(e, name, definition, error);
    }
    json_decref(old);
    return rc;
}

static int
serve(errand *e, const char *name, const struct er_handler *handler, errand_error *error)
{
    int rc = on_loop(e, serve_on_loop, name, handler);
    return rc ? er_handle_fail(error, rc, NULL, "type '%s' cannot be served: %s", name,
                               er_error_meaning(rc))
              : er_handle_fine(error);
}

/* Those that every instance has are run by its workers, whoever asks for them. */
static int
refuse_builtin(const char *name, errand_error *error)
{
    return name && er_builtin_definition(name)
               ? er_handle_fail(error, ER_EEXISTS, "name",
                                "type '%s' is built in: it takes no handler, choose "
                                "another name",
                                name)
               : 0;
}

static int
register_type(errand *e, const struct errand_type *given, errand_blocking_fn *blocking,
              errand_error *error)
{
    struct errand_type t;
    json_t *definition = NULL;
    int rc = er_types_copy(given, &t, error);
    struct er_handler handler = {.fn = t.handler, .ctx = t.ctx};
    if (blocking) {
        handler = (struct er_handler){.blocking = blocking};
    }
    bool any = handler.fn || handler.blocking;
    rc = rc || !any ? rc : refuse_builtin(t.name, error);
    if (rc == 0) {
        rc = er_types_define(&t, any ? ER_TYPES_HANDLER : ER_TYPES_NOBODY, NULL,
                             &definition, error);
    }
    if (rc == 0) {
        rc = settle(e, t.name, definition, error);
    }
    json_decref(definition);
    return rc == 0 && any ? serve(e, t.name, &handler, error) : rc;
}

/* ---- errand.h ---- */

int
errand_register(errand *e, const struct errand_type *type, errand_error *error)
{
    if (!e) {
        return er_handle_fail(error, ER_EINVALID, "e", "e is NULL");
    }
    return register_type(e, type, NULL, error);
}

int
errand_register_blocking(errand *e, const struct errand_type *type,
                         errand_blocking_fn *fn, errand_error *error)
{
    if (!e || !fn) {
        return er_handle_fail(error, ER_EINVALID, e ? "fn" : "e", "%s is NULL",
                              e ? "fn" : "e");
    }
    return register_type(e, type, fn, error);
}

int
errand_unregister(errand *e, const char *name, errand_error *error)
{
    if (!e || !name) {
        return er_handle_fail(error, ER_EINVALID, e ? "name" : "e", "%s is NULL",
                              e ? "name" : "e");
    }
    int rc = on_loop(e, withdraw_on_loop, name, NULL);
    if (rc == ER_ENOTFOUND) {
        return er_handle_fail(error, rc, "name",
                              "type '%.100s' is not served by this handle", name);
    }
    return rc ? er_handle_fail(error, rc, NULL, "%s", er_error_meaning(rc))
              : er_handle_fine(error);
}

int
errand_types(errand *e, const char *name, char **out_json, errand_error *error)
{
    char target[160];
    struct er_sync_spec spec = {.method = "GET", .target = target};
    struct er_buf body;
    if (!e || !out_json) {
        return er_handle_fail(error, ER_EINVALID, e ? "out_json" : "e", "%s is NULL",
                              e ? "out_json" : "e");
    }
    *out_json = NULL;
    if (name && !er_type_is_name(name)) {
        return er_handle_fail(error, ER_ENOTFOUND, NULL, "there is no type '%.120s'",
                              name);
    }
    (void)snprintf(target, sizeof target, "/v1/types%s%s", name ? "/" : "",
                   name ? name : "");
    int rc = er_sync_run(e, &spec, &body, error);
    if (rc == 0) {
        *out_json = er_buf_take(&body);
        er_buf_fini(&body);
    }
    return rc == 0 && !*out_json ? er_handle_fail(error, ER_ENOMEM, NULL, "out of memory")
                                 : rc;
}
