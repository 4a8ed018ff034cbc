-- SPDX-License-Identifier: MIT
-- A store of schema 1 as errand 0.1.0 made it, whose daemon and worker were then killed: task 1
-- has completed, 2 failed, 3 failed again as its second run with items, 4 is removed, 5 runs, 6
-- waits for it, 7 is later, 8 is held.
BEGIN TRANSACTION;
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
INSERT INTO "attempt" VALUES(1,1,1,1,1795289544315000,1795289544315000,'completed',0,0,NULL,599,2109440,0);
INSERT INTO "attempt" VALUES(2,1,1,1,1795289544321000,1795289544321000,'failed',3,0,'{"class":"retryable","code":"exit","message":"exited with code 3","suggested_action":null,"retry_after_s":null,"details":null}',658,2109440,0);
INSERT INTO "attempt" VALUES(3,1,1,1,1795289544334000,1795289544335000,'failed',1,0,'{"class":"retryable","code":"exit","message":"exited with code 1","suggested_action":null,"retry_after_s":null,"details":null}',710,2109440,4);
INSERT INTO "attempt" VALUES(3,2,2,1,1795289544346000,1795289544347000,'failed',1,0,'{"class":"retryable","code":"exit","message":"exited with code 1","suggested_action":null,"retry_after_s":null,"details":null}',748,2109440,4);
CREATE TABLE dependency (
    task INTEGER NOT NULL,
    n INTEGER NOT NULL,
    on_task INTEGER NOT NULL,
    at_end INTEGER NOT NULL CHECK (at_end IN (0, 1, 2)),
    settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
    PRIMARY KEY (task, n)
) STRICT, WITHOUT ROWID;
INSERT INTO "dependency" VALUES(6,0,5,0,0);
INSERT INTO "dependency" VALUES(6,1,1,1,1);
CREATE TABLE duration (
    signature INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    mean_for INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;
INSERT INTO "duration" VALUES(-6294408140662216946,2,1000,1795289544362580);
CREATE TABLE env (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    vars TEXT NOT NULL
) STRICT;
INSERT INTO "env" VALUES(1,X'C2E53B551F798317E2F7C6662D82A40D','{"PATH":"/usr/bin:/bin"}');
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
INSERT INTO "event" VALUES(1,13,1795289544290835,0,0,0,0,NULL,'{"worker":"w1","session":1,"pid":20393}');
INSERT INTO "event" VALUES(2,1,1795289544300004,1,1,0,1,'01a1ff98-766b-756f-8fd1-d9eaf12be03f','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(3,4,1795289544301118,1,1,1,1,'01a1ff98-766b-756f-8fd1-d9eaf12be03f','{"worker":"w1","attempt":1}');
INSERT INTO "event" VALUES(4,8,1795289544315646,1,1,1,1,'01a1ff98-766b-756f-8fd1-d9eaf12be03f','{"duration_s":0.000000,"result":null,"progress":null,"warnings":[]}');
INSERT INTO "event" VALUES(5,1,1795289544317015,2,1,0,1,'01a1ff98-767c-74fc-a95b-d201916008ae','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(6,4,1795289544317386,2,1,1,1,'01a1ff98-767c-74fc-a95b-d201916008ae','{"worker":"w1","attempt":1}');
INSERT INTO "event" VALUES(7,9,1795289544321556,2,1,1,1,'01a1ff98-767c-74fc-a95b-d201916008ae','{"duration_s":0.000000,"error":{"class":"retryable","code":"exit","message":"exited with code 3","suggested_action":null,"retry_after_s":null,"details":null},"retryable":true,"failures":1,"progress":null}');
INSERT INTO "event" VALUES(8,1,1795289544323090,3,1,0,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(9,4,1795289544326425,3,1,1,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"worker":"w1","attempt":1}');
INSERT INTO "event" VALUES(10,9,1795289544337461,3,1,1,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"duration_s":0.001000,"error":{"class":"retryable","code":"exit","message":"exited with code 1","suggested_action":null,"retry_after_s":null,"details":null},"retryable":true,"failures":1,"progress":{"percent":null,"current":null,"total":null,"unit":null,"item":"b","message":null,"rate":null,"eta_s":null,"items_completed":1,"items_failed":1,"source":"reported"}}');
INSERT INTO "event" VALUES(11,1,1795289544339210,3,2,1,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(12,4,1795289544342779,3,2,2,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"worker":"w1","attempt":2}');
INSERT INTO "event" VALUES(13,9,1795289544351506,3,2,2,1,'01a1ff98-7683-72b3-9ce8-5fff74067cde','{"duration_s":0.001000,"error":{"class":"retryable","code":"exit","message":"exited with code 1","suggested_action":null,"retry_after_s":null,"details":null},"retryable":true,"failures":1,"progress":{"percent":null,"current":null,"total":null,"unit":null,"item":"b","message":null,"rate":null,"eta_s":null,"items_completed":1,"items_failed":1,"source":"reported"}}');
INSERT INTO "event" VALUES(14,1,1795289544355217,4,1,0,1,'01a1ff98-76a3-72c1-ad7d-61e0b0a5e942','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(15,4,1795289544358828,4,1,1,1,'01a1ff98-76a3-72c1-ad7d-61e0b0a5e942','{"worker":"w1","attempt":1}');
INSERT INTO "event" VALUES(16,8,1795289544362580,4,1,1,1,'01a1ff98-76a3-72c1-ad7d-61e0b0a5e942','{"duration_s":0.002000,"result":null,"progress":null,"warnings":[]}');
INSERT INTO "event" VALUES(17,12,1795289544363307,4,1,1,1,'01a1ff98-76a3-72c1-ad7d-61e0b0a5e942','{"state":"completed"}');
INSERT INTO "event" VALUES(18,1,1795289544366519,5,1,0,2,'01a1ff98-76ae-7128-92b9-af79f0229b33','{"priority":0,"estimated_s":null,"run_at":null,"waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(19,4,1795289544370803,5,1,1,2,'01a1ff98-76ae-7128-92b9-af79f0229b33','{"worker":"w1","attempt":1}');
INSERT INTO "event" VALUES(20,3,1795289544371733,6,1,0,1,'01a1ff98-76b3-7549-974c-621e87349400','{"priority":0,"estimated_s":0.001,"run_at":null,"waiting_for":1,"meta":{}}');
INSERT INTO "event" VALUES(21,2,1795289544373202,7,1,0,1,'01a1ff98-76b5-7bee-8e5c-51de6d70302f','{"priority":0,"estimated_s":0.001,"run_at":"2999-01-01T00:00:00.000Z","waiting_for":0,"meta":{}}');
INSERT INTO "event" VALUES(22,1,1795289544374240,8,1,0,1,'01a1ff98-76b6-7f60-af09-ad489f2aa298','{"priority":5,"estimated_s":0.001,"run_at":null,"waiting_for":0,"meta":{"a":"b"}}');
INSERT INTO "event" VALUES(23,5,1795289544374240,8,1,0,1,'01a1ff98-76b6-7f60-af09-ad489f2aa298','{"reason":"user","resumes_at":null}');
INSERT INTO "event" VALUES(24,15,1795289544379133,0,0,0,0,NULL,'{"queue":"other","concurrency":1,"size":null,"paused":false,"rates":["60/1m"]}');
INSERT INTO "event" VALUES(25,16,1795289544379676,0,0,0,0,NULL,'{"key":"l","concurrency":1,"rates":[]}');
INSERT INTO "event" VALUES(26,17,1795289544381437,0,0,0,0,NULL,'{"type":"mine","definition":{"retries":2}}');
CREATE TABLE item (
    task INTEGER NOT NULL,
    name TEXT NOT NULL,
    failed INTEGER NOT NULL CHECK (failed IN (0, 1)),
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (task, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "item" VALUES(3,'a',0,2,1795289544347700);
INSERT INTO "item" VALUES(3,'b',1,2,1795289544347700);
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    type TEXT NOT NULL,
    limit_key TEXT NOT NULL DEFAULT '',
    UNIQUE (queue, type, limit_key)
) STRICT;
INSERT INTO "lane" VALUES(1,'default','shell','');
INSERT INTO "lane" VALUES(2,'other','shell','l');
CREATE TABLE limit_key (
    name TEXT PRIMARY KEY,
    concurrency INTEGER NOT NULL DEFAULT 0 CHECK (concurrency >= 0),
    rates TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
INSERT INTO "limit_key" VALUES('l',1,'');
CREATE TABLE mark (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "mark" VALUES('task',4);
CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    concurrency INTEGER NOT NULL DEFAULT 0 CHECK (concurrency >= 0),
    size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    rates TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
INSERT INTO "queue" VALUES('other',1,0,0,'60/1m');
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    token TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
INSERT INTO "session" VALUES(1,'w1','218955b7dff70e7e85a9aab25f4dea8e',20393,1795289544290835,NULL);
CREATE TABLE tag (
    tag TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (tag, task)
) STRICT, WITHOUT ROWID;
INSERT INTO "tag" VALUES('ci',1);
INSERT INTO "tag" VALUES('slow',1);
CREATE TABLE tally (
    kind INTEGER NOT NULL CHECK (kind IN (0, 1, 2)),
    name TEXT NOT NULL,
    of INTEGER NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (kind, name, of)
) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES(0,'default',0,1);
INSERT INTO "tally" VALUES(0,'default',1,1);
INSERT INTO "tally" VALUES(0,'default',2,1);
INSERT INTO "tally" VALUES(0,'default',3,0);
INSERT INTO "tally" VALUES(0,'default',5,1);
INSERT INTO "tally" VALUES(0,'default',6,2);
INSERT INTO "tally" VALUES(0,'other',0,0);
INSERT INTO "tally" VALUES(0,'other',3,1);
INSERT INTO "tally" VALUES(1,'',1,7);
INSERT INTO "tally" VALUES(2,'',0,8);
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
INSERT INTO "task" VALUES(1,1,5,0,0,1,1795289544300004,0,1,1,0,0,0,0,0,NULL,1,NULL,NULL,1000000,0,5000000,0,-6294408140662216946,8222758504999577409,2,1795289544300004,NULL,NULL,0,1795289544315000,1795289544315000,NULL,0,0,599,2109440,0,0,0,'01a1ff98-766b-756f-8fd1-d9eaf12be03f','done','k1','/','["ci","slow"]',NULL,NULL,NULL,NULL,NULL,'{"argv":["true"]}',NULL);
INSERT INTO "task" VALUES(2,1,6,0,0,1,1795289544317015,0,1,1,1,0,0,0,0,NULL,1,NULL,NULL,1000000,0,5000000,0,8995160631342294191,-1104151450990903941,5,1795289544317015,NULL,NULL,0,1795289544321000,1795289544321000,NULL,3,0,658,2109440,0,0,0,'01a1ff98-767c-74fc-a95b-d201916008ae','bad',NULL,'/',NULL,NULL,NULL,NULL,'{"class":"retryable","code":"exit","message":"exited with code 3","suggested_action":null,"retry_after_s":null,"details":null}',NULL,'{"argv":["sh","-c","exit 3"]}',NULL);
INSERT INTO "task" VALUES(3,2,6,0,0,1,1795289544339210,0,1,2,1,0,0,0,0,NULL,1,NULL,NULL,1000000,0,5000000,0,1013684012182625760,7403992491253353995,8,1795289544323090,NULL,NULL,0,1795289544346000,1795289544347000,NULL,1,0,748,2109440,1,1,8,'01a1ff98-7683-72b3-9ce8-5fff74067cde','with items',NULL,'/',NULL,NULL,'{"percent":null,"current":null,"total":null,"unit":null,"item":"b","message":null,"rate":null,"eta_s":null,"items_completed":1,"items_failed":1,"source":"reported"}','{"at":1}','{"class":"retryable","code":"exit","message":"exited with code 1","suggested_action":null,"retry_after_s":null,"details":null}',NULL,'{"argv":["sh","-c","echo out; echo ''{\"item_completed\":\"a\"}'' >&$ERRAND_PROGRESS_FD; echo ''{\"item_failed\":\"b\"}'' >&$ERRAND_PROGRESS_FD; echo ''{\"checkpoint\":{\"at\":1}}'' >&$ERRAND_PROGRESS_FD; exit 1"]}',NULL);
INSERT INTO "task" VALUES(5,1,3,0,0,2,1795289544366519,0,1,1,0,0,0,0,0,1,1,NULL,NULL,1000000,0,5000000,0,-190107440038450354,8888648783945987759,18,1795289544366519,NULL,NULL,0,1795289544370803,NULL,NULL,NULL,0,0,0,0,0,0,'01a1ff98-76ae-7128-92b9-af79f0229b33','runs',NULL,'/',NULL,NULL,NULL,NULL,NULL,NULL,'{"argv":["sleep","1000"]}',NULL);
INSERT INTO "task" VALUES(6,1,2,0,0,1,1795289544371733,0,1,0,0,0,0,0,1,NULL,1,NULL,NULL,1000000,0,5000000,0,-6294408140662216946,8222758504999577409,20,1795289544371733,NULL,NULL,0,NULL,NULL,NULL,NULL,0,0,0,0,0,0,'01a1ff98-76b3-7549-974c-621e87349400','waits',NULL,'/',NULL,NULL,NULL,NULL,NULL,NULL,'{"argv":["true"]}',NULL);
INSERT INTO "task" VALUES(7,1,1,0,0,1,1795289544373202,0,1,0,0,0,0,0,0,NULL,1,NULL,NULL,1000000,0,5000000,0,-6294408140662216946,8222758504999577409,21,1795289544373202,NULL,32472144000000000,1,NULL,NULL,NULL,NULL,0,0,0,0,0,0,'01a1ff98-76b5-7bee-8e5c-51de6d70302f','later',NULL,'/',NULL,NULL,NULL,NULL,NULL,NULL,'{"argv":["true"]}',NULL);
INSERT INTO "task" VALUES(8,1,0,1,0,1,1795289244374240,5,1,0,0,0,0,0,0,NULL,1,NULL,NULL,1000000,0,5000000,0,-6294408140662216946,8222758504999577409,22,1795289544374240,NULL,NULL,0,NULL,NULL,NULL,NULL,0,0,0,0,0,0,'01a1ff98-76b6-7f60-af09-ad489f2aa298','held',NULL,'/',NULL,'{"a":"b"}',NULL,NULL,NULL,NULL,'{"argv":["true"]}',NULL);
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
INSERT INTO "tombstone" VALUES(4,1,5,0,1795289544361000,1795289544363307,8222758504999577409,'k2');
CREATE TABLE type (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "type" VALUES('mine','{"retries":2}');
CREATE INDEX tally_unused ON tally (of) WHERE kind = 1 AND n = 0;
CREATE INDEX session_open ON session (id) WHERE ended_at IS NULL;
CREATE INDEX task_claim ON task (lane, rank) WHERE state = 0 AND held = 0;
CREATE INDEX task_due ON task (run_at) WHERE state = 1;
CREATE INDEX task_expires ON task (expires_at)
    WHERE expires_at IS NOT NULL AND state < 3 AND attempt = 0;
CREATE INDEX task_finished ON task (state, finished_at, output_bytes)
    WHERE finished_at IS NOT NULL;
CREATE INDEX task_resumes ON task (resumes_at) WHERE resumes_at IS NOT NULL AND state = 4;
CREATE INDEX task_suspended ON task (id) WHERE session IS NOT NULL AND state = 4;
CREATE INDEX task_state ON task (state, held, id, lane);
CREATE INDEX task_correlation ON task (correlation);
CREATE UNIQUE INDEX task_key ON task (key) WHERE key IS NOT NULL;
CREATE INDEX item_failed ON item (task, name) WHERE failed = 1;
CREATE INDEX dependency_on ON dependency (on_task, settled);
CREATE INDEX tag_task ON tag (task);
CREATE INDEX tombstone_removed ON tombstone (removed_at);
CREATE UNIQUE INDEX tombstone_key ON tombstone (key) WHERE key IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('session',1);
COMMIT;
