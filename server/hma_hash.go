package server

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"mediagate/bank"
	"mediagate/media"
)

// contentTypes are HMA's kinds of content, with the signal type of each.
var contentTypes = map[string]bank.SignalType{"photo": bank.PDQ, "video": bank.VideoMD5}

// hashed is a content that was hashed as a content type.
type hashed struct {
	// told are the signals as the API tells them. A photo of too little contrast
	// has an empty one.
	told map[string]string
	// all is what is known of the content.
	all   media.Signals
	photo bool
}

// signals are those to be banked.
func (x hashed) signals() []bank.Signal {
	all := bank.SignalsOf(x.all)
	for i, s := range all {
		if s.Type == bank.MD5 && !x.photo {
			all[i].Type = bank.VideoMD5
		}
	}
	return all
}

// checkTypes reads the selection of signal types for a content type.
func checkTypes(contentType string, types *string) error {
	signalType, ok := contentTypes[contentType]
	if !ok {
		return badRequest("no such content_type: '%s'", contentType)
	}
	if types == nil {
		return nil
	}
	var selected []string
	for name := range strings.SplitSeq(*types, ",") {
		if name = strings.TrimSpace(name); name != "" {
			selected = append(selected, name)
		}
	}
	if len(selected) == 0 {
		return badRequest("empty signal type selection")
	}
	if i := slices.IndexFunc(selected, func(name string) bool { return name != string(signalType) }); i >= 0 {
		return badRequest("signal type '%s' doesn't exist or is disabled", selected[i])
	}
	return nil
}

// hash hashes a content as the type that the caller says it has.
func (h *hma) hash(c echo.Context, contentType string, content []byte) (hashed, error) {
	if contentType == "video" {
		s := media.Digest(content)
		md5 := bank.Signal{Type: bank.VideoMD5, Value: string(s.MD5[:])}
		return hashed{told: map[string]string{string(bank.VideoMD5): md5.Text()}, all: s}, nil
	}
	s, err := h.pool.Signals(c.Request().Context(), content)
	if err != nil {
		return hashed{}, err
	}
	if len(s.Hashes) == 0 {
		return hashed{}, h.undecodable(s)
	}
	text := ""
	if s.Hashes[0].Quality >= h.scanner.MinQuality() {
		text = s.Hashes[0].PDQ.String()
	}
	return hashed{told: map[string]string{string(bank.PDQ): text}, all: s, photo: true}, nil
}

// undecodable answers for a photo that is none, or cannot be read. HMA fails
// over it.
func (h *hma) undecodable(s media.Signals) error {
	switch {
	case h.config.Strict:
		return &hmaError{http.StatusInternalServerError, pages[http.StatusInternalServerError]}
	case s.Refusal == "":
		return badRequest("photo cannot be decoded: its type is %s", s.Type)
	default:
		return badRequest("photo cannot be decoded: %s", s.Refusal)
	}
}

func (h *hma) hashURL(c echo.Context) error {
	m := queryModel(c, "url", "content_type", "types")
	address := m.requiredString("url")
	if err := m.result(); err != nil {
		return err
	}
	signals, err := h.signalsOfURL(c, address)
	if err != nil {
		return err
	}
	return h.json(c, http.StatusOK, signals)
}

func (h *hma) hashUpload(c echo.Context) error {
	signals, err := h.signalsOfUpload(c)
	if err != nil {
		return err
	}
	return h.json(c, http.StatusOK, signals)
}

func (h *hma) signalsOfURL(c echo.Context, address string) (map[string]string, error) {
	x, err := h.hashedURL(c, address)
	return x.told, err
}

// hashedURL fetches an address and hashes what it holds.
func (h *hma) hashedURL(c echo.Context, address string) (hashed, error) {
	params := queryParameters(c.Request().URL.RawQuery)
	f, err := h.urls.open(c.Request().Context(), address)
	if err != nil {
		return hashed{}, err
	}
	defer func() { _ = f.body.Close() }() // read as far as it is used
	contentType := pointed(parameter(params, "content_type"))
	if contentType == "" {
		if contentType, err = f.contentType(); err != nil {
			return hashed{}, err
		}
	}
	if err := checkTypes(contentType, parameter(params, "types")); err != nil {
		return hashed{}, err
	}
	content, release, err := h.pool.Read(c.Request().Context(), f.body, f.length)
	if err != nil {
		return hashed{}, f.explain(err)
	}
	defer release()
	return h.hash(c, contentType, content)
}

