-- own: the logs of builds that somebody should be able to read, and what became of
-- the question for each. The logs themselves are files beside the database.
CREATE TABLE build_log (
    statement BLOB PRIMARY KEY, -- whose log it is
    case_id   BLOB    NOT NULL,
    builder   TEXT    NOT NULL,
    sha256    BLOB    NOT NULL, -- of the log, as the statement has it
    state     TEXT    NOT NULL, -- wanted, asked, kept, or why there is none: see logs.go
    bytes     INTEGER NOT NULL, -- of one that is too large
    changed   INTEGER NOT NULL  -- when it came to this state
) STRICT, WITHOUT ROWID;
CREATE INDEX build_log_file ON build_log (sha256, builder);
CREATE INDEX build_log_state ON build_log (state, changed);
CREATE INDEX build_log_builder ON build_log (builder, state, changed);
CREATE INDEX build_log_case ON build_log (case_id);
