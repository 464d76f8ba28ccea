-- own: how far the stream of the signers' alarms has been read. It moves in the
-- transaction that raises them.
CREATE TABLE alarm_cursor (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    stream INTEGER NOT NULL, -- creation time of the stream; 0: none seen yet
    seq    INTEGER NOT NULL  -- last message that is done with
) STRICT;
INSERT INTO alarm_cursor (id, stream, seq) VALUES (1, 0, 0);

-- Who raised an alarm; empty: this coordinator.
ALTER TABLE alarm ADD COLUMN signer TEXT NOT NULL DEFAULT '';
CREATE INDEX alarm_signer ON alarm (signer, raised) WHERE signer <> '';
