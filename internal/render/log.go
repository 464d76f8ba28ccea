package render

import (
	"fmt"

	"quorate/internal/api"
)

// LogText says where the log of a build is, or why it cannot be read here.
func LogText(l *api.Log) string {
	switch l.State {
	case api.LogKept:
		return "kept at the coordinator"
	case api.LogExpired:
		return "it was here and has expired"
	case api.LogWanted:
		return "not asked for yet"
	case api.LogAsked:
		return "asked for, its builder has not answered yet"
	case api.LogLarge:
		if l.Bytes > 0 {
			return fmt.Sprintf("too large to be kept here: %d bytes", l.Bytes)
		}
		return "too large to be kept here"
	case api.LogGone:
		return "its builder no longer keeps it"
	case api.LogNotGiven:
		return "kept by its builder, which gives no logs away"
	case api.LogMismatch:
		return "its builder sent another one than it signed"
	case api.LogNotAsked:
		return "kept by its builder"
	}
	return Text(l.State)
}
