-- What lists and counters are read from, so that a page costs the same whatever
-- the database holds. All of it is projection and follows from the verdicts.

-- projection: every target once, in the order in which the record first heard
-- of it.
CREATE TABLE listed (
    n       INTEGER PRIMARY KEY, -- sequence of its first statement times 65536, and a count where one message is about several
    case_id BLOB    NOT NULL UNIQUE,
    since   INTEGER NOT NULL, -- when that statement arrived
    posted  BLOB    NOT NULL  -- what this target adds to the tables below, so that it can be taken away again
) STRICT;
CREATE INDEX listed_since ON listed (since);

-- projection: which targets a term applies to. A term is a channel, a state, a
-- builder, an artifact's name ..., as a number: see listing.go.
CREATE TABLE posting (
    term INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (term, n)
) STRICT, WITHOUT ROWID;

-- projection: which targets have three characters in a row in their name.
CREATE VIRTUAL TABLE listed_text USING fts5(target, content = '', contentless_delete = 1, detail = none,
    tokenize = 'trigram case_sensitive 1');

-- projection: how many verdicts of each kind.
CREATE TABLE tally (
    channel TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (channel, state)
) STRICT, WITHOUT ROWID;

-- projection: what each builder has said, and how it compares with what was
-- agreed on.
CREATE TABLE builder_tally (
    builder    TEXT PRIMARY KEY,
    statements INTEGER NOT NULL,
    failed     INTEGER NOT NULL, -- statements that are no vote, those that withdraw left aside
    votes      INTEGER NOT NULL, -- files that its latest vote counts on
    agreed     INTEGER NOT NULL, -- of these: the digest is the one that was agreed on
    differed   INTEGER NOT NULL, -- of these: another digest was agreed on
    changed    INTEGER NOT NULL, -- times it gave a file a second digest
    last       INTEGER NOT NULL  -- when its newest statement arrived
) STRICT, WITHOUT ROWID;

-- own: what the feed tells of, so that its entries keep their ids and times.
CREATE TABLE news (
    id       BLOB PRIMARY KEY,
    channel  TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    case_id  BLOB    NOT NULL,
    target   TEXT    NOT NULL,
    stage    TEXT    NOT NULL,
    artifact TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    first    INTEGER NOT NULL,
    updated  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX news_updated ON news (channel, updated);

-- Lists of alarms go by time.
ALTER TABLE alarm ADD COLUMN raised INTEGER NOT NULL DEFAULT 0;
UPDATE alarm SET raised = coalesce(unixepoch(json_extract(CAST(body AS TEXT), '$.at')), 0) * 1000000000;
CREATE INDEX alarm_raised ON alarm (raised);

-- What is decided already is decided again, which lists and counts it.
INSERT OR IGNORE INTO dirty (case_id, channel, target, stage) SELECT id, channel, target, stage FROM target_case;
