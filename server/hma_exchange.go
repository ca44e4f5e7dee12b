package server

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/internal/secret"
)

// Credentials come in through these routes and never leave: no answer repeats a
// value of a credential_json, not even one that is refused.

func (h *hma) exchangeAPIs(c echo.Context) error {
	names := []string{}
	for _, api := range exchange.APIs() {
		names = append(names, api.Name)
	}
	return h.json(c, http.StatusOK, names)
}

// exchangeAPI tells whether exchanges of an API have a credential to use. One of
// the environment counts, too.
func (h *hma) exchangeAPI(c echo.Context) error {
	api, ok := exchange.FindAPI(c.Param("api_name"))
	if !ok {
		return noSuchAPI(c)
	}
	stored, err := h.store.Credential(c.Request().Context(), api.Name)
	if err != nil {
		return err
	}
	ours := h.home != nil && h.home.HasToken()
	return h.json(c, http.StatusOK, map[string]any{
		"supports_authentification": len(api.Credential) > 0, "has_set_authentification": !stored.Empty() || ours,
	})
}

func noSuchAPI(c echo.Context) error {
	return badRequest("no such Exchange API '%s'", c.Param("api_name"))
}

// updateExchangeAPI keeps what all exchanges of an API without a credential of
// their own may use. An empty object removes it, and null changes nothing.
func (h *hma) updateExchangeAPI(c echo.Context) error {
	api, ok := exchange.FindAPI(c.Param("api_name"))
	if !ok {
		return noSuchAPI(c)
	}
	doc, err := requiredJSON(c)
	if err != nil {
		return err
	}
	given, ok := doc.(object)
	if !ok {
		return badRequest("this endpoint expects a json object payload")
	}
	if v, _ := given.get("credential_json"); v != nil {
		credential, err := readCredential(api, v)
		if err != nil {
			return err
		}
		if err := h.store.SetCredential(c.Request().Context(), api.Name, credential); err != nil {
			return err
		}
	}
	return h.exchangeAPI(c)
}

// readCredential reads a credential_json; null and an empty object are none.
func readCredential(api exchange.API, v document) (secret.String, error) {
	given, ok := v.(object)
	if v != nil && !ok {
		return secret.String{}, badRequest("Field `credential_json` must be object")
	}
	if len(given) == 0 {
		return secret.String{}, nil
	}
	var allowed []any
	for _, f := range api.Credential {
		allowed = append(allowed, f.Name)
	}
	for _, m := range given {
		if !slices.Contains(allowed, any(m.key)) {
			// The key is not repeated: it may be a token in the wrong place.
			return secret.String{}, badRequest("Failed to parse `credential_json` - it has unexpected fields, allowed are %s", pythonRepr(allowed))
		}
	}
	credential, err := api.CheckCredential(fieldsOf(given))
	if _, ok := errors.AsType[*exchange.FieldError](err); ok {
		return secret.String{}, badRequest("Failed to parse `credential_json` - %s", err)
	}
	return credential, err
}

func fieldsOf(o object) map[string]any {
	fields := make(map[string]any, len(o))
	for _, m := range o {
		fields[m.key] = m.value
		if n, ok := m.value.(integer); ok && n.IsInt64() {
			fields[m.key] = n.Int64()
		}
	}
	return fields
}

func (h *hma) exchangeSchema(c echo.Context) error {
	api, ok := exchange.FindAPI(c.Param("api_name"))
	if !ok {
		return &hmaError{http.StatusNotFound, "Exchange API '" + c.Param("api_name") + "' not found"}
	}
	schema := map[string]any{"config_schema": fieldsSchema(api.Config), "credentials_schema": nil}
	if len(api.Credential) > 0 {
		schema["credentials_schema"] = fieldsSchema(api.Credential)
	}
	return h.json(c, http.StatusOK, schema)
}

func fieldsSchema(fields []exchange.Field) map[string]any {
	list := []map[string]any{}
	for _, f := range fields {
		list = append(list, map[string]any{
			"name": f.Name, "type": string(f.Type), "required": !f.Optional, "default": f.Default, "help": f.Help, "choices": nil,
		})
	}
	return map[string]any{"fields": list}
}

func (h *hma) exchanges(c echo.Context) error {
	all, err := h.store.Exchanges(c.Request().Context())
	if err != nil {
		return err
	}
	names := []string{}
	for _, x := range all {
		names = append(names, x.Name)
	}
	return h.json(c, http.StatusOK, names)
}

// createExchange takes HMA's fields, and the credential_json of its later
// releases beside them.
func (h *hma) createExchange(c echo.Context) error {
	doc, err := requiredJSON(c)
	if err != nil {
		return err
	}
	given, ok := doc.(object)
	if !ok {
		return badRequest("the body must be a JSON object")
	}
	x, err := newExchange(given)
	if err != nil {
		return err
	}
	err = h.store.CreateExchange(c.Request().Context(), x)
	if errors.Is(err, bank.ErrBankExists) {
		return &hmaError{http.StatusForbidden, "Bank already exists"}
	}
	if err != nil {
		return bankErrors(err, x.Name)
	}
	h.fetcher.FetchNow(x.Name)
	h.settle(c)
	return h.json(c, http.StatusCreated, map[string]string{"message": "Created successfully"})
}

// exchangeName is HMA's rule, which is wider than that for banks.
var exchangeName = regexp.MustCompile(`^[A-Z0-9_]+$`)

