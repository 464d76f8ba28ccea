-- projection: which artifacts a SHA-512 digest was ever voted for. Who asks with a
-- hash state has that digest and no other.
CREATE TABLE vote_sha512 (
    sha512   BLOB NOT NULL,
    case_id  BLOB NOT NULL,
    artifact TEXT NOT NULL,
    PRIMARY KEY (sha512, case_id, artifact)
) STRICT, WITHOUT ROWID;

-- Verdicts that come out as they were are not written again, so what they say of
-- SHA-512 is taken over here.
INSERT OR IGNORE INTO vote_sha512 (sha512, case_id, artifact)
    SELECT unhex(t.value), a.case_id, a.name FROM artifact a, json_tree(a.verdict) t
    WHERE t.key IN ('sha512', 'otherSHA512') AND t.type = 'text' AND length(t.value) = 128 AND ltrim(t.value, '0') <> '';
