package server

import (
	"errors"
	"math"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/media"
)

// contentID reads the number in the path. More digits than a number has name no
// content.
func contentID(c echo.Context) int64 {
	id, err := strconv.ParseInt(c.Param("content_id"), 10, 64)
	if err != nil {
		return -1
	}
	return id
}

// contentErrors turns errors of the store into HMA's answers.
func contentErrors(c echo.Context, err error) error {
	if errors.Is(err, bank.ErrContentNotFound) {
		return &hmaError{http.StatusNotFound, "content '" + strings.TrimLeft(c.Param("content_id"), "0") + "' not found"}
	}
	if errors.Is(err, bank.ErrInReview) {
		return &hmaError{http.StatusConflict, "content '" + strings.TrimLeft(c.Param("content_id"), "0") + "' is in review: decide there whether it blocks"}
	}
	return bankErrors(err, c.Param("bank_name"))
}

// writable fails if contents of a bank are a list's: what is added by hand would look
// like the list's, and what is deleted comes back.
func (h *hma) writable(c echo.Context, name string) error {
	x, err := h.store.Feeder(c.Request().Context(), name)
	switch {
	case errors.Is(err, bank.ErrExchangeNotFound):
		return nil
	case err != nil:
		return err
	case x.API == exchange.MatrixPolicyList:
		return &hmaError{http.StatusForbidden, "bank '" + name + "' holds what the list of exchange '" + x.Name + "' says: its contents can be disabled, and neither added nor deleted"}
	default:
		return nil
	}
}

// addContent banks what a URL or an upload holds.
func (h *hma) addContent(c echo.Context) error {
	name := c.Param("bank_name")
	if _, err := h.store.Bank(c.Request().Context(), name); err != nil {
		return bankErrors(err, name)
	}
	if err := h.writable(c, name); err != nil {
		return err
	}
	address := pointed(parameter(queryParameters(c.Request().URL.RawQuery), "url"))
	extra := extras{}
	var x hashed
	switch {
	case isJSON(c):
		doc, err := requiredJSON(c)
		if err != nil {
			return err
		}
		if address == "" {
			return errNoContent
		}
		o, _ := doc.(object)
		extra.metadata, _ = o.get("metadata")
		extra.note, _ = o.get("note")
		if err := extra.check(); err != nil {
			return err
		}
		if x, err = h.hashedURL(c, address); err != nil {
			return err
		}
	case address != "":
		var err error
		if x, err = h.hashedURL(c, address); err != nil {
			return err
		}
	default:
		u, err := h.upload(c)
		if errors.Is(err, errNoFile) {
			return errNoContent
		}
		if err != nil {
			return err
		}
		defer u.release()
		if err := extra.fromForm(u.values); err != nil {
			return err
		}
		if x, err = h.hashedUpload(c, u); err != nil {
			return err
		}
	}
	if text, ok := x.told[string(bank.PDQ)]; ok && text == "" {
		return badRequest("Invalid pdq signal: invalid PDQ hash")
	}
	return h.addToBank(c, bank.NewContent{
		Bank: name, Signals: x.signals(), Note: extra.text, Metadata: extra.json, HashedHere: true,
	}, x.told)
}

var errNoContent = badRequest("Neither `url` nor multipart file upload was received")

// addToBank stores a content and tells its number and signals.
func (h *hma) addToBank(c echo.Context, content bank.NewContent, told map[string]string) error {
	id, err := h.store.AddContent(c.Request().Context(), content)
	if err != nil {
		return bankErrors(err, content.Bank)
	}
	h.settle(c)
	return h.json(c, http.StatusOK, map[string]any{"id": id, "signals": told})
}

// addSignal banks signals without their content.
func (h *hma) addSignal(c echo.Context) error {
	name := c.Param("bank_name")
	if _, err := h.store.Bank(c.Request().Context(), name); err != nil {
		return bankErrors(err, name)
	}
	if err := h.writable(c, name); err != nil {
		return err
	}
	doc, err := requiredJSON(c)
	if err != nil {
		return err
	}
	o, ok := doc.(object)
	if !ok {
		return badRequest("the body must be a JSON object of signals")
	}
	var extra extras
	told := map[string]string{}
	var signals []bank.Signal
	for _, m := range o {
		if m.key == "note" {
			extra.note = m.value
			continue
		}
		kind := bank.SignalType(m.key)
		if kind != bank.PDQ && kind != bank.VideoMD5 {
			return badRequest("No such signal type %s", m.key)
		}
		text, ok := m.value.(string)
		if !ok {
			return badRequest("Invalid %s signal: it is not a string", kind)
		}
		s, err := bank.ParseSignal(kind, text)
		if err != nil {
			return badRequest("Invalid %s signal: %s", kind, whyInvalid(kind, text))
		}
		signals = append(signals, s)
		told[m.key] = s.Text()
	}
	if len(signals) == 0 {
		return badRequest("No signals given")
	}
	if err := extra.check(); err != nil {
		return err
	}
	return h.addToBank(c, bank.NewContent{Bank: name, Signals: signals, Note: extra.text}, told)
}

