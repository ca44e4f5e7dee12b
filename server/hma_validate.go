package server

import (
	"math"
	"math/big"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// HMA checks some requests against typed models, with pydantic, and answers 422
// with a list of errors. Clients rely on what its lax mode lets pass: "0.5" for
// a number, "yes" for true.

// fieldError is one entry of such a list.
type fieldError struct {
	kind, message string
	field         string // empty for the model as a whole
	input         document
	class         string // of a model error
	cause         string // of a JSON error
}

// invalidRequest is an error that is answered with the list of them.
type invalidRequest []fieldError

func (invalidRequest) Error() string { return "request does not fit its model" }

func (e invalidRequest) body() []byte {
	list := make([]any, len(e))
	for i, f := range e {
		loc := []string{}
		if f.field != "" {
			loc = append(loc, f.field)
		}
		o := object{{"type", f.kind}, {"loc", loc}, {"msg", f.message}, {"input", f.input}}
		switch {
		case f.class != "":
			o = append(o, member{"ctx", object{{"class_name", f.class}}})
		case f.cause != "":
			o = append(o, member{"ctx", object{{"error", f.cause}}})
		}
		list[i] = append(o, member{"url", "https://errors.pydantic.dev/2.13/v/" + f.kind})
	}
	return quotedJSON(list)
}

// model reads the fields of a request in the order of their declaration, which
// is the order of the errors.
type model struct {
	given  object
	errors invalidRequest
}

// result returns the errors found, or nil.
func (m *model) result() error {
	if len(m.errors) > 0 {
		return m.errors
	}
	return nil
}

func (m *model) fail(kind, message, field string, input document) {
	m.errors = append(m.errors, fieldError{kind: kind, message: message, field: field, input: input})
}

// requiredString reads a field that must be there and be a string.
func (m *model) requiredString(field string) string {
	v, ok := m.given.get(field)
	if !ok {
		m.fail("missing", "Field required", field, m.given)
		return ""
	}
	s, ok := v.(string)
	if !ok {
		m.fail("string_type", "Input should be a valid string", field, v)
	}
	return s
}

// optionalString reads a field that may be absent or null: nil.
func (m *model) optionalString(field string) *string {
	if v, _ := m.given.get(field); v == nil {
		return nil
	}
	s := m.requiredString(field)
	return &s
}

// optionalFloat reads a number, and tells whether the field was there at all.
func (m *model) optionalFloat(field string) (f *float64, given bool) {
	v, given := m.given.get(field)
	value := 0.0
	switch v := v.(type) {
	case nil:
		return nil, given
	case float64:
		value = v
	case bool:
		if v {
			value = 1
		}
	case integer:
		value, _ = new(big.Float).SetInt(v.Int).Float64()
		if math.IsInf(value, 0) {
			m.fail("float_type", "Input should be a valid number", field, v)
		}
	case string:
		var ok bool
		if value, ok = laxFloat(v); !ok {
			m.fail("float_parsing", "Input should be a valid number, unable to parse string as a number", field, v)
		}
	default:
		m.fail("float_type", "Input should be a valid number", field, v)
	}
	return &value, given
}

// laxFloat reads a number as pydantic reads it from a string.
func laxFloat(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") {
		return 0, false
	}
	s = strings.ReplaceAll(s, "_", "")
	// ParseFloat knows more than Python: hexadecimal.
	if strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	if strings.EqualFold(strings.TrimLeft(s, "+-"), "nan") && len(s) <= 4 {
		return math.NaN(), true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0)
}

// optionalInt reads an integer.
func (m *model) optionalInt(field string) *int {
	v, _ := m.given.get(field)
	value := 0
	switch v := v.(type) {
	case nil:
		return nil
	case bool:
		if v {
			value = 1
		}
	case integer:
		value = clamped(v.Int)
	case float64:
		if v != math.Trunc(v) || math.IsInf(v, 0) {
			m.fail("int_from_float", "Input should be a valid integer, got a number with a fractional part", field, v)
		} else {
			n, _ := big.NewFloat(v).Int(nil)
			value = clamped(n)
		}
	case string:
		n, ok := new(big.Int).SetString(strings.TrimSpace(v), 10)
		if !ok {
			m.fail("int_parsing", "Input should be a valid integer, unable to parse string as an integer", field, v)
		} else {
			value = clamped(n)
		}
	default:
		m.fail("int_type", "Input should be a valid integer", field, v)
	}
	return &value
}

