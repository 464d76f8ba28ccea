package statement

// Kind of the statements that [Parse] reads, among other kinds of evidence.
const kindOwn = "dsse"

// Foreign stands for evidence of another kind where it takes part in a request:
// what it votes for in one case, its bytes, and the keys that came with it. It
// was not read by [Parse] and verifies with no key; whoever asks for its proof
// has to read the bytes by their kind.
func Foreign(kind string, c Case, raw []byte, keys [][]byte, files []Artifact) *Statement {
	return &Statement{Case: c, Artifacts: files, kind: kind, keys: keys, raw: raw, id: ID(raw)}
}

// Kind names the format of [Statement.Raw]: "dsse" for a statement that was made
// by an agent.
func (s *Statement) Kind() string {
	if s.kind == "" {
		return kindOwn
	}
	return s.kind
}

// Keys returns the key files that came with a foreign statement.
func (s *Statement) Keys() [][]byte { return s.keys }
