-- SPDX-License-Identifier: MIT
-- The first schema. docs/SCHEMA.md explains the tables column by column, and how a new
-- version is made: never edit a numbered file that has been released; add the next one.
-- Times are microseconds since 1970-01-01 UTC, spans microseconds. State numbers are those
-- of src/model/task_states.def (0 queued, 1 scheduled, 2 blocked, 3 running, 4 paused,
-- 5 completed, 6 failed, 7 cancelled).

-- 'task': the greatest id of a task that is gone, so that it is not used again. Those that
-- are still there say it themselves; written on removal. 'paused': 1 = nothing is claimed.
-- 'probe': written to see whether the disk takes writes.
CREATE TABLE mark (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    type TEXT NOT NULL,
    limit_key TEXT NOT NULL DEFAULT '',
    UNIQUE (queue, type, limit_key)
) STRICT;

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    concurrency INTEGER NOT NULL DEFAULT 0 CHECK (concurrency >= 0),
    size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    rates TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_key (
    name TEXT PRIMARY KEY,
    concurrency INTEGER NOT NULL DEFAULT 0 CHECK (concurrency >= 0),
    rates TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE type (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Sums over tasks, changed in the transaction that changes the tasks, so that nothing is
-- ever counted: kind 0: tasks of queue `name` in state `of`; kind 1: tasks that name the
-- environment `of`; kind 2: bytes of output of finished tasks. One table, so that a commit
-- writes one page for all.
CREATE TABLE tally (
    kind INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),
    name TEXT NOT NULL,
    of INTEGER NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (kind, name, of)
) STRICT, WITHOUT ROWID;
CREATE INDEX tally_unused ON tally (of) WHERE kind = 1 AND n = 0;

CREATE TABLE env (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    vars TEXT NOT NULL
) STRICT;

CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    token TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX session_open ON session (id) WHERE ended_at IS NULL;

-- Small columns first, the result last: what lists read does not lie behind large ones.
CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL DEFAULT 1,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    lane INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL DEFAULT 1 CHECK (cost >= 1),
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    on_lost INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    session INTEGER,
    env INTEGER NOT NULL DEFAULT 0,
    parent INTEGER,
    cancelled_by INTEGER,
    backoff_for INTEGER NOT NULL DEFAULT 0,
    timeout_for INTEGER NOT NULL DEFAULT 0,
    grace_for INTEGER NOT NULL DEFAULT 0,
    heartbeat_for INTEGER NOT NULL DEFAULT 0,
    signature INTEGER NOT NULL DEFAULT 0,
    body_hash INTEGER NOT NULL DEFAULT 0,
    first_seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    run_at INTEGER,
    run_at_fixed INTEGER NOT NULL DEFAULT 0 CHECK (run_at_fixed IN (0, 1)),
    started_at INTEGER,
    finished_at INTEGER,
    resumes_at INTEGER,
    exit_code INTEGER,
    signal INTEGER NOT NULL DEFAULT 0,
    cpu_for INTEGER NOT NULL DEFAULT 0,
    peak_rss INTEGER NOT NULL DEFAULT 0,
    items_completed INTEGER NOT NULL DEFAULT 0 CHECK (items_completed >= 0),
    items_failed INTEGER NOT NULL DEFAULT 0 CHECK (items_failed >= 0),
    output_bytes INTEGER NOT NULL DEFAULT 0 CHECK (output_bytes >= 0),
    correlation TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT,
    cwd TEXT,
    tags TEXT,
    meta TEXT,
    progress TEXT,
    checkpoint TEXT,
    error TEXT,
    warnings TEXT,
    args TEXT NOT NULL,
    result BLOB
) STRICT;
-- Only what may run now stands in the claim index; the id orders what has the same rank.
CREATE INDEX task_claim ON task (lane, rank) WHERE state = 0 AND held = 0;
CREATE INDEX task_due ON task (run_at) WHERE state = 1;
CREATE INDEX task_expires ON task (expires_at)
    WHERE expires_at IS NOT NULL AND state < 3 AND attempt = 0;
CREATE INDEX task_finished ON task (state, finished_at, output_bytes)
    WHERE finished_at IS NOT NULL;
-- What is paused: by a rate limit, until a moment; in place, with its attempt.
CREATE INDEX task_resumes ON task (resumes_at) WHERE resumes_at IS NOT NULL AND state = 4;
CREATE INDEX task_suspended ON task (id) WHERE session IS NOT NULL AND state = 4;
-- For lists: by shown state, newest first; the lane tells queue and type without the row.
CREATE INDEX task_state ON task (state, held, id, lane);
CREATE INDEX task_correlation ON task (correlation);
CREATE UNIQUE INDEX task_key ON task (key) WHERE key IS NOT NULL;

-- Attempts that have ended; the one that is open is told by its task's row.
CREATE TABLE attempt (
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    run INTEGER NOT NULL,
    session INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    outcome TEXT NOT NULL,
    exit_code INTEGER,
    signal INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    cpu_for INTEGER NOT NULL DEFAULT 0,
    peak_rss INTEGER NOT NULL DEFAULT 0,
    output_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

-- What a task has stored of its work, one by one.
CREATE TABLE item (
    task INTEGER NOT NULL,
    name TEXT NOT NULL,
    failed INTEGER NOT NULL CHECK (failed IN (0, 1)),
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (task, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_failed ON item (task, name) WHERE failed = 1;

-- settled: on_task has ended, and has been counted for this task.
CREATE TABLE dependency (
    task INTEGER NOT NULL,
    n INTEGER NOT NULL,
    on_task INTEGER NOT NULL,
    at_end INTEGER NOT NULL CHECK (at_end IN (0, 1, 2)),
    settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
    PRIMARY KEY (task, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_on ON dependency (on_task, settled);

CREATE TABLE tag (
    tag TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (tag, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_task ON tag (task);

-- What stays of a removed task. Its key is held as long.
CREATE TABLE tombstone (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    state INTEGER NOT NULL,
    exit_code INTEGER,
    finished_at INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    body_hash INTEGER NOT NULL,
    key TEXT
) STRICT;
CREATE INDEX tombstone_removed ON tombstone (removed_at);
CREATE UNIQUE INDEX tombstone_key ON tombstone (key) WHERE key IS NOT NULL;

-- Facts. seq is consecutive; a fact about no task has task, lane and attempt 0. Those of
-- one task stand from task.first_seq on; an index would cost every fact more than it saves.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    at INTEGER NOT NULL,
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    correlation TEXT,
    data TEXT NOT NULL
) STRICT;

-- How long completed attempts of one signature took: an exponentially weighted mean.
CREATE TABLE duration (
    signature INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    mean_for INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
