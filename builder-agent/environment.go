package builderagent

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Facts are what a statement may say of the machine, by their names in agent.toml.
// None of them names the machine or its owner, except that a path may.
var Facts = []string{"kernel", "machine", "cpu", "cpus", "umask", "filesystem", "path", "LANG", "LC_ALL", "TZ", "SOURCE_DATE_EPOCH", "PATH"}

const maxFact = 512

// Environment says what a build ran on: kernel, processor, umask, the folder it
// ran in, and of its variables those that are known to change what compilers and
// packers write. What cannot be found out is left out. except lists what is not
// to be told.
func Environment(dir string, env, except []string) map[string]string {
	facts := map[string]string{"cpus": strconv.Itoa(runtime.NumCPU()), "machine": runtime.GOARCH, "path": dir}
	maps.Copy(facts, systemFacts(dir))
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		if slices.Contains(Facts, name) {
			facts[name] = value // the last one of a name counts
		}
	}
	for name, value := range facts {
		if value = printable(value); value == "" || len(value) > maxFact || slices.Contains(except, name) {
			delete(facts, name)
			continue
		}
		facts[name] = value
	}
	return facts
}

// environment is what the statement of this build says.
func (b *build) environment() map[string]string {
	c := &b.state.Config
	if c.Environment == "none" {
		return nil
	}
	return Environment(b.dir(), b.env(), c.EnvironmentExcept)
}
