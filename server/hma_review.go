package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
)

// reviews lists what is in review of an exchange's bank, what is to be decided first.
func (h *hma) reviews(c echo.Context) error {
	x, err := h.store.Exchange(c.Request().Context(), c.Param("exchange_name"))
	if err != nil {
		return exchangeErrors(c, err)
	}
	all, err := h.store.Reviews(c.Request().Context(), x.Bank.Name)
	if err != nil {
		return bankErrors(err, x.Bank.Name)
	}
	list := []map[string]any{}
	for _, r := range all {
		list = append(list, map[string]any{
			"content_id": r.Content, "bank": r.Bank, "key": r.Key, "reason": r.Reason, "since_ts": r.Since.Unix(), "confirmed": r.Confirmed,
		})
	}
	return h.json(c, http.StatusOK, list)
}

// decideReview takes {"block": true} for what is to block for good, and false for what
// never is to.
func (h *hma) decideReview(c echo.Context) error {
	m, err := bodyModel(c, "ReviewDecideRequest")
	if err != nil {
		return err
	}
	block := m.optionalBool("block")
	if block == nil {
		m.fail("missing", "Field required", "block", m.given)
	}
	if err := m.result(); err != nil {
		return err
	}
	x, err := h.store.Exchange(c.Request().Context(), c.Param("exchange_name"))
	if err != nil {
		return exchangeErrors(c, err)
	}
	err = h.store.Decide(c.Request().Context(), x.Bank.Name, contentID(c), *block)
	if errors.Is(err, bank.ErrNotInReview) {
		return &hmaError{http.StatusNotFound, "content '" + strings.TrimLeft(c.Param("content_id"), "0") + "' is not in review"}
	}
	if err != nil {
		return contentErrors(c, err)
	}
	h.settle(c)
	return h.json(c, http.StatusOK, map[string]any{"content_id": contentID(c), "block": *block})
}