func (h *hma) content(c echo.Context) error {
	content, err := h.store.Content(c.Request().Context(), c.Param("bank_name"), contentID(c))
	if err != nil {
		return contentErrors(c, err)
	}
	out := map[string]any{
		"id": content.ID, "bank": bankObject(content.Bank), "disable_until_ts": content.DisableUntil, "original_media_uri": nil,
	}
	params := queryParameters(c.Request().URL.RawQuery)
	if strings.EqualFold(pointed(parameter(params, "include_signals")), "true") {
		out["signals"] = toldSignals(content.Signals)
	}
	if include := parameter(params, "include_metadata"); include == nil || strings.EqualFold(*include, "true") {
		metadata, err := metadataObject(content.Metadata)
		if err != nil {
			return err
		}
		if metadata != nil {
			metadata["collab"] = nil
			out["metadata"] = metadata
		}
	}
	if content.Note != "" {
		out["note"] = content.Note
	}
	return h.json(c, http.StatusOK, out)
}

// toldSignals are the signals of the types that HMA has, of pictures the primary
// one.
func toldSignals(signals []bank.Signal) map[string]string {
	out := map[string]string{}
	for _, s := range signals {
		if s.Variant == media.Primary && (s.Type == bank.PDQ || s.Type == bank.VideoMD5) {
			out[string(s.Type)] = s.Text()
		}
	}
	return out
}

func (h *hma) updateContent(c echo.Context) error {
	name, id := c.Param("bank_name"), contentID(c)
	if _, err := h.store.Content(c.Request().Context(), name, id); err != nil {
		return contentErrors(c, err)
	}
	doc, err := requiredJSON(c)
	if err != nil {
		return err
	}
	given, ok := doc.(object)
	if !ok {
		return badRequest("the body must be a JSON object")
	}
	var u bank.ContentUpdate
	if v, ok := given.get("disable_until_ts"); ok {
		until, err := timestamp(v)
		if err != nil {
			return err
		}
		u.DisableUntil = &until
	}
	if v, ok := given.get("note"); ok {
		extra := extras{note: v}
		if err := extra.check(); err != nil {
			return err
		}
		u.Note = &extra.text
	}
	content, err := h.store.UpdateContent(c.Request().Context(), name, id, u)
	if err != nil {
		return contentErrors(c, err)
	}
	h.settle(c)
	metadata, err := metadataObject(content.Metadata)
	if err != nil {
		return err
	}
	out := map[string]any{
		"id": content.ID, "bank": bankObject(content.Bank), "disable_until_ts": content.DisableUntil, "original_media_uri": nil,
		"collab_metadata": map[string]any{}, "user_metadata": nil, "note": nil,
	}
	if metadata != nil {
		out["user_metadata"] = metadata
	}
	if content.Note != "" {
		out["note"] = content.Note
	}
	return h.json(c, http.StatusOK, out)
}

// timestamp reads what Python's int() reads.
func timestamp(v document) (int64, error) {
	n := new(big.Int)
	switch v := v.(type) {
	case integer:
		n = v.Int
	case bool:
		if v {
			n.SetInt64(1)
		}
	case float64:
		if math.IsInf(v, 0) {
			return 0, badRequest("Invalid int: 'inf'")
		}
		new(big.Float).SetFloat64(v).Int(n)
	case string:
		text := strings.TrimSpace(v)
		plain := strings.ReplaceAll(text, "_", "")
		if _, ok := n.SetString(plain, 10); !ok || strings.HasPrefix(text, "_") || strings.HasSuffix(text, "_") || strings.Contains(text, "__") {
			return 0, badRequest("Invalid int: '%s'", v)
		}
	default:
		return 0, badRequest("Invalid int: disable_until_ts is no number")
	}
	if n.Sign() < 0 {
		return 0, badRequest("disable_until_ts must be a non-negative integer")
	}
	if n.Cmp(big.NewInt(time.Now().Add(bank.MaxDisabled).Unix())) >= 0 {
		return 0, badRequest("disable_until_ts must be less than 5 years in the future")
	}
	return n.Int64(), nil
}

func (h *hma) deleteContent(c echo.Context) error {
	if err := h.writable(c, c.Param("bank_name")); err != nil {
		return err
	}
	deleted, err := h.store.DeleteContent(c.Request().Context(), c.Param("bank_name"), contentID(c))
	if err != nil {
		return contentErrors(c, err)
	}
	h.settle(c)
	n := 0
	if deleted {
		n = 1
	}
	return h.json(c, http.StatusOK, map[string]any{"deleted": n})
}
