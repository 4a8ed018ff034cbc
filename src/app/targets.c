/* SPDX-License-Identifier: MIT */
/* All arguments are read before anything is asked for: one that is wrong refuses the
 * whole command. `@last` costs one request, and is an error where no task was added
 * yet. */
#include "app/targets.h"

#include "app/daemon.h"

int
er_targets_resolve(struct er_app *app, struct er_idlist *ids, struct er_err *err)
{
    json_t *page;
    if (!er_idlist_has_last(ids)) {
        return 0;
    }
    int rc = er_daemon_get(app, "/v1/tasks?limit=1", &page, err);
    if (rc) {
        return rc;
    }
    const json_t *newest = json_array_get(json_object_get(page, "tasks"), 0);
    er_task_id id = er_json_int(newest, "id", 0);
    json_decref(page);
    if (id <= 0) {
        return er_fail(err, ER_ENOTFOUND, "there is no @last: no task was added yet");
    }
    er_idlist_resolve(ids, id);
    return 0;
}

int
er_targets_read(struct er_app *app, int n, const char *const *args, struct er_idlist *out,
                struct er_err *err)
{
    int rc = 0;
    er_idlist_init(out);
    for (int i = 0; !rc && i < n; i++) {
        rc = er_idlist_parse(out, args[i], err);
    }
    rc = rc ? rc : er_targets_resolve(app, out, err);
    if (!rc && er_idlist_unique(out)) {
        rc = er_fail(err, ER_ENOMEM, "out of memory");
    }
    if (rc) {
        er_idlist_fini(out);
        er_idlist_init(out);
    }
    return rc;
}

int
er_targets_one(struct er_app *app, const char *arg, er_task_id *out, struct er_err *err)
{
    struct er_idlist ids;
    int rc = er_targets_read(app, 1, &arg, &ids, err);
    if (!rc && ids.n != 1) {
        rc = er_fail(err, ER_EINVALID, "'%.100s' names %zu tasks: give one id", arg,
                     ids.n);
    }
    if (!rc) {
        *out = ids.ids[0];
    }
    er_idlist_fini(&ids);
    return rc;
}

int
er_targets_each(struct er_app *app, int n, const char *const *args, er_targets_fn *fn,
                const void *ctx)
{
    struct er_idlist ids;
    struct er_err err;
    int code = 0;
    int rc = er_targets_read(app, n, args, &ids, &err);
    if (rc) {
        return er_app_fail(rc, &err);
    }
    for (size_t i = 0; i < ids.n; i++) {
        rc = fn(app, ids.ids[i], ctx);
        code = code ? code : rc;
    }
    er_idlist_fini(&ids);
    return code;
}
