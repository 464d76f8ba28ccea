package spool

import "time"

// SetClock replaces the clock.
func (s *Spool) SetClock(now func() time.Time) { s.now = now }
