package server

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/media"
	"mediagate/pdq"
)

// find looks one signal up in the newest index. Every content that holds it is returned,
// whatever its bank's ratio and its own state.
func (h *hma) find(signalType, text string) (*bank.Index, []bank.Match, error) {
	kind := bank.SignalType(signalType)
	if kind != bank.PDQ && kind != bank.VideoMD5 {
		return nil, nil, badRequest("No such SignalType '%s'", signalType)
	}
	ix, err := h.live.Load()
	if err != nil {
		return nil, nil, err
	}
	signal, err := bank.ParseSignal(kind, text)
	if err != nil {
		return nil, nil, badRequest("invalid signal: %s", whyInvalid(kind, text))
	}
	if kind == bank.VideoMD5 {
		return ix, ix.MD5([]byte(signal.Value)), nil
	}
	return ix, ix.PrimaryWithin(pdq.FromBytes([pdq.Bits / 8]byte([]byte(signal.Value))), h.scanner.MaxDistance()), nil
}

// whyInvalid is HMA's explanation. It quotes what the caller sent.
func whyInvalid(kind bank.SignalType, text string) string {
	if kind == bank.PDQ {
		return "invalid PDQ hash"
	}
	return "'" + text + "' is not a valid MD5 hash"
}

// distance is how HMA writes it: a string, and a dash where types have none.
func distance(m bank.Match) string {
	if m.Type == bank.PDQ {
		return strconv.Itoa(m.Distance)
	}
	return "-"
}

func (h *hma) rawLookup(c echo.Context) error {
	m := queryModel(c, "signal", "signal_type", "banks", "include_distance")
	text, kind := m.requiredString("signal"), m.requiredString("signal_type")
	banks, withDistance := m.optionalString("banks"), m.boolParameter("include_distance")
	if err := m.result(); err != nil {
		return err
	}
	_, found, err := h.find(kind, text)
	if err != nil {
		return err
	}
	matches := []any{}
	for _, match := range found {
		switch {
		case !inBanks(match, banks):
		case withDistance:
			matches = append(matches, matchObject(match))
		default:
			matches = append(matches, match.Content)
		}
	}
	return h.json(c, http.StatusOK, map[string]any{"matches": matches})
}

func matchObject(m bank.Match) map[string]any {
	return map[string]any{"bank_content_id": m.Content, "distance": distance(m)}
}

// inBanks applies a comma-separated list of names, taken as they are; an empty
// one filters nothing.
func inBanks(m bank.Match, names *string) bool {
	return names == nil || *names == "" || slices.Contains(strings.Split(*names, ","), m.Bank.Name)
}

// lookupOptions are the parameters that all lookups of banks share.
type lookupOptions struct {
	banks  *string
	seed   *string
	bypass bool
}

// byBank looks a signal up for the banks that are on and whose matches are to have
// consequences, by HMA's rule: one throw for each signal type, and a bank takes part if
// its ratio is at least that. By a picture that a scan lets pass for what else it knows,
// none takes part. Of is the file that the signal is of, nil if only the signal is known.
func (h *hma) byBank(kind, text string, of *media.Signals, o lookupOptions) (map[string]any, error) {
	ix, found, err := h.find(kind, text)
	if err != nil {
		return nil, err
	}
	if kind == string(bank.PDQ) && len(found) > 0 {
		found = h.scanner.Unopposed(ix, found, of)
	}
	throw := rand.Float64() //nolint:gosec // a share of lookups, no secret
	switch {
	case o.bypass:
		throw = 0
	case o.seed != nil:
		throw = pythonRandom(*o.seed)
	}
	banks := map[string]any{}
	for _, m := range found {
		if m.Enabled && !m.Bank.Monitor && !m.Bank.Allow && m.Bank.Ratio >= throw && inBanks(m, o.banks) {
			list, _ := banks[m.Bank.Name].([]any)
			banks[m.Bank.Name] = append(list, matchObject(m))
		}
	}
	return banks, nil
}

