-- SPDX-License-Identifier: MIT
-- A program's own facts, and named cursors.

-- topic: the name of a program's own fact (event 18); NULL in all others.
ALTER TABLE event ADD COLUMN topic TEXT;

-- Up to which fact somebody has seen all, kept for it under a name.
CREATE TABLE cursor (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL CHECK (seq >= 0),
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
