// Package strict decodes JSON so that it has one meaning: duplicate names,
// invalid UTF-8 and trailing bytes are errors, and an error names the place by
// its JSON pointer. Unknown members are passed over, as in-toto and DSSE ask.
package strict

import (
	"encoding/base64"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// Unmarshal decodes data into a value. Field is the path of data in the whole.
func Unmarshal(k evidence.Kind, field string, data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	var sem *json.SemanticError
	if errors.As(err, &sem) {
		return evidence.Refuse(k, evidence.CodeBadField, at(field, sem.JSONPointer), "cannot be a JSON %v", sem.JSONKind)
	}
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		return evidence.Refuse(k, statement.CodeBadJSON, at(field, syn.JSONPointer), "%v at byte %d", syn.Err, syn.ByteOffset)
	}
	return evidence.Refuse(k, statement.CodeBadJSON, field, "%v", err)
}

func at(field string, p jsontext.Pointer) string {
	if len(p) > 128 {
		p = p[:128] + "..."
	}
	return field + string(p)
}

// Base64 decodes the standard and the URL-safe alphabet, with padding.
func Base64(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.Strict().DecodeString(s); err == nil {
		return b, nil
	}
	if b, err := base64.URLEncoding.Strict().DecodeString(s); err == nil {
		return b, nil
	}
	return nil, errors.New("is not base64")
}