// byType is byBank for every signal of a file.
func (h *hma) byType(x hashed, o lookupOptions) (map[string]any, error) {
	out := map[string]any{}
	for kind, text := range x.told {
		banks, err := h.byBank(kind, text, &x.all, o)
		if err != nil {
			return nil, err
		}
		out[kind] = banks
	}
	return out, nil
}

func (h *hma) lookup(c echo.Context) error {
	m := queryModel(c, "url", "content_type", "types", "signal", "signal_type", "banks", "seed", "bypass_coinflip")
	address, signal, kind := m.optionalString("url"), m.optionalString("signal"), m.optionalString("signal_type")
	o := lookupOptions{banks: m.optionalString("banks"), seed: m.optionalString("seed"), bypass: m.boolParameter("bypass_coinflip")}
	if err := m.result(); err != nil {
		return err
	}
	if address != nil && *address != "" {
		if !h.roles.Has(Hasher) {
			return errNoHasher
		}
		x, err := h.hashedURL(c, *address)
		if err != nil {
			return err
		}
		byType, err := h.byType(x, o)
		if err != nil {
			return err
		}
		if kind != nil && *kind != "" {
			banks, ok := byType[*kind]
			if !ok {
				banks = map[string]any{}
			}
			return h.json(c, http.StatusOK, banks)
		}
		return h.json(c, http.StatusOK, byType)
	}
	if signal == nil || *signal == "" || kind == nil || *kind == "" {
		return badRequest("Either url or both signal and signal_type are required")
	}
	banks, err := h.byBank(*kind, *signal, nil, o)
	if err != nil {
		return err
	}
	return h.json(c, http.StatusOK, banks)
}

// errNoHasher is what clients of HMA know by its last two words.
var errNoHasher = &hmaError{http.StatusForbidden, "Hashing is disabled, missing role"}

func (h *hma) lookupUpload(c echo.Context) error {
	if !h.roles.Has(Hasher) {
		return errNoHasher
	}
	u, err := h.upload(c)
	if err != nil {
		return err
	}
	defer u.release()
	x, err := h.hashedUpload(c, u)
	if err != nil {
		return err
	}
	params := queryParameters(c.Request().URL.RawQuery)
	byType, err := h.byType(x, lookupOptions{
		banks: parameter(params, "banks"), seed: parameter(params, "seed"),
		bypass: pointed(parameter(params, "bypass_coinflip")) == "true",
	})
	if err != nil {
		return err
	}
	return h.json(c, http.StatusOK, byType)
}

// parameter returns the value of a query parameter, nil if it is absent.
func parameter(params object, name string) *string {
	v, ok := params.get(name)
	if !ok {
		return nil
	}
	s, _ := v.(string)
	return &s
}

// pointed is the string pointed to, empty for nil.
func pointed(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// signalTypes are those that the HMA API knows.
var signalTypes = []bank.SignalType{bank.PDQ, bank.VideoMD5}

func (h *hma) indexStatus(c echo.Context) error {
	wanted := parameter(queryParameters(c.Request().URL.RawQuery), "signal_type")
	if wanted != nil && !slices.Contains(signalTypes, bank.SignalType(*wanted)) {
		return badRequest("No such signal type '%s'", *wanted)
	}
	ix, err := h.live.Load()
	if err != nil && !errors.Is(err, bank.ErrNotReady) {
		return err
	}
	out := map[string]any{}
	for _, kind := range signalTypes {
		if wanted != nil && *wanted != string(kind) {
			continue
		}
		state := map[string]any{"present": false, "built_to": -1, "size": 0}
		if ix != nil {
			state["present"], state["size"] = true, ix.Len(kind)
			if at, ok := ix.Newest(kind); ok {
				state["built_to"] = at.Unix()
			}
		}
		out[string(kind)] = state
	}
	return h.json(c, http.StatusOK, out)
}
