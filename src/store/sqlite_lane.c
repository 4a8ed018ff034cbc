/* SPDX-License-Identifier: MIT */
/* Lanes, counters and environments. All lanes are known in memory, so that a submit costs
 * no look-up; counts and uses are summed up there and written once a commit, so that a
 * thousand tasks of one queue change one row.
 *
 * After a rollback memory forgets what the transaction had added: lanes that it made, its
 * sums, and all remembered environments (they are few and found again by their hash). */
#include "store/sqlite_priv.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define ENV_REMEMBERED 256 /* after more than these, all are forgotten at a commit */

unsigned
er_sqlite_hash(const void *p, size_t n)
{
    return (unsigned)XXH3_64bits(p, n);
}

static struct er_queue_sum *
find_sum(struct er_store *s, const char *queue)
{
    struct er_queue_sum *sum;
    HASH_FIND_STR(s->sums, queue, sum);
    if (sum) {
        return sum;
    }
    sum = er_zalloc(sizeof *sum);
    char *name = sum ? er_strdup(queue) : NULL;
    if (name) {
        sum->name = name;
        HASH_ADD_KEYPTR(hh, s->sums, sum->name, strlen(sum->name), sum);
    }
    if (!name || !sum->hh.tbl) {
        er_free(name);
        er_free(sum);
        return NULL;
    }
    return sum;
}

static void
free_lane(struct er_lane_entry *lane)
{
    if (lane) {
        er_free(lane->key);
        er_free(lane);
    }
}

/* The three names, each with its NUL, one behind the other. */
static int
make_key(struct er_buf *b, const char *queue, const char *type, const char *limit_key)
{
    er_buf_clear(b);
    er_buf_add(b, queue, strlen(queue) + 1);
    er_buf_add(b, type, strlen(type) + 1);
    er_buf_add(b, limit_key, strlen(limit_key) + 1);
    return b->failed;
}

static struct er_lane_entry *
remember_lane(struct er_store *s, int64_t id, const char *key, size_t key_len)
{
    struct er_lane_entry *lane = er_zalloc(sizeof *lane);
    char *copy = lane ? er_memdup(key, key_len) : NULL;
    struct er_queue_sum *sum = copy ? find_sum(s, copy) : NULL;
    if (!sum) {
        er_free(copy);
        er_free(lane);
        return NULL;
    }
    lane->id = id;
    lane->key = copy;
    lane->key_len = key_len;
    lane->queue = copy;
    lane->type = lane->queue + strlen(lane->queue) + 1;
    lane->limit_key = lane->type + strlen(lane->type) + 1;
    lane->sum = sum;
    lane->type_signature = er_sqlite_type_signature(lane->type);
    HASH_ADD_KEYPTR(by_key, s->lanes_by_key, lane->key, lane->key_len, lane);
    if (lane->by_key.tbl) {
        HASH_ADD(by_id, s->lanes_by_id, id, sizeof lane->id, lane);
        if (!lane->by_id.tbl) {
            HASH_DELETE(by_key, s->lanes_by_key, lane);
        }
    }
    if (!lane->by_key.tbl || !lane->by_id.tbl) {
        free_lane(lane);
        return NULL;
    }
    return lane;
}

static int
make_lane(struct er_store *s, struct er_lane_entry **out)
{
    const char *queue = s->buf.data;
    const char *type = queue + strlen(queue) + 1;
    const char *limit_key = type + strlen(type) + 1;
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_LANE_ADD);
    er_stmt_text(&q, queue);
    er_stmt_text(&q, type);
    er_stmt_text(&q, limit_key);
    int rc = er_stmt_run(&q);
    if (rc) {
        return rc;
    }
    struct er_lane_entry *lane =
        remember_lane(s, sqlite3_last_insert_rowid(s->c.db), s->buf.data, s->buf.len);
    if (!lane) {
        return er_sqlite_no_memory(&s->c);
    }
    lane->next_new = s->new_lanes;
    s->new_lanes = lane;
    *out = lane;
    return er_sqlite_new_lane(s, lane);
}

int
er_sqlite_lane(struct er_store *s, const char *queue, const char *type,
               const char *limit_key, struct er_lane_entry **out)
{
    struct er_lane_entry *lane = s->last_lane;
    limit_key = limit_key ? limit_key : "";
    if (!lane || strcmp(lane->queue, queue) != 0 || strcmp(lane->type, type) != 0 ||
        strcmp(lane->limit_key, limit_key) != 0) {
        if (make_key(&s->buf, queue, type, limit_key)) {
            return er_sqlite_no_memory(&s->c);
        }
        HASH_FIND(by_key, s->lanes_by_key, s->buf.data, s->buf.len, lane);
        int rc = lane ? 0 : make_lane(s, &lane);
        if (rc) {
            return rc;
        }
        s->last_lane = lane;
    }
    *out = lane;
    return 0;
}

