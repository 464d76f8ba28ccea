package api

import "quorate/internal/difference"

// Differences answers GET /v1/targets/{id}/differences?artifact=: why builders
// gave different bytes, for each artifact on which they differ.
type Differences struct {
	ID        string                `json:"id"`
	Channel   string                `json:"channel"`
	Target    string                `json:"target"`
	Stage     string                `json:"stage"`
	Artifacts []difference.Artifact `json:"artifacts"`
	More      int                   `json:"more,omitzero"` // artifacts that are left out; ask for them by name
}
