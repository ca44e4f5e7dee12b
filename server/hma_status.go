package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
)

// exchangeStatus tells HMA's fields, and ours: what is known of and not banked yet,
// since when, why the last fetch failed, whether the bank is monitored or blocks, how
// many of its contents are to be decided, what it has matched here in monitor, and what
// the API reports. While the store cannot be read it tells what is known without it, and
// that, if the exchange was ever fetched here.
func (h *hma) exchangeStatus(c echo.Context) error {
	ctx, name := c.Request().Context(), c.Param("exchange_name")
	status, here := h.fetcher.Status(name)
	x, err := h.store.Exchange(ctx, name)
	var sources, pending, held int
	var oldest time.Time
	if err == nil {
		sources, pending, oldest, err = h.store.CountSources(ctx, x.Name)
	}
	if err == nil {
		held, err = h.store.CountHeld(ctx, x.Bank.ID)
	}
	switch {
	case err == nil && !here:
		status = x.Status
	case err != nil && (!here && status.Finished.IsZero() || errors.Is(err, bank.ErrExchangeNotFound)):
		return exchangeErrors(c, err)
	case err != nil:
		h.log.ErrorContext(ctx, "status without the store", "exchange", name, "err", err)
	}
	if status.Report == "" && err == nil {
		status.Report = x.Status.Report
	}
	report, parseErr := reportObject(status.Report)
	if parseErr != nil {
		return parseErr
	}
	out := map[string]any{
		"checkpoint_ts": nil, "running_fetch_start_ts": unixTime(status.Started), "last_fetch_complete_ts": unixTime(status.Finished),
		"last_fetch_succeeded": nil, "up_to_date": status.UpToDate, "fetched_items": sources,
		"pending_items": pending, "oldest_pending_ts": unixTime(oldest), "last_error": nil,
		"mode": mode(x.Bank), "in_review": held, "report": report,
	}
	if x.Bank.Monitor {
		out["monitor_hits"] = h.scanner.MonitorMatches(x.Bank.Name)
	}
	if !status.Finished.IsZero() {
		out["last_fetch_succeeded"] = status.Succeeded
	}
	if err != nil {
		out["fetched_items"], out["pending_items"], out["up_to_date"] = nil, nil, false
		out["mode"], out["in_review"] = nil, nil
		out["last_error"] = "the bank store cannot be read: " + err.Error()
	}
	if status.Problem != "" && (here || err == nil) {
		out["last_error"] = status.Problem
	}
	return h.json(c, http.StatusOK, out)
}

// mode says whether the contents of a bank block.
func mode(b bank.Bank) string {
	if b.Monitor {
		return "monitor"
	}
	return "enforce"
}

// reportObject reads what an API reports, null for nothing.
func reportObject(text string) (document, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // null is what the API says for it
	}
	report, err := parseJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read report of exchange: %w", err)
	}
	return report, nil
}

// unixTime is a time in seconds, or null for none.
func unixTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}
