-- projection: requests for batches of which at least one verified part is in the
-- record.
CREATE TABLE batch (
    request_id  BLOB PRIMARY KEY,
    case_id     BLOB    NOT NULL,
    artifact    TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    sha256      BLOB    NOT NULL, -- of the artifact
    sha512      BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL,
    seq         INTEGER NOT NULL, -- of the part that came first
    parts       INTEGER NOT NULL, -- how many there are to be
    signatures  INTEGER NOT NULL, -- in all of them
    digests     BLOB    NOT NULL  -- what is signed: the value of files:sha256
) STRICT;
CREATE INDEX batch_case ON batch (case_id, artifact);

-- projection: those parts. Their signatures are in the record; the first part of each
-- number counts.
CREATE TABLE batch_part (
    request_id BLOB    NOT NULL,
    part       INTEGER NOT NULL, -- from 0
    seq        INTEGER NOT NULL,
    signed_at  INTEGER NOT NULL,
    PRIMARY KEY (request_id, part)
) STRICT, WITHOUT ROWID;

-- 1: the answer is a part, and others are to come.
ALTER TABLE answer ADD COLUMN partly INTEGER NOT NULL DEFAULT 0;
