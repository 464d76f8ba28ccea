//go:build race

package bus_test

// raceDetector finds races in the server, too, which runs in the process of the test.
const raceDetector = true
