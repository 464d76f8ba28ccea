package builderagent

import "time"

// WithStep has a function called after each durable or visible step.
func (o Options) WithStep(step func(string)) Options {
	o.testOnlyStep = step
	return o
}

// WithClock replaces the clock that repeated publishing goes by.
func (o Options) WithClock(now func() time.Time) Options {
	o.testOnlyNow = now
	return o
}

// Expire removes old files as of the given time.
func (s *State) Expire(now time.Time) error { return s.expire(now) }

// For tests of what a build's text turns into.
var (
	ParseDependencies = parseDependencies
	Printable         = printable
	ConfigText        = configText
)

// ManifestBytes is what the lists of one statement may take.
const ManifestBytes = manifestBytes
