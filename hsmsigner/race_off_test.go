//go:build !race

package hsmsigner_test

const raceEnabled = false
