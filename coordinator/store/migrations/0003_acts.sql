-- projection: acts of maintainers that have, or had, an effect.
CREATE TABLE act (
    seq         INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE, -- of what was signed: another envelope is the same act
    message     BLOB    NOT NULL,        -- digest of the received bytes
    kind        TEXT    NOT NULL,
    channel     TEXT    NOT NULL,
    target      TEXT    NOT NULL, -- empty: the whole channel
    stage       TEXT    NOT NULL,
    artifact    TEXT    NOT NULL, -- empty: every artifact
    builder     TEXT    NOT NULL,
    maintainer  TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    said        INTEGER NOT NULL, -- the maintainer's own time
    received    INTEGER NOT NULL,
    after       BLOB    NOT NULL
) STRICT;
CREATE INDEX act_subject ON act (channel, target, stage, seq);

-- projection: how far the acts on each subject have come. A decision reads these
-- few rows instead of all that was ever said.
CREATE TABLE act_chain (
    channel   TEXT    NOT NULL,
    target    TEXT    NOT NULL,
    stage     TEXT    NOT NULL,
    artifact  TEXT    NOT NULL,
    head      BLOB    NOT NULL, -- id of the newest hold or release
    held      INTEGER NOT NULL, -- the head is a hold
    hold      INTEGER NOT NULL, -- sequence of the newest hold; 0: none
    released  INTEGER NOT NULL, -- sequence of the release that followed it; 0: none
    withdrawn INTEGER NOT NULL, -- sequence of the withdrawal; 0: none
    PRIMARY KEY (channel, target, stage, artifact)
) STRICT, WITHOUT ROWID;

-- own: jobs that follow from acts, so that each is published once and none is lost.
CREATE TABLE rebuild (
    act       BLOB PRIMARY KEY, -- its id, which is also the job's
    seq       INTEGER NOT NULL, -- of the act
    published INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rebuild_due ON rebuild (act) WHERE published = 0;

-- Which alarms there are about a target.
CREATE INDEX alarm_target ON alarm (channel, coalesce(json_extract(CAST(body AS TEXT), '$.target'), ''));
