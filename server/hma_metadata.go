package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mediagate/bank"
)

// extras are what may be given with a content besides its signals.
type extras struct {
	metadata, note document
	// json and text are what is stored of them.
	json, text string
}

// fromForm reads them from the fields of a form.
func (e *extras) fromForm(values map[string]string) error {
	if raw, ok := values["metadata"]; ok {
		doc, err := parseJSON([]byte(raw))
		if err != nil {
			return badRequest("metadata form field must be valid JSON")
		}
		if e.metadata = doc; doc == nil {
			return badRequest("metadata should be a json object")
		}
	}
	if note, ok := values["note"]; ok {
		e.note = note
	}
	return e.check()
}

// check refuses what HMA refuses and fills json and text.
func (e *extras) check() error {
	switch note := e.note.(type) {
	case nil:
	case string:
		if errors.Is(bank.CheckNote(note), bank.ErrNote) { // the store tells what else is wrong
			return badRequest("note must be at most %d characters", bank.MaxNote)
		}
		e.text = note
	default:
		return badRequest("note should be a string")
	}
	switch metadata := e.metadata.(type) {
	case nil:
		return nil
	case object:
		return e.checkMetadata(metadata)
	default:
		return badRequest("metadata should be a json object")
	}
}

// checkMetadata keeps the three fields that contents have. A fourth of HMA,
// collab, belongs to exchanges: it is checked and dropped.
func (e *extras) checkMetadata(given object) error {
	var problems metadataProblems
	kept := object{}
	for _, field := range []string{"content_id", "content_uri"} {
		if v, ok := given.get(field); ok {
			if _, isString := v.(string); v != nil && !isString {
				problems.add("string_type", v, field)
			}
			kept = append(kept, member{field, v})
		}
	}
	spelling := "json"
	if _, ok := given.get(spelling); !ok {
		spelling = "json_data"
	}
	if v, ok := given.get(spelling); ok {
		if _, isObject := v.(object); v != nil && !isObject {
			problems.add("dict_type", v, spelling)
		}
		kept = append(kept, member{"json", v})
	}
	if v, _ := given.get("collab"); v != nil {
		problems.checkCollab(v)
	}
	for _, m := range given {
		if !slices.Contains([]string{"content_id", "content_uri", spelling, "collab"}, m.key) {
			problems.add("extra_forbidden", m.value, m.key)
		}
	}
	if len(problems) > 0 {
		return badRequest("Invalid metadata: %s", problems.text())
	}
	e.json = strings.TrimSuffix(string(resultJSON(kept)), "\n")
	if err := bank.CheckMetadata(e.json); err != nil { // as 1e400: written, it is no JSON
		return badRequest("Invalid metadata: %v", err)
	}
	return nil
}

// metadataProblems are the errors of one metadata object, each as pydantic prints
// it.
type metadataProblems []string

var metadataTexts = map[string]string{
	"string_type":     "Input should be a valid string",
	"dict_type":       "Input should be a valid dictionary",
	"list_type":       "Input should be a valid list",
	"extra_forbidden": "Extra inputs are not permitted",
}

func (p *metadataProblems) add(kind string, value document, path ...string) {
	for i, part := range path {
		if strings.Contains(part, ".") {
			path[i] = "`" + part + "`"
		}
	}
	shown, pythonType := pythonRepr(value), pythonType(value)
	if len(shown) > 50 {
		from, to := 25, len(shown)-24
		for !utf8.RuneStart(shown[from]) {
			from--
		}
		for !utf8.RuneStart(shown[to]) {
			to++
		}
		shown = shown[:from] + "..." + shown[to:]
	}
	*p = append(*p, fmt.Sprintf("%s\n  %s [type=%s, input_value=%s, input_type=%s]\n    For further information visit https://errors.pydantic.dev/2.13/v/%s",
		strings.Join(path, "."), metadataTexts[kind], kind, shown, pythonType, kind))
}

// checkCollab holds a value against dict[str, list[str]].
func (p *metadataProblems) checkCollab(v document) {
	exchanges, ok := v.(object)
	if !ok {
		p.add("dict_type", v, "collab")
		return
	}
	for _, exchange := range exchanges {
		keys, ok := exchange.value.([]any)
		if !ok {
			p.add("list_type", exchange.value, "collab", exchange.key)
			continue
		}
		for i, key := range keys {
			if _, ok := key.(string); !ok {
				p.add("string_type", key, "collab", exchange.key, strconv.Itoa(i))
			}
		}
	}
}

func (p metadataProblems) text() string {
	plural := "s"
	if len(p) == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d validation error%s for BankedContentMetadata\n%s", len(p), plural, strings.Join(p, "\n"))
}

// pythonType is the name of the type that Python's JSON parser makes of a value.
func pythonType(v document) string {
	switch v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case string:
		return "str"
	case integer:
		return "int"
	case float64:
		return "float"
	case []any:
		return "list"
	default:
		return "dict"
	}
}

// pythonRepr writes a value as Python's repr does.
func pythonRepr(v document) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case string:
		return pythonString(v)
	case integer:
		return v.String()
	case float64:
		text := new(writer).float(v)
		return strings.NewReplacer("Infinity", "inf", "NaN", "nan").Replace(text)
	case []any:
		parts := make([]string, len(v))
		for i, element := range v {
			parts[i] = pythonRepr(element)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = pythonString(m.key) + ": " + pythonRepr(m.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		panic(fmt.Sprintf("server: %T is no document", v))
	}
}

func pythonString(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var out strings.Builder
	out.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			out.WriteString("\\" + string(r))
		case r == '\n' || r == '\r' || r == '\t':
			out.WriteString(map[rune]string{'\n': `\n`, '\r': `\r`, '\t': `\t`}[r])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r <= 0xFF:
			_, _ = fmt.Fprintf(&out, `\x%02x`, r)
		case r <= 0xFFFF:
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		default:
			_, _ = fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteRune(quote)
	return out.String()
}

// metadataObject reads back what checkMetadata stored, nil for nothing.
func metadataObject(stored string) (map[string]any, error) {
	if stored == "" {
		return nil, nil //nolint:nilnil // null is what the API says for it
	}
	doc, err := parseJSON([]byte(stored))
	if err != nil {
		return nil, err
	}
	out := map[string]any{"content_id": nil, "content_uri": nil, "json": nil}
	if o, ok := doc.(object); ok {
		for _, m := range o {
			out[m.key] = m.value
		}
	}
	return out, nil
}
