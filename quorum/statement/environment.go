package statement

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of what a statement says of the machine; what goes over them is left out.
const (
	maxFacts     = 64
	maxFactName  = 64
	maxFactValue = 1024
)

// jsonInternal is SLSA's internalParameters (provenance v1.0: what is under the
// builder's own control, for debugging), as far as it is used.
type jsonInternal struct {
	Environment map[string]jsontext.Value `json:"environment"`
}

// readEnvironment takes what it can use and passes over the rest. It never refuses:
// readers of an older version do not look here at all, and all must come to the
// same verdict.
func readEnvironment(value jsontext.Value) map[string]string {
	var in jsonInternal
	if len(value) == 0 || json.Unmarshal(value, &in) != nil || len(in.Environment) > maxFacts {
		return nil
	}
	facts := map[string]string{}
	for name, v := range in.Environment {
		var text string
		if json.Unmarshal(v, &text) == nil && len(name) <= maxFactName && len(text) <= maxFactValue && printable(name) && printable(text) {
			facts[name] = text
		}
	}
	if len(facts) == 0 {
		return nil
	}
	return facts
}

func encodeEnvironment(facts map[string]string) jsontext.Value {
	if len(facts) == 0 {
		return nil
	}
	value, err := json.Marshal(struct {
		Environment map[string]string `json:"environment"`
	}{facts}, json.Deterministic(true))
	if err != nil {
		return nil // a fact that is not UTF-8 is not worth a vote
	}
	return value
}