struct er_lane_entry *
er_sqlite_lane_find(struct er_store *s, int64_t id)
{
    struct er_lane_entry *lane = s->last_lane;
    if (!lane || lane->id != id) {
        HASH_FIND(by_id, s->lanes_by_id, &id, sizeof id, lane);
        if (lane) {
            s->last_lane = lane;
        }
    }
    return lane;
}

static int
load_lane(struct er_store *s, struct er_stmt *q)
{
    const char *names[3];
    for (int i = 0; i < 3; i++) {
        names[i] = (const char *)sqlite3_column_text(q->st, i + 1);
        if (!names[i]) {
            return er_sqlite_no_memory(&s->c);
        }
    }
    if (make_key(&s->buf, names[0], names[1], names[2]) ||
        !remember_lane(s, er_col_i64(q, 0), s->buf.data, s->buf.len)) {
        return er_sqlite_no_memory(&s->c);
    }
    return 0;
}

int
er_sqlite_lanes_load(struct er_store *s)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_LANES);
    int rc;
    while ((rc = er_stmt_step(&q)) == 1) {
        rc = load_lane(s, &q);
        if (rc) {
            break;
        }
    }
    er_stmt_end(&q);
    return rc;
}

static void
count_in(struct er_store *s, struct er_queue_sum *sum, enum er_task_state state, int n)
{
    sum->delta[state] += n;
    if (!sum->dirty) {
        sum->dirty = true;
        sum->next_dirty = s->dirty_sums;
        s->dirty_sums = sum;
    }
}

void
er_sqlite_count(struct er_store *s, struct er_lane_entry *lane, enum er_task_state state,
                int n)
{
    count_in(s, lane->sum, state, n);
}

void
er_sqlite_count_move(struct er_store *s, struct er_lane_entry *lane,
                     enum er_task_state from, enum er_task_state to)
{
    ER_ASSERT(er_task_state_can_move(from, to));
    count_in(s, lane->sum, from, -1);
    count_in(s, lane->sum, to, 1);
}

bool
er_sqlite_queue_is_boundless(struct er_store *s, const char *queue)
{
    struct er_queue_sum *sum = s->last_lane ? s->last_lane->sum : NULL;
    if (!sum || strcmp(sum->name, queue) != 0) {
        HASH_FIND_STR(s->sums, queue, sum);
    }
    return sum && sum->boundless == s->settings + 1;
}

void
er_sqlite_queue_boundless(struct er_store *s, const char *queue)
{
    struct er_queue_sum *sum;
    HASH_FIND_STR(s->sums, queue, sum);
    if (sum) { /* else it has no lane yet */
        sum->boundless = s->settings + 1;
    }
}

void
er_sqlite_queues_changed(struct er_store *s)
{
    s->settings++;
}

static int
remember_env(struct er_store *s, const unsigned char hash[16], int64_t id)
{
    struct er_env_entry *env = er_zalloc(sizeof *env);
    if (!env) {
        return er_sqlite_no_memory(&s->c);
    }
    memcpy(env->hash, hash, sizeof env->hash);
    env->id = id;
    HASH_ADD(hh, s->envs, hash, sizeof env->hash, env);
    if (!env->hh.tbl) {
        er_free(env); /* only not remembered */
    }
    return 0;
}

/* Looks the environment up in the table, or adds it. */
static int
store_env(struct er_store *s, const char *json, const unsigned char hash[16],
          int64_t *out)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, ER_SQL_ENV_FIND);
    er_stmt_blob(&q, hash, 16);
    int rc = er_stmt_step(&q);
    if (rc == 1) {
        *out = er_col_i64(&q, 0);
    }
    er_stmt_end(&q);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    er_stmt_begin(&q, &s->c, ER_SQL_ENV_ADD);
    er_stmt_blob(&q, hash, 16);
    er_stmt_text(&q, json);
    rc = er_stmt_run(&q);
    *out = sqlite3_last_insert_rowid(s->c.db);
    return rc;
}

int
er_sqlite_env(struct er_store *s, const char *json, int64_t *out)
{
    struct er_env_entry *env;
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(json, strlen(json)));
    HASH_FIND(hh, s->envs, hash.digest, sizeof hash.digest, env);
    if (env) {
        *out = env->id;
    } else {
        int rc = store_env(s, json, hash.digest, out);
        if (rc == 0) {
            rc = remember_env(s, hash.digest, *out);
        }
        if (rc) {
            return rc;
        }
    }
    return er_sqlite_env_use(s, *out, 1);
}

