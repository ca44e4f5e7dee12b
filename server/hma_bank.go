package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
)

// bankObject has HMA's two fields, and of our settings those that a bank has: clients
// that know no others see none, unless somebody has changed them.
func bankObject(b bank.Bank) map[string]any {
	out := map[string]any{"name": b.Name, "matching_enabled_ratio": b.Ratio}
	if b.Monitor {
		out["monitor"] = true
	}
	if b.Allow {
		out["allow"] = true
	}
	if b.Agree > 0 {
		out["agree"] = b.Agree
	}
	if b.Breaker > 0 {
		out["breaker"] = b.Breaker
	}
	return out
}

// ourSettings reads what banks have beside HMA's fields.
func (m *model) ourSettings() bank.Settings {
	return bank.Settings{
		MD5Enforce: m.optionalBool("md5_enforce"), Monitor: m.optionalBool("monitor"), Allow: m.optionalBool("allow"),
		Agree: m.optionalInt("agree"), Breaker: m.optionalInt("breaker"),
	}
}

// bankErrors turns errors of the store into HMA's answers. name is that of the
// bank asked for.
func bankErrors(err error, name string) error {
	switch {
	case errors.Is(err, bank.ErrBankNotFound):
		return &hmaError{http.StatusNotFound, "bank '" + name + "' not found"}
	case errors.Is(err, bank.ErrBankName):
		return badRequest("Bank names must be UPPER_WITH_UNDERSCORE")
	case errors.Is(err, bank.ErrRatio):
		return badRequest("enabled_ratio must be between 0.0 and 1.0")
	case errors.Is(err, bank.ErrSettings):
		_, why, _ := strings.Cut(err.Error(), bank.ErrSettings.Error()+": ")
		return badRequest("%s", why)
	case errors.Is(err, bank.ErrNeverRead):
		return &hmaError{http.StatusConflict, bank.ErrNeverRead.Error()}
	default:
		return err
	}
}

func (h *hma) banks(c echo.Context) error {
	banks, err := h.store.Banks(c.Request().Context())
	if err != nil {
		return err
	}
	list := []map[string]any{}
	for _, b := range banks {
		list = append(list, bankObject(b))
	}
	return h.json(c, http.StatusOK, list)
}

func (h *hma) bank(c echo.Context) error {
	b, err := h.store.Bank(c.Request().Context(), c.Param("bank_name"))
	if err != nil {
		return bankErrors(err, c.Param("bank_name"))
	}
	return h.json(c, http.StatusOK, bankObject(b))
}

// createBank takes HMA's fields, and our settings beside them.
func (h *hma) createBank(c echo.Context) error {
	m, err := bodyModel(c, "BankCreateRequest")
	if err != nil {
		return err
	}
	b := bank.Bank{Name: m.requiredString("name"), Ratio: 1}
	ratio, _ := m.optionalFloat("enabled_ratio")
	enabled, ours := m.optionalBool("enabled"), m.ourSettings()
	if err := m.result(); err != nil {
		return err
	}
	switch {
	case ratio != nil:
		b.Ratio = *ratio
	case enabled != nil && !*enabled:
		b.Ratio = 0
	}
	b = ours.Change(b)
	b, err = h.store.CreateBank(c.Request().Context(), b)
	if errors.Is(err, bank.ErrBankExists) {
		return &hmaError{http.StatusForbidden, "Bank already exists"}
	}
	if err != nil {
		return bankErrors(err, b.Name)
	}
	h.settle(c)
	return h.json(c, http.StatusCreated, bankObject(b))
}

func (h *hma) updateBank(c echo.Context) error {
	m, err := bodyModel(c, "BankUpdateRequest")
	if err != nil {
		return err
	}
	u := m.ourSettings()
	u.Name = m.optionalString("name")
	u.Ratio, _ = m.optionalFloat("enabled_ratio")
	enabled := m.optionalBool("enabled")
	if err := m.result(); err != nil {
		return err
	}
	if enabled != nil && u.Ratio == nil {
		u.Ratio = new(float64)
		if *enabled {
			*u.Ratio = 1
		}
	}
	b, err := h.store.UpdateBank(c.Request().Context(), c.Param("bank_name"), u)
	switch {
	case errors.Is(err, bank.ErrBankNotFound):
		return &hmaError{http.StatusNotFound, "Bank not found"}
	case errors.Is(err, bank.ErrBankExists):
		return &hmaError{http.StatusForbidden, "Bank name already exists"}
	case err != nil:
		return bankErrors(err, b.Name)
	}
	h.settle(c)
	return h.json(c, http.StatusOK, bankObject(b))
}

func (h *hma) deleteBank(c echo.Context) error {
	if err := h.store.DeleteBank(c.Request().Context(), c.Param("bank_name")); err != nil {
		return err
	}
	h.settle(c)
	return h.json(c, http.StatusOK, map[string]string{"message": "Done"})
}
