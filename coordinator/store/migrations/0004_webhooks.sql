-- own: how far each webhook has come.
CREATE TABLE webhook (
    name     TEXT PRIMARY KEY,
    cursor   INTEGER NOT NULL, -- last event that is done with
    attempts INTEGER NOT NULL, -- to deliver the next one
    next     INTEGER NOT NULL  -- when that is tried again
) STRICT, WITHOUT ROWID;
