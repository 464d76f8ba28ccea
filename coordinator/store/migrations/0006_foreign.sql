-- own: statements that others made, as importers brought them, with the judgement
-- on their signatures as of the time of receipt. It is written when a message is
-- first judged and read instead of judging again: a later version of a library
-- must not change what was found in silence. Only a change of policy that pins
-- another key has a message judged anew, as of the same time.
CREATE TABLE foreign_statement (
    seq      INTEGER PRIMARY KEY, -- of the importer's message in record, which has the bytes and the keys
    id       BLOB    NOT NULL,    -- SHA-256 of the evidence, whoever brought it
    kind     TEXT    NOT NULL,
    importer TEXT    NOT NULL,
    origin   TEXT    NOT NULL,    -- by the importer's word
    fetched  INTEGER NOT NULL,    -- likewise
    judged   INTEGER NOT NULL,    -- as of when
    program  TEXT    NOT NULL,    -- what judged
    verdicts TEXT    NOT NULL,    -- JSON: one for each signature
    good     INTEGER NOT NULL     -- 1: a pinned key made one of them
) STRICT;
CREATE INDEX foreign_statement_id ON foreign_statement (id, good DESC, seq);

-- projection: when the newest foreign statement of an operator on a case was made,
-- by its own word: what is older is not taken back in.
CREATE TABLE foreign_latest (
    case_id  BLOB    NOT NULL,
    operator TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    PRIMARY KEY (case_id, operator)
) STRICT, WITHOUT ROWID;