// newExchange reads the fields in the order in which HMA complains about them.
func newExchange(given object) (x bank.Exchange, err error) {
	name, _ := given.get("bank")
	if name == nil {
		return x, badRequest("bank is required")
	}
	if _, ok := name.(string); !ok {
		return x, badRequest("Field `bank` must be string")
	}
	if x.Name = name.(string); !exchangeName.MatchString(x.Name) {
		return x, badRequest("Field `bank` must match /^[A-Z0-9_]+$/")
	}
	var config object
	if v, ok := given.get("api_json"); ok {
		if config, ok = v.(object); !ok {
			return x, badRequest("Field `api_json` must be object")
		}
	}
	kind, _ := given.get("api")
	if kind == nil {
		return x, badRequest("Field `api_type` is required")
	}
	api, ok := exchange.FindAPI(pythonText(kind))
	if !ok {
		return x, badRequest("No such exchange type '%s'", pythonText(kind))
	}
	x.API, x.Bank = api.Name, api.NewBank()
	if x.Config, x.Enabled, err = readConfig(api, config); err != nil {
		return x, err
	}
	credential, _ := given.get("credential_json")
	x.Credential, err = readCredential(api, credential)
	return x, err
}

// readConfig reads an api_json. Fields of it that are not known are ignored, name
// and api among them, which the request gives elsewhere.
func readConfig(api exchange.API, given object) (config string, enabled bool, err error) {
	const failed = "Failed to parse `api_json` - %s"
	config, err = api.CheckConfig(fieldsOf(given))
	if field, ok := errors.AsType[*exchange.FieldError](err); ok {
		if v, there := given.get(field.Field); there && field.Problem == "" {
			return "", false, badRequest(failed, wrongType(field.Field, pythonTypes[field.Type], v))
		}
		return "", false, badRequest(failed, field)
	}
	if err != nil {
		return "", false, err
	}
	v, ok := given.get("enabled")
	if !ok {
		return config, true, nil
	}
	if enabled, ok = v.(bool); !ok {
		return "", false, badRequest(failed, wrongType("enabled", "bool", v))
	}
	return config, enabled, nil
}

// pythonTypes are the types of fields as HMA writes them.
var pythonTypes = map[exchange.FieldType]string{
	exchange.Text: "str", exchange.Number: "int", exchange.Flag: "bool", exchange.Texts: "list[str]",
}

// wrongType is what HMA says about a value of another type than the field's.
func wrongType(field, want string, v document) string {
	return fmt.Sprintf(`wrong value type for field "%s" - should be "%s" instead of value "%s" of type "%s"`, field, want, pythonText(v), pythonType(v))
}

// pythonText writes a value as Python's str does.
func pythonText(v document) string {
	if s, ok := v.(string); ok {
		return s
	}
	return pythonRepr(v)
}

// exchangeErrors turns errors of the store into HMA's answers.
func exchangeErrors(c echo.Context, err error) error {
	if errors.Is(err, bank.ErrExchangeNotFound) {
		return &hmaError{http.StatusNotFound, "Exchange '" + c.Param("exchange_name") + "' not found"}
	}
	return err
}

func (h *hma) exchange(c echo.Context) error {
	x, err := h.store.Exchange(c.Request().Context(), c.Param("exchange_name"))
	if err != nil {
		return exchangeErrors(c, err)
	}
	doc, err := parseJSON([]byte(x.Config))
	if err != nil {
		return fmt.Errorf("read configuration of exchange: %w", err)
	}
	config, _ := doc.(object)
	api, _ := exchange.FindAPI(x.API)
	var fields object
	for _, f := range api.Config {
		value, ok := config.get(f.Name)
		switch {
		case ok:
		case f.Optional:
			value = f.Default
		case h.home != nil:
			value = h.home.URL() // what is not configured follows the homeserver
		default:
			value = ""
		}
		fields = append(fields, member{f.Name, value})
	}
	fields = append(fields, member{"name", x.Name}, member{"api", x.API}, member{"enabled", x.Enabled})
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, indentedJSON(fields))
}

// indentedJSON writes an object without inner ones as HMA writes configurations,
// unlike everything else: one member a line, in the order given, no line end.
func indentedJSON(o object) []byte {
	var w writer
	separator := "{\n  "
	for _, m := range o {
		w.WriteString(separator)
		w.text(m.key)
		w.WriteString(": ")
		w.value(m.value)
		separator = ",\n  "
	}
	w.WriteString("\n}")
	return w.Bytes()
}

// updateExchange turns an exchange on or off, and its bank to be monitored or to block,
// which is all that can be changed.
func (h *hma) updateExchange(c echo.Context) error {
	m, err := bodyModel(c, "ExchangeUpdateRequest")
	if err != nil {
		return err
	}
	enabled, monitor := m.optionalBool("enabled"), m.optionalBool("monitor")
	if err := m.result(); err != nil {
		return err
	}
	name := c.Param("exchange_name")
	if monitor != nil {
		if _, err := h.store.SetMonitor(c.Request().Context(), name, *monitor); err != nil {
			return exchangeErrors(c, bankErrors(err, name))
		}
		h.settle(c)
	}
	if enabled != nil {
		if err := h.store.EnableExchange(c.Request().Context(), name, *enabled); err != nil {
			return exchangeErrors(c, err)
		}
		if *enabled {
			h.fetcher.FetchNow(name)
		} else {
			h.fetcher.Reconsider()
		}
		h.settle(c)
	}
	return h.exchange(c)
}

func (h *hma) deleteExchange(c echo.Context) error {
	if err := h.store.DeleteExchange(c.Request().Context(), c.Param("exchange_name")); err != nil {
		return err
	}
	h.fetcher.Reconsider()
	h.settle(c)
	return h.json(c, http.StatusOK, map[string]string{"message": "Exchange deleted"})
}
