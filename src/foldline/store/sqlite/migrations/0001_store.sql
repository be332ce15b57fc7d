-- The log, the commands' ids, snapshots and checkpoints: everything Foldline keeps besides the views' own tables.

CREATE TABLE foldline_migrations (
    number     INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL, -- SHA-256 of the migration's file
    applied_at INTEGER NOT NULL  -- microseconds since 1970 UTC, as all times here
) STRICT;

CREATE TABLE foldline_events (
    position       INTEGER PRIMARY KEY, -- drawn under the write lock: no gaps, and no event commits behind another
    event_id       BLOB    NOT NULL,    -- the 16 bytes of a UUID
    stream_id      TEXT    NOT NULL,
    category       TEXT    NOT NULL,
    version        INTEGER NOT NULL,    -- 1.. in its stream
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    data           TEXT    NOT NULL,    -- JSON text, byte for byte as it was given
    metadata       TEXT    NOT NULL,    -- likewise
    recorded_at    INTEGER NOT NULL,
    correlation_id TEXT,
    causation_id   TEXT,
    actor          TEXT
) STRICT;

-- Reads a stream in order, tells its version, and makes sure that no two writers win the same one (G2).
CREATE UNIQUE INDEX foldline_events_stream ON foldline_events (stream_id, version);

-- Resolves an append whose outcome was unknown, and makes sure that retrying it adds nothing (G1). The ids are UUIDv7,
-- so new ones go in at the right edge, which is as cheap as an index gets.
CREATE UNIQUE INDEX foldline_events_id ON foldline_events (event_id);

CREATE TRIGGER foldline_events_no_update BEFORE UPDATE ON foldline_events BEGIN
    SELECT raise(ABORT, 'foldline_events is append-only: a recorded event cannot be changed');
END;

CREATE TRIGGER foldline_events_no_delete BEFORE DELETE ON foldline_events BEGIN
    SELECT raise(ABORT, 'foldline_events is append-only: a recorded event cannot be removed');
END;

CREATE TABLE foldline_commands (
    command_id  TEXT    NOT NULL PRIMARY KEY,
    fingerprint BLOB    NOT NULL, -- a digest of the command's body
    outcome     TEXT    NOT NULL, -- JSON: [[[stream_id, version], ...], position, [event_id, ...]]
    claimed_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE foldline_snapshots (
    stream_id   TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL, -- of the code that folded it
    state       BLOB    NOT NULL
) STRICT;

CREATE TABLE foldline_checkpoints (
    projection  TEXT    NOT NULL PRIMARY KEY,
    position    INTEGER NOT NULL,
    generation  INTEGER NOT NULL, -- grows with every rebuild
    fingerprint TEXT    NOT NULL,
    tables      TEXT    NOT NULL  -- JSON: what the projection owns in the database's schema, name: its SQL
) STRICT, WITHOUT ROWID;