int
er_sqlite_env_use(struct er_store *s, int64_t id, int n)
{
    struct er_env_use *use;
    HASH_FIND(hh, s->env_uses, &id, sizeof id, use);
    if (!use) {
        use = er_zalloc(sizeof *use);
        if (use) {
            use->id = id;
            HASH_ADD(hh, s->env_uses, id, sizeof use->id, use);
        }
        if (!use || !use->hh.tbl) {
            er_free(use);
            return er_sqlite_no_memory(&s->c);
        }
    }
    use->delta += n;
    return 0;
}

void
er_sqlite_count_log(struct er_store *s, int64_t bytes)
{
    s->log_bytes += bytes;
}

enum tally { TALLY_QUEUE = 0, TALLY_ENV = 1, TALLY_LOG = 2 };

static int
run_tally(struct er_store *s, enum er_sql which, enum tally kind, const char *name,
          int64_t of, int64_t delta)
{
    struct er_stmt q;
    er_stmt_begin(&q, &s->c, which);
    er_stmt_i64(&q, delta);
    er_stmt_i64(&q, kind);
    er_stmt_text(&q, name);
    er_stmt_i64(&q, of);
    return er_stmt_run(&q);
}

/* Adds to a row of the tally, which is made when it is not there. */
static int
add_to_tally(struct er_store *s, enum tally kind, const char *name, int64_t of,
             int64_t delta)
{
    int rc = run_tally(s, ER_SQL_TALLY_CHANGE, kind, name, of, delta);
    if (rc || sqlite3_changes(s->c.db) != 0) {
        return rc;
    }
    return run_tally(s, ER_SQL_TALLY_ADD, kind, name, of, delta);
}

static int
write_sums(struct er_store *s)
{
    int rc = 0;
    for (struct er_queue_sum *sum = s->dirty_sums; sum && rc == 0;
         sum = sum->next_dirty) {
        for (int state = 0; state < ER_TASK_STATES && rc == 0; state++) {
            if (sum->delta[state] != 0) {
                rc = add_to_tally(s, TALLY_QUEUE, sum->name, state, sum->delta[state]);
            }
        }
    }
    for (struct er_env_use *use = s->env_uses; use && rc == 0; use = use->hh.next) {
        if (use->delta != 0) {
            rc = add_to_tally(s, TALLY_ENV, "", use->id, use->delta);
        }
    }
    if (rc == 0 && s->log_bytes != 0) {
        rc = add_to_tally(s, TALLY_LOG, "", 0, s->log_bytes);
    }
    return rc;
}

void
er_sqlite_envs_forget(struct er_store *s)
{
    struct er_env_entry *env, *next;
    HASH_ITER (hh, s->envs, env, next) {
        HASH_DEL(s->envs, env);
        er_free(env);
    }
}

static void
clear_sums(struct er_store *s)
{
    while (s->dirty_sums) {
        struct er_queue_sum *sum = s->dirty_sums;
        s->dirty_sums = sum->next_dirty;
        memset(sum->delta, 0, sizeof sum->delta);
        sum->dirty = false;
    }
    s->log_bytes = 0;
    struct er_env_use *use, *next;
    HASH_ITER (hh, s->env_uses, use, next) {
        HASH_DEL(s->env_uses, use);
        er_free(use);
    }
}

int
er_sqlite_sums_flush(struct er_store *s)
{
    int rc = write_sums(s);
    if (rc == 0) {
        clear_sums(s);
    }
    return rc;
}

void
er_sqlite_sums_keep(struct er_store *s)
{
    s->new_lanes = NULL;
    if (HASH_COUNT(s->envs) > ENV_REMEMBERED) {
        er_sqlite_envs_forget(s);
    }
}

void
er_sqlite_sums_forget(struct er_store *s)
{
    clear_sums(s);
    er_sqlite_envs_forget(s);
    er_sqlite_queues_changed(s);
    s->last_lane = NULL;
    while (s->new_lanes) {
        struct er_lane_entry *lane = s->new_lanes;
        s->new_lanes = lane->next_new;
        HASH_DELETE(by_key, s->lanes_by_key, lane);
        HASH_DELETE(by_id, s->lanes_by_id, lane);
        free_lane(lane);
    }
}

void
er_sqlite_lanes_free(struct er_store *s)
{
    er_sqlite_sums_forget(s);
    struct er_lane_entry *lane, *next_lane;
    HASH_CLEAR(by_id, s->lanes_by_id);
    HASH_ITER (by_key, s->lanes_by_key, lane, next_lane) {
        HASH_DELETE(by_key, s->lanes_by_key, lane);
        free_lane(lane);
    }
    struct er_queue_sum *sum, *next;
    HASH_ITER (hh, s->sums, sum, next) {
        HASH_DEL(s->sums, sum);
        er_free(sum->name);
        er_free(sum);
    }
}