// clamped is the number nearest to n that an int holds: no field has as large a one.
func clamped(n *big.Int) int {
	switch {
	case n.IsInt64():
		return int(n.Int64())
	case n.Sign() < 0:
		return math.MinInt
	default:
		return math.MaxInt
	}
}

// optionalBool reads a truth value.
func (m *model) optionalBool(field string) *bool {
	v, _ := m.given.get(field)
	if v == nil {
		return nil
	}
	value, kind := laxBool(v)
	switch kind {
	case "bool_parsing":
		m.fail(kind, "Input should be a valid boolean, unable to interpret input", field, v)
	case "bool_type":
		m.fail(kind, "Input should be a valid boolean", field, v)
	}
	return &value
}

// laxBool reads what pydantic takes for a truth value, or names the error.
func laxBool(v document) (value bool, kind string) {
	switch v := v.(type) {
	case bool:
		return v, ""
	case string:
		switch strings.ToLower(v) {
		case "true", "1", "yes", "on", "t", "y":
			return true, ""
		case "false", "0", "no", "off", "f", "n":
			return false, ""
		}
		return false, "bool_parsing"
	case integer:
		if !v.IsInt64() {
			return false, "bool_type"
		}
		return boolOfNumber(v.Int64())
	case float64:
		// The bounds are exactly the floats that fit an int64.
		if v != math.Trunc(v) || v < math.MinInt64 || v >= math.MaxInt64 {
			return false, "bool_type"
		}
		return boolOfNumber(int64(v))
	default:
		return false, "bool_type"
	}
}

func boolOfNumber(n int64) (value bool, kind string) {
	if n != 0 && n != 1 {
		return false, "bool_parsing"
	}
	return n == 1, ""
}

// boolParameter reads a truth value of a query that is false when absent.
func (m *model) boolParameter(field string) bool {
	b := m.optionalBool(field)
	return b != nil && *b
}

// queryModel is a model of the query's parameters. Errors quote the known ones
// before the others.
func queryModel(c echo.Context, known ...string) *model {
	params := queryParameters(c.Request().URL.RawQuery)
	m := &model{given: make(object, 0, len(params))}
	for _, name := range known {
		if v, ok := params.get(name); ok {
			m.given = append(m.given, member{name, v})
		}
	}
	for _, p := range params {
		if _, ok := m.given.get(p.key); !ok {
			m.given = append(m.given, p)
		}
	}
	return m
}

// usualParameters is how many parameters most requests stay within.
const usualParameters = 4

// queryParameters splits a query as Werkzeug does: the first value of a name
// counts, and what cannot be decoded stays as it is.
func queryParameters(raw string) object {
	o := make(object, 0, usualParameters)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = decodeParameter(name)
		if _, twice := o.get(name); !twice {
			o = append(o, member{name, decodeParameter(value)})
		}
	}
	return o
}

func decodeParameter(s string) string {
	if !strings.ContainsAny(s, "+%") {
		return keepUTF8(s)
	}
	s = strings.ReplaceAll(s, "+", " ")
	var out strings.Builder
	for i := 0; i < len(s); {
		end := i + 1
		if s[i] == '%' && i+3 <= len(s) {
			end = i + 3
		}
		part, err := url.PathUnescape(s[i:end])
		if err != nil {
			part, end = s[i:i+1], i+1
		}
		out.WriteString(part)
		i = end
	}
	return keepUTF8(out.String())
}

// keepUTF8 writes bytes that are no UTF-8 as percent signs and digits again.
func keepUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		if r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD") {
			out.WriteString("%" + strings.ToUpper(strconv.FormatInt(int64(s[i])|0x100, 16))[1:])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// isJSON tells whether a request says that its body is JSON.
func isJSON(c echo.Context) bool {
	t, _, _ := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	return t == echo.MIMEApplicationJSON || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}

// bodyModel is a model of a JSON body. class is the model's name in HMA.
func bodyModel(c echo.Context, class string) (*model, error) {
	var doc document
	if isJSON(c) {
		raw, err := readJSONBody(c)
		if err != nil {
			return nil, err
		}
		doc, _ = parseJSON(raw) // what is no JSON counts as null here
	}
	o, ok := doc.(object)
	if !ok {
		return nil, invalidRequest{{
			kind: "model_type", message: "Input should be a valid dictionary or instance of " + class, input: doc, class: class,
		}}
	}
	return &model{given: o}, nil
}
