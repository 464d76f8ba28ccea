package policy

import "strings"

// Overlap returns patterns of two channels that one target can match, one of each.
func (c *Channel) Overlap(o *Channel) (mine, other string, overlap bool) {
	for _, a := range c.Targets {
		for _, b := range o.Targets {
			if meet(a, b) {
				return a, b, true
			}
		}
	}
	return "", "", false
}

// meet reports whether a text matches both patterns. Of the rest of a, reach[j] says
// that it meets the rest of b from its j-th byte on.
func meet(a, b string) bool {
	if !strings.Contains(a, "*") {
		return match(b, a)
	}
	if !strings.Contains(b, "*") {
		return match(a, b)
	}
	reach, next := make([]bool, len(b)+1), make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				reach[j] = true
			case i < len(a) && a[i] == '*': // it ends here, or takes one more
				reach[j] = next[j] || j < len(b) && reach[j+1]
			case j < len(b) && b[j] == '*':
				reach[j] = reach[j+1] || i < len(a) && next[j]
			default:
				reach[j] = i < len(a) && j < len(b) && a[i] == b[j] && next[j+1]
			}
		}
		reach, next = next, reach
	}
	return next[0]
}
