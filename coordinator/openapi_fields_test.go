package coordinator_test

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/live"
)

// answers are what the server makes JSON of, by the name of their schema.
var answers = map[string]any{
	"Channels": api.Channels{}, "Targets": api.Targets{}, "TargetDetail": api.TargetDetail{}, "Artifacts": api.Artifacts{}, "Rejected": api.Rejected{},
	"Acts": api.Acts{}, "Alarms": api.Alarms{}, "Subject": api.Subject{}, "Receipt": api.Receipt{}, "Differences": api.Differences{}, "Event": api.Event{}, "Ready": api.Ready{}, "Error": api.Error{},
}

// The document has exactly the fields that answers have, those that no answer of
// the other tests happens to have included, and says which may be absent.
func TestOpenAPINamesEveryField(t *testing.T) {
	schemas := openAPI(t).Components.Schemas
	f := fields{t: t, seen: map[*openapi3.Schema]bool{}}
	for name, v := range answers {
		f.compare(name, schemas[name], reflect.TypeOf(v))
	}
	for name, s := range schemas {
		if s.Value.Type.Is("object") && !f.seen[s.Value] {
			t.Errorf("nothing is answered with schema %s", name)
		}
	}
}

type fields struct {
	t    *testing.T
	seen map[*openapi3.Schema]bool
}

func (f *fields) compare(at string, ref *openapi3.SchemaRef, typ reflect.Type) {
	f.t.Helper()
	if ref == nil || ref.Value == nil {
		f.t.Errorf("%s: there is no schema", at)
		return
	}
	s := ref.Value
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	text := typ == reflect.TypeFor[time.Time]() || typ.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	want := map[reflect.Kind]string{reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.Float64: "number"}[typ.Kind()]
	if text {
		want = "string"
	}
	if want == "" || !s.Type.Is(want) {
		f.t.Errorf("%s: schema has the type %v, the answer %s", at, s.Type, typ)
		return
	}
	switch {
	case text:
	case typ.Kind() == reflect.Slice:
		f.compare(at+"[]", s.Items, typ.Elem())
	case typ.Kind() == reflect.Map:
		f.seen[s] = true
		f.compare(at+"{}", s.AdditionalProperties.Schema, typ.Elem())
	case typ.Kind() == reflect.Struct && !f.seen[s]:
		f.seen[s] = true
		f.object(at, s, typ)
	}
}

func (f *fields) object(at string, s *openapi3.Schema, typ reflect.Type) {
	f.t.Helper()
	if has := s.AdditionalProperties.Has; has == nil || *has {
		f.t.Errorf("%s: the schema allows other fields", at)
	}
	left := maps.Clone(s.Properties)
	for _, field := range jsonFields(typ) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if left[name] == nil {
			f.t.Errorf("%s.%s is not in docs/openapi.yaml", at, name)
			continue
		}
		if maybe := strings.HasPrefix(options, "omit"); maybe == slices.Contains(s.Required, name) {
			f.t.Errorf("%s.%s: may be absent: %v, the document says otherwise", at, name, maybe)
		}
		f.compare(at+"."+name, left[name], field.Type)
		delete(left, name)
	}
	for name := range left {
		f.t.Errorf("%s.%s is in docs/openapi.yaml, and no answer has it", at, name)
	}
}

// jsonFields lists a type's fields and those of the types that are embedded in it.
func jsonFields(typ reflect.Type) (list []reflect.StructField) {
	for i := range typ.NumField() {
		switch field := typ.Field(i); {
		case field.Anonymous:
			list = append(list, jsonFields(field.Type)...)
		case field.Tag.Get("json") != "-":
			list = append(list, field)
		}
	}
	return list
}

// Every field and parameter says what it means.
func TestOpenAPIExplainsEveryField(t *testing.T) {
	doc := openAPI(t)
	for name, s := range doc.Components.Schemas {
		for field, p := range s.Value.Properties {
			if p.Value.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for _, p := range item.Get.Parameters {
			if p.Value.Description == "" {
				t.Errorf("%s: parameter %s has no description", path, p.Value.Name)
			}
		}
	}
}

// The words that the document lists are those there are.
func TestOpenAPIListsEveryWord(t *testing.T) {
	schemas := openAPI(t).Components.Schemas
	kinds := make([]string, len(evidence.Kinds))
	for i, k := range evidence.Kinds {
		kinds[i] = live.KindOf(k)
	}
	for _, c := range []struct {
		in, field string
		want      []string
	}{
		{"Artifact", "state", words(quorum.States)}, {"Event", "state", append(words(quorum.States), "")}, {"Event", "was", words(quorum.States)},
		{"Act", "kind", words(act.Kinds)}, {"Foreign", "kind", kinds},
	} {
		var listed []string
		for _, v := range schemas[c.in].Value.Properties[c.field].Value.Enum {
			listed = append(listed, v.(string))
		}
		if !slices.Equal(slices.Sorted(slices.Values(listed)), slices.Sorted(slices.Values(c.want))) {
			t.Errorf("%s.%s is one of %q, in docs/openapi.yaml of %q", c.in, c.field, c.want, listed)
		}
	}
}

func words[T ~string](list []T) (out []string) {
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}
