package statement

import "fmt"

// Code is a stable word for why a statement was refused. It is shown by the
// API and may be matched by programs.
type Code string

// Why [Parse] and [Statement.Verify] refuse.
const (
	CodeTooLarge         Code = "too-large"
	CodeBadJSON          Code = "bad-json"     // not JSON, truncated, trailing bytes, duplicate key
	CodeBadEnvelope      Code = "bad-envelope" // not a DSSE envelope with one signature
	CodePayloadType      Code = "payload-type" // DSSE payload that is not an in-toto statement
	CodeStatementType    Code = "statement-type"
	CodePredicateType    Code = "predicate-type"
	CodeBadField         Code = "bad-field"
	CodeDuplicateSubject Code = "duplicate-subject"
	CodeBadDigest        Code = "bad-digest"
	CodeBadState         Code = "bad-state"
	CodeBadSignable      Code = "bad-signable"
	CodeStateMismatch    Code = "state-digest-mismatch"
	CodeBadSignature     Code = "bad-signature"
)

// Error says which field of a statement is wrong and how.
type Error struct {
	Code  Code
	Field string // path of the field, such as "subject[2].digest.sha256"; empty for the whole
	Msg   string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("statement: %s (%s)", e.Msg, e.Code)
	}
	return fmt.Sprintf("statement: %s: %s (%s)", e.Field, e.Msg, e.Code)
}

func refuse(c Code, field, format string, args ...any) error {
	return &Error{Code: c, Field: field, Msg: fmt.Sprintf(format, args...)}
}
