package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
)

// predictionWait is how long a prediction may take, within what an answer may.
const predictionWait = time.Minute

// prediction is what a bank would block of what this process let pass.
type prediction struct {
	Bank         string     `json:"bank"`
	Seen         int64      `json:"seen"`
	SeenRequests int64      `json:"seen_requests"`
	Contents     int64      `json:"contents"`
	Requests     int64      `json:"requests"`
	Since        *time.Time `json:"since"`
}

// predict tells what a bank would block if it were not in monitor.
func (s *Server) predict(c echo.Context) error {
	name := c.QueryParam("bank")
	if name == "" {
		return writeV1Error(c, http.StatusBadRequest, "name a bank, as in ?bank=NAME")
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), predictionWait)
	defer cancel()
	p, err := s.scanner.Predict(ctx, name)
	switch {
	case errors.Is(err, bank.ErrBankNotFound):
		return writeV1Error(c, http.StatusNotFound, "there is no such bank")
	case err != nil:
		return err
	}
	out := prediction{Bank: name, Seen: p.Seen, SeenRequests: p.SeenRequests, Contents: p.Contents, Requests: p.Requests}
	if !p.Since.IsZero() {
		since := p.Since.UTC().Round(0)
		out.Since = &since
	}
	return c.JSON(http.StatusOK, out)
}
