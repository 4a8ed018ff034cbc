/* SPDX-License-Identifier: MIT */
/* The invariants of the store: each a query that finds what breaks it. For tests and the
 * kill campaign; reads everything, so not for a store at work. */
#include "store/sqlite_priv.h"

struct invariant {
    const char *words; /* what is wrong when the query finds something */
    const char *sql;   /* gives the number of one culprit, or no row */
};

/* clang-format off */
static const struct invariant invariants[] = {
    {"a counter is not the number of tasks of lane",
     "SELECT a.lane FROM (SELECT min(l.id) AS lane, l.queue AS queue, t.state AS state,"
     " count(*) AS n FROM task t JOIN lane l ON l.id = t.lane GROUP BY l.queue, t.state) a"
     " LEFT JOIN tally c ON c.kind = 0 AND c.name = a.queue AND c.of = a.state WHERE c.n IS NOT a.n"},
    {"a counter counts tasks that are not there in state",
     "SELECT c.of FROM tally c WHERE c.kind = 0 AND c.n > 0 AND NOT EXISTS (SELECT 1 FROM task t"
     " JOIN lane l ON l.id = t.lane WHERE l.queue = c.name AND t.state = c.of)"},
    {"the uses of an environment are miscounted",
     "SELECT e.id FROM env e LEFT JOIN tally u ON u.kind = 1 AND u.of = e.id"
     " WHERE u.n IS NOT (SELECT count(*) FROM task t WHERE t.env = e.id)"},
    {"a task names an environment that is gone",
     "SELECT id FROM task WHERE env <> 0 AND env NOT IN (SELECT id FROM env)"},
    {"a task has a lane that is not there",
     "SELECT id FROM task WHERE lane NOT IN (SELECT id FROM lane)"},
    {"a task runs, or is paused in place, without an open session",
     "SELECT id FROM task WHERE session IS NOT NULL AND session NOT IN"
     " (SELECT id FROM session WHERE ended_at IS NULL)"},
    {"a task has a session or not against its state",
     "SELECT id FROM task WHERE (session IS NULL AND state = 3)"
     " OR (session IS NOT NULL AND state NOT IN (3, 4))"},
    {"a task runs, or is paused, without an attempt",
     "SELECT id FROM task WHERE state IN (3, 4) AND attempt < 1"},
    {"something is asked of a task that has no open attempt",
     "SELECT id FROM task WHERE cancel_requested <> 0 AND session IS NULL"},
    {"a task resumes by itself that no rate limit has paused",
     "SELECT id FROM task WHERE resumes_at IS NOT NULL AND (state <> 4 OR session IS NOT NULL)"},
    {"a blocked task waits for another number than it says",
     "SELECT id FROM task t WHERE t.state = 2 AND (t.waiting = 0 OR t.waiting <>"
     " (SELECT count(*) FROM dependency d WHERE d.task = t.id AND d.settled = 0))"},
    {"a task waits that is not blocked",
     "SELECT id FROM task WHERE waiting <> 0 AND state <> 2"},
    {"a task goes on without one that it waits for",
     "SELECT id FROM task t WHERE t.state IN (0, 1, 3, 4) AND EXISTS"
     " (SELECT 1 FROM dependency d WHERE d.task = t.id AND d.settled = 0)"},
    {"a task that was not cancelled was so because of another",
     "SELECT id FROM task WHERE cancelled_by IS NOT NULL AND state <> 7"},
    {"a blocked task waits for one that has ended or is gone",
     "SELECT d.task FROM dependency d JOIN task t ON t.id = d.task LEFT JOIN task o"
     " ON o.id = d.on_task WHERE d.settled = 0 AND t.state = 2"
     " AND (o.id IS NULL OR o.state >= 5)"},
    {"a task has an end or not against its state",
     "SELECT id FROM task WHERE (finished_at IS NOT NULL) <> (state >= 5)"},
    {"a task is held that does not wait",
     "SELECT id FROM task WHERE held <> 0 AND (state NOT IN (0, 1, 2, 4) OR session IS NOT NULL)"},
    {"a scheduled task has no moment",
     "SELECT id FROM task WHERE state = 1 AND run_at IS NULL"},
    {"an attempt is beyond the last of task",
     "SELECT a.task FROM attempt a LEFT JOIN task t ON t.id = a.task"
     " WHERE t.id IS NULL OR a.number > t.attempt OR (a.number = t.attempt AND t.session IS NOT NULL)"},
    {"an attempt is missing of task",
     "SELECT t.id FROM task t WHERE (SELECT count(*) FROM attempt a WHERE a.task = t.id)"
     " <> t.attempt - (t.session IS NOT NULL)"},
    {"the attempts have other output than is counted for task",
     "SELECT t.id FROM task t WHERE t.output_bytes <>"
     " (SELECT ifnull(sum(a.output_bytes), 0) FROM attempt a WHERE a.task = t.id)"},
    {"the output of finished tasks is miscounted: in all",
     "SELECT n FROM (SELECT ifnull(sum(output_bytes), 0) AS n FROM task WHERE state >= 5)"
     " WHERE n <> ifnull((SELECT c.n FROM tally c WHERE c.kind = 2 AND c.name = ''"
     " AND c.of = 0), 0)"},
    {"the items are miscounted of task",
     "SELECT t.id FROM task t WHERE t.items_completed <>"
     " (SELECT count(*) FROM item i WHERE i.task = t.id AND i.failed = 0)"
     " OR t.items_failed <> (SELECT count(*) FROM item i WHERE i.task = t.id AND i.failed = 1)"},
    {"a tag, item or dependency belongs to a task that is gone",
     "SELECT task FROM tag WHERE task NOT IN (SELECT id FROM task) UNION ALL"
     " SELECT task FROM item WHERE task NOT IN (SELECT id FROM task) UNION ALL"
     " SELECT task FROM dependency WHERE task NOT IN (SELECT id FROM task)"},
    {"a task is there and has a tombstone",
     "SELECT id FROM task WHERE id IN (SELECT id FROM tombstone)"},
    {"facts have a hole before",
     "SELECT seq FROM event WHERE seq > (SELECT min(seq) FROM event)"
     " AND seq - 1 NOT IN (SELECT seq FROM event)"},
    {"a fact has a name of a program's, or none, against its kind: fact",
     "SELECT seq FROM event WHERE (event = 18) <> (topic IS NOT NULL)"},
    {"a run has more than one final fact: task",
     "SELECT task FROM event WHERE event IN (8, 9, 10) GROUP BY task, run HAVING count(*) > 1"},
    {"a run has a final fact, but not its state: task",
     "SELECT t.id FROM event e CROSS JOIN task t ON t.id = e.task AND t.run = e.run"
     " WHERE e.event IN (8, 9, 10) AND e.event <> t.state + 3"},
    {"a final task has no final fact",
     "SELECT t.id FROM task t LEFT JOIN (SELECT task, run, event FROM event"
     " WHERE event IN (8, 9, 10)) e ON e.task = t.id AND e.run = t.run"
     " AND e.event = t.state + 3 WHERE t.state >= 5 AND e.task IS NULL"
     " AND (SELECT min(seq) FROM event) = 1"},
};
/* clang-format on */

