-- The log, the commands' ids, snapshots and checkpoints: everything Foldline keeps besides the views' own tables.
--
-- Names are unqualified, so the search_path of whoever migrates says which schema they go to; one store a database.
-- Text is compared by code point (COLLATE "C"): faster than any language's order, and the same on every machine.

CREATE TABLE foldline_migrations (
    number     integer     NOT NULL PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL, -- SHA-256 of the migration's file
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Positions are drawn from here and never given back, so they may have gaps. They have 48 bits, because a position
-- must fit beside a mark of 16 in the key of an advisory lock. The first one drawn is thrown away, so that from then
-- on last_value is the last position drawn and never one still to be drawn.
CREATE SEQUENCE foldline_positions AS bigint MINVALUE 0 MAXVALUE 281474976710655 START WITH 0 NO CYCLE;

SELECT nextval('foldline_positions');

CREATE TABLE foldline_events (
    position       bigint           NOT NULL,
    event_id       uuid             NOT NULL,
    stream_id      text COLLATE "C" NOT NULL,
    category       text COLLATE "C" NOT NULL,
    version        bigint           NOT NULL, -- 1.. in its stream
    type           text COLLATE "C" NOT NULL,
    schema_version integer          NOT NULL,
    data           json             NOT NULL, -- json and not jsonb: byte for byte as it was given
    metadata       json             NOT NULL, -- likewise
    recorded_at    timestamptz      NOT NULL,
    correlation_id text COLLATE "C",
    causation_id   text COLLATE "C",
    actor          text COLLATE "C",

    -- What each index costs was measured by inserting 20,000 rows at a time: a row takes 1.3 us without any.
    -- Followers read by position. New rows go in at the right edge: 0.5 us a row.
    CONSTRAINT foldline_events_position PRIMARY KEY (position),
    -- Reads a stream in order, tells its version, and makes sure that no two writers win the same one (G2): 1.3 us.
    CONSTRAINT foldline_events_stream UNIQUE (stream_id, version),
    -- Resolves an append whose outcome was unknown, and makes sure that retrying it adds nothing (G1). The ids are
    -- UUIDv7, so new ones go in at the right edge: 0.4 us.
    CONSTRAINT foldline_events_id UNIQUE (event_id)
);

ALTER SEQUENCE foldline_positions OWNED BY foldline_events.position;

CREATE TABLE foldline_commands (
    command_id  text COLLATE "C" NOT NULL,
    fingerprint bytea            NOT NULL, -- a digest of the command's body
    streams     text[]           NOT NULL, -- the streams of its append, …
    versions    bigint[]         NOT NULL, -- … what each was at after it, …
    position    bigint           NOT NULL, -- … the position of its last event, or of the log's end if it had none, …
    event_ids   uuid[]           NOT NULL, -- … and the ids of its events
    claimed_at  timestamptz      NOT NULL,

    CONSTRAINT foldline_commands_id PRIMARY KEY (command_id)
);

CREATE TABLE foldline_snapshots (
    stream_id   text COLLATE "C" NOT NULL PRIMARY KEY,
    version     bigint           NOT NULL,
    position    bigint           NOT NULL,
    fingerprint text             NOT NULL, -- of the code that folded it
    state       bytea            NOT NULL
);

CREATE TABLE foldline_checkpoints (
    projection  text COLLATE "C" NOT NULL PRIMARY KEY,
    position    bigint           NOT NULL,
    generation  bigint           NOT NULL, -- grows with every rebuild
    fingerprint text             NOT NULL,
    tables      json             NOT NULL  -- what the projection owns in the database's schema
) WITH (fillfactor = 50); -- a checkpoint is updated all the time: room for that on its own page

-- G5. They fire for whoever it is, also where session_replication_role would silence ordinary triggers.
CREATE FUNCTION foldline_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'foldline_events is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER foldline_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON foldline_events
    FOR EACH STATEMENT EXECUTE FUNCTION foldline_refuse();

ALTER TABLE foldline_events ENABLE ALWAYS TRIGGER foldline_events_append_only;

-- Takes the floor of the transaction: a shared lock whose key carries the last position drawn by anybody until now.
-- Every position that this transaction draws from now on lies above it, and the lock is there for all to see in
-- pg_locks until the transaction is over. 5065423680884965376 is 0x464C << 48: the mark of our keys.
CREATE FUNCTION foldline_enter() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(5065423680884965376 | last_value) FROM foldline_positions;
END
$$;

-- Locks groups of streams until the end of the transaction. Streams fall into 64 groups by a digest of their ids, and
-- a group's number from 1 stands for sharing it with all who write there, which never makes anybody wait; its negative
-- for having it alone, as those need who have lost a race for a stream, or whose append depends on a stream to which
-- it adds nothing. Groups are given in ascending order, and all at once, so that nobody waits in a circle.
CREATE FUNCTION foldline_lock(groups integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM CASE WHEN g.number > 0 THEN pg_advisory_xact_lock_shared(17996, g.number)
                 ELSE pg_advisory_xact_lock(17996, -g.number) END
    FROM unnest(groups) AS g (number);
END
$$;

-- Records a batch: all of it, or, where another writer was first to a version, an event id or a command id, nothing.
-- Versions are the caller's; that each follows one which is there is what the caller knows, and that no other writer
-- took it is what the index makes sure of. So nothing is looked up here.
--
--   groups   the groups of its streams, for foldline_lock().
--   added    the events in the order of (stream_id, version), so that two batches which wait for each other's streams
--            do so in one order and never in a circle. Their position is where they stand in the batch, from 1.
--   claimed  command ids. Their position is where their last event stands in the batch, or, of those that have none,
--            the negative of the position that is to be kept.
--
-- Returns the positions of the batch's events, in the batch's order. They are drawn after the floor was taken, and
-- after whoever told the caller the version before had drawn its own, so that a stream's positions grow with its
-- versions.
CREATE FUNCTION foldline_record(groups integer[], added foldline_events[], claimed foldline_commands[])
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    drawn bigint[];
BEGIN
    PERFORM CASE WHEN g.number > 0 THEN pg_advisory_xact_lock_shared(17996, g.number)
                 ELSE pg_advisory_xact_lock(17996, -g.number) END
    FROM unnest(groups) AS g (number);
    PERFORM pg_advisory_xact_lock_shared(5065423680884965376 | last_value) FROM foldline_positions;
    drawn := ARRAY(SELECT nextval('foldline_positions') FROM generate_series(1, cardinality(added)));
    INSERT INTO foldline_events
    SELECT drawn[e.position], e.event_id, e.stream_id, e.category, e.version, e.type, e.schema_version, e.data,
           e.metadata, e.recorded_at, e.correlation_id, e.causation_id, e.actor
    FROM unnest(added) AS e;
    IF cardinality(claimed) > 0 THEN
        INSERT INTO foldline_commands
        SELECT c.command_id, c.fingerprint, c.streams, c.versions,
               CASE WHEN c.position > 0 THEN drawn[c.position] ELSE -c.position END, c.event_ids, c.claimed_at
        FROM unnest(claimed) AS c;
    END IF;
    RETURN drawn;
END
$$;

-- How far a follower may read (G4): head is the last event of which it is certain that nothing will ever appear at or
-- below its position; held is the least floor of the appends in flight, or null where there is none.
--
-- The order of the three statements is the proof, and each has a snapshot of its own. Whoever draws a position took
-- its floor before that. So of a transaction that drew a position up to the smaller of drawn and held, the lock was
-- not there any more when the locks were read, or it would have held us below it: it is over, and what it committed
-- was made visible before its locks were let go, and so is in the snapshot of the statement after. A position is told
-- only where a committed event stands on it, because what the sequence gave to transactions that were rolled back may,
-- after a crash, be given again.
CREATE FUNCTION foldline_head(OUT head bigint, OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    drawn bigint;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'foldline_head() needs the primary: a standby does not know which appends are in flight'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'foldline_head() needs a snapshot for each statement: call it in READ COMMITTED';
    END IF;
    SELECT last_value INTO drawn FROM foldline_positions;
    SELECT min((l.classid::bigint & 65535) << 32 | l.objid::bigint) INTO held
    FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.classid::bigint >> 16 = 17996
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    SELECT coalesce(max(e.position), 0) INTO head FROM foldline_events AS e WHERE e.position <= least(drawn, held);
END
$$;
