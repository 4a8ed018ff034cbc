-- SPDX-License-Identifier: MIT
-- The first schema. docs/SCHEMA.md explains the tables column by column, and how a new
-- version is made: never edit a numbered file that has been released; add the next one.
-- Times are microseconds since 1970-01-01 UTC. State numbers are those of
-- src/model/task_states.def (0 queued, 1 scheduled, 2 blocked, 3 running, 4 paused,
-- 5 completed, 6 failed, 7 cancelled).

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
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1))
) STRICT, WITHOUT ROWID;

-- How many tasks of a queue are in each state; changed in the transaction that moves them.
CREATE TABLE counter (
    queue TEXT NOT NULL,
    state INTEGER NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL DEFAULT 1,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    lane INTEGER NOT NULL REFERENCES lane (id),
    rank INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    name TEXT NOT NULL,
    args TEXT NOT NULL,
    cwd TEXT,
    env INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    backoff_for INTEGER NOT NULL DEFAULT 0,
    on_lost INTEGER NOT NULL DEFAULT 0,
    timeout_for INTEGER NOT NULL DEFAULT 0,
    grace_for INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER,
    correlation TEXT NOT NULL,
    parent INTEGER,
    key TEXT,
    body_hash INTEGER NOT NULL DEFAULT 0,
    signature INTEGER NOT NULL DEFAULT 0,
    tags TEXT,
    meta TEXT,
    waiting INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    run_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    resumes_at INTEGER,
    session INTEGER,
    progress TEXT,
    checkpoint TEXT,
    result BLOB,
    exit_code INTEGER,
    signal INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    warnings TEXT,
    cpu_for INTEGER NOT NULL DEFAULT 0,
    peak_rss INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Only what may run now stands in the claim index.
CREATE INDEX task_claim ON task (lane, rank, id) WHERE state = 0 AND held = 0;
CREATE INDEX task_due ON task (run_at) WHERE state = 1;
CREATE INDEX task_expires ON task (expires_at) WHERE expires_at IS NOT NULL AND state < 3;
CREATE INDEX task_running ON task (session, id) WHERE state = 3;
CREATE INDEX task_finished ON task (finished_at, id) WHERE state >= 5;
CREATE INDEX task_correlation ON task (correlation, id);
CREATE UNIQUE INDEX task_key ON task (key) WHERE key IS NOT NULL;

CREATE TABLE attempt (
    task INTEGER NOT NULL,
    number INTEGER NOT NULL,
    run INTEGER NOT NULL,
    session INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    outcome TEXT,
    exit_code INTEGER,
    signal INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    cpu_for INTEGER NOT NULL DEFAULT 0,
    peak_rss INTEGER NOT NULL DEFAULT 0,
    output_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE dependency (
    task INTEGER NOT NULL,
    n INTEGER NOT NULL,
    on_task INTEGER NOT NULL,
    at_end INTEGER NOT NULL CHECK (at_end IN (0, 1, 2)),
    PRIMARY KEY (task, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_on ON dependency (on_task);

CREATE TABLE tag (
    tag TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (tag, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstone (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    state INTEGER NOT NULL,
    exit_code INTEGER,
    finished_at INTEGER NOT NULL,
    removed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tombstone_removed ON tombstone (removed_at);

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
CREATE INDEX event_task ON event (task, seq) WHERE task <> 0;

-- How long completed attempts of one signature took: an exponentially weighted mean.
CREATE TABLE duration (
    signature INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    mean_for INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
