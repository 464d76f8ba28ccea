//go:build race

package coordinator_test

// raceDetector makes everything take several times the memory.
const raceDetector = true