static int
check_one(struct er_store *s, const struct invariant *v, struct er_err *err)
{
    int64_t culprit;
    int rc = er_sqlite_number(&s->c, v->sql, INT64_MIN, &culprit);
    if (rc) {
        return er_fail(err, rc, "cannot verify the store: %s", s->c.err.text);
    }
    return culprit == INT64_MIN
               ? 0
               : er_fail(err, ER_ECORRUPT, "%s %lld", v->words, (long long)culprit);
}

/* The numbers in memory go on behind those in the table. */
static int
check_numbers(struct er_store *s, struct er_err *err)
{
    int64_t task, seq;
    int rc = er_sqlite_number(&s->c, "SELECT max(id) FROM task", 0, &task);
    if (rc == 0) {
        rc = er_sqlite_number(&s->c, "SELECT max(seq) FROM event", 0, &seq);
    }
    if (rc) {
        return er_fail(err, rc, "cannot verify the store: %s", s->c.err.text);
    }
    if (task > s->last_task || seq > s->last_seq || s->last_task != s->committed_task ||
        s->last_seq != s->committed_seq) {
        return er_fail(
            err, ER_ECORRUPT,
            "memory gives numbers from %lld and %lld on, the table has %lld and %lld",
            (long long)s->last_task, (long long)s->last_seq, (long long)task,
            (long long)seq);
    }
    return 0;
}

int
er_store_verify(struct er_store *s, struct er_err *err)
{
    ER_ASSERT(!s->in_tx);
    int rc = check_numbers(s, err);
    for (size_t i = 0; i < sizeof invariants / sizeof invariants[0] && rc == 0; i++) {
        rc = check_one(s, &invariants[i], err);
    }
    return rc ? rc : er_sqlite_check_file(&s->c, "PRAGMA integrity_check(1)", err);
}