func (h *hma) signalsOfUpload(c echo.Context) (map[string]string, error) {
	u, err := h.upload(c)
	if err != nil {
		return nil, err
	}
	defer u.release()
	x, err := h.hashedUpload(c, u)
	return x.told, err
}

func (h *hma) hashedUpload(c echo.Context, u *upload) (hashed, error) {
	types := parameter(queryParameters(c.Request().URL.RawQuery), "types")
	if err := checkTypes(u.field, types); err != nil {
		return hashed{}, err
	}
	return h.hash(c, u.field, u.content)
}

// upload is a multipart form with one file.
type upload struct {
	field   string // of the file: its content type
	content []byte
	release func()
	values  map[string]string // of the other fields
}

// Limits of a form, those of HMA's framework.
const (
	maxFormParts = 1000
	maxFormBytes = 500_000

	// maxFormHeaders is room for the heads of all parts together.
	maxFormHeaders = 1 << 20
)

var (
	errNoFile       = badRequest("Missing multipart/form-data file upload")
	errTwoFiles     = badRequest("Only one file allowed per request")
	errFormTooLarge = &hmaError{http.StatusRequestEntityTooLarge, "The data value transmitted exceeds the capacity limit."}
)

// upload reads the form of a request. The caller must call release.
func (h *hma) upload(c echo.Context) (u *upload, err error) {
	contentType, params, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || contentType != echo.MIMEMultipartForm || params["boundary"] == "" {
		return nil, errNoFile
	}
	u = &upload{release: func() {}, values: map[string]string{}}
	defer func() {
		if err != nil {
			u.release()
			u = nil
		}
	}()
	files, left := 0, int64(maxFormBytes)
	body := http.MaxBytesReader(c.Response(), c.Request().Body, h.pool.MaxBytes()+maxFormBytes+maxFormHeaders)
	form := multipart.NewReader(body, params["boundary"])
	for parts := 0; ; parts++ {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) && files == 1 {
			return u, nil
		}
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return u, errFormTooLarge
		case err != nil: // no file, or a form cut off
			return u, errNoFile
		case parts == maxFormParts:
			return u, errFormTooLarge
		}
		name, isFile := fieldName(part)
		if !isFile {
			value, err := io.ReadAll(io.LimitReader(part, left+1))
			if left -= int64(len(value)); err != nil || left < 0 {
				return u, errFormTooLarge
			}
			if name == "metadata" || name == "note" { // the only ones that anybody reads
				u.values[name] = string(value)
			}
			continue
		}
		if files++; files > 1 {
			return u, errTwoFiles
		}
		u.field = name
		if err := h.readFile(c, part, u); err != nil {
			return u, err
		}
	}
}

// readFile takes the bytes of the form's file.
func (h *hma) readFile(c echo.Context, part *multipart.Part, u *upload) error {
	// The form's length bounds the file's; whether the file is too large is for
	// its own bytes to tell.
	declared := c.Request().ContentLength
	if declared > h.pool.MaxBytes() {
		declared = -1
	}
	content, release, err := h.pool.Read(c.Request().Context(), part, declared)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errNoFile
	case errors.As(err, &tooLarge):
		return errFormTooLarge
	case err != nil:
		return err
	}
	u.content, u.release = content, release
	return nil
}

// fieldName returns the name of a part, None if it has none as Python says, and
// whether the part is a file: whether it has a file name, be it empty.
func fieldName(part *multipart.Part) (name string, isFile bool) {
	_, params, err := mime.ParseMediaType(part.Header.Get(echo.HeaderContentDisposition))
	if err != nil {
		return "None", false
	}
	_, isFile = params["filename"]
	name, ok := params["name"]
	if !ok {
		name = "None"
	}
	return name, isFile
}
