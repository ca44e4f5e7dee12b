package server_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
	"time"

	"mediagate/media"
	"mediagate/server"
)

// samples are the 16 hashes that HMA's own tests bank, in order.
var samples = strings.Fields(`
f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22
f8f8f0cee0f4a84f06370a2a038f63f0b36e26d596621e1d33e6b39c4e9c9b22
f8f8f0cee0f4a84f0637022a038f67f0b36e26d596621e1d33e6b39c4e9c9b22
f8f8f0cee0f4a84f06370a2a068f67f0b36e26d596621e1d33e6339c4e9c9b22
f8f8f0cee0f4a84f06370a22038f67f0b36e2ed596221e1d33e6b39c4e9c9b22
f8f8f0cee0f4a84f0e370a22038f67f0b36e2ed596221e1d33e6b39c4a9c9b22
d8f8f0cec0f4a84f8e370a22038f67f0b36a2ed597231e1d72e6b39c4a9c9b22
f8f8f0cee0f4a84f06370a22038f67f0b36e2ed596621e1d33e6339c4e9c9b22
d0f8f1ccc0f4a84d0a370a3a228f67f0b36e2ed5b6623e1d33e6339c4e9c9b22
d8f8f1eec0f4a84f0e37022a078f63f0b36e2ed596621e1d33e6239c4e9c9b22
d8f8f0cec4f4a84f0637022a078f67f0b36e2ee5b6621e1d33e6239c4e9c9b22
d8f8f0cec0f4a84f0637022a278f67f0b36e2ed596621e1d33e6339c4e9c9b22
e64cc9d91c623882f8d1f1d9a398e78c9f199b3bd83924f2b7e11e0bf861b064
6227401f601ff4ccafcc9fad4b0d95d371a2eb7265a3285234d228ca94deeb2d
c186f9619659658c4b6916daf934496985f4259c72c39676ab9edb631c3c349c
62c9789627838f69f23cf98c29e37836d61c87c31c59587c4b49a783f496725c`)

// flat is a picture of too little contrast.
func flat(t testing.TB) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 100, 100))
	for i := range img.Pix {
		img.Pix[i] = 100 + byte(i%100)/10
	}
	return encodePNG(t, img)
}

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// checkerboard is one of the pictures of HMA's tests.
func checkerboard(t testing.TB, cell int) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 128, 128))
	for y := range 128 {
		for x := range 128 {
			if (x/cell+y/cell)%2 == 1 {
				img.SetGray(x, y, color.Gray{255})
			}
		}
	}
	return encodePNG(t, img)
}

func (g *gate) mustBank(name string) {
	g.t.Helper()
	if a := g.json("POST", "/c/banks", `{"name":"`+name+`"}`); a.status != 201 {
		g.t.Fatalf("create bank: %d %s", a.status, a.body)
	}
}

func TestBankRoutes(t *testing.T) {
	g := newGate(t, setup{})
	g.get("/c/banks").want(t, 200, "[]\n")
	for _, name := range []string{"01_TEST_BANK", "my_test_bank", "MY-BANK", "", strings.Repeat("A", 256)} {
		g.json("POST", "/c/banks", `{"name":"`+name+`"}`).want(t, 400, message("Bank names must be UPPER_WITH_UNDERSCORE"))
	}
	one := `{"matching_enabled_ratio":1.0,"name":"MY_TEST_BANK_01"}`
	g.json("POST", "/c/banks", `{"name":"MY_TEST_BANK_01"}`).want(t, 201, one+"\n")
	g.json("POST", "/c/banks", `{"name":"MY_TEST_BANK_01"}`).want(t, 403, message("Bank already exists"))
	g.get("/c/banks").want(t, 200, "["+one+"]\n")
	g.get("/c/bank/MY_TEST_BANK_01").want(t, 200, one+"\n")
	g.get("/c/bank/NONE").want(t, 404, message("bank 'NONE' not found"))

	for body, ratio := range map[string]string{
		`{"name":"R%d","enabled_ratio":"0.5"}`:                "0.5",
		`{"name":"R%d","enabled_ratio":null,"enabled":false}`: "0.0",
		`{"name":"R%d","enabled_ratio":null}`:                 "1.0",
		`{"name":"R%d","enabled":"true"}`:                     "1.0",
		`{"name":"R%d","enabled":false}`:                      "0.0", // HMA forgets it
		`{"name":"R%d","enabled_ratio":0.00001}`:              "1e-05",
		`{"name":"R%d","enabled_ratio":true,"x":[1]}`:         "1.0",
	} {
		name := fmt.Sprintf("R%d", len(body)*100+len(ratio))
		g.json("POST", "/c/banks", strings.Replace(body, "R%d", name, 1)).
			want(t, 201, `{"matching_enabled_ratio":`+ratio+`,"name":"`+name+`"}`+"\n")
	}
	for _, ratio := range []string{"5", "-1", `"NaN"`, `"inf"`, "1e400"} {
		g.json("POST", "/c/banks", `{"name":"X","enabled_ratio":`+ratio+`}`).want(t, 400, message("enabled_ratio must be between 0.0 and 1.0"))
	}

	put := "/c/bank/MY_TEST_BANK_01"
	g.json("PUT", put, `{}`).want(t, 200, one+"\n")
	g.json("PUT", put, `{"enabled":false}`).want(t, 200, `{"matching_enabled_ratio":0.0,"name":"MY_TEST_BANK_01"}`+"\n")
	g.json("PUT", put, `{"enabled":true,"enabled_ratio":0.5}`).want(t, 200, `{"matching_enabled_ratio":0.5,"name":"MY_TEST_BANK_01"}`+"\n")
	g.json("PUT", put, `{"enabled_ratio":1.5}`).want(t, 400, message("enabled_ratio must be between 0.0 and 1.0"))
	g.json("PUT", put, `{"name":"lower"}`).want(t, 400, message("Bank names must be UPPER_WITH_UNDERSCORE"))
	g.mustBank("OTHER")
	g.json("PUT", put, `{"name":"OTHER"}`).want(t, 403, message("Bank name already exists"))
	g.json("PUT", "/c/bank/NONE", `{}`).want(t, 404, message("Bank not found"))
	g.json("PUT", put, `{"name":"RENAMED"}`).want(t, 200, `{"matching_enabled_ratio":0.5,"name":"RENAMED"}`+"\n")
	g.get(put).want(t, 404, message("bank 'MY_TEST_BANK_01' not found"))
	for range 2 {
		g.send("DELETE", "/c/bank/RENAMED", "").want(t, 200, message("Done"))
	}
}

// TestSampleHashes is HMA's end-to-end workflow.
func TestSampleHashes(t *testing.T) {
	g := newGate(t, setup{})
	g.mustBank("TEST_BANK")
	for i, hash := range samples {
		g.json("POST", "/c/bank/TEST_BANK/signal", `{"pdq":"`+hash+`"}`).want(t, 200, fmt.Sprintf(`{"id":%d,"signals":{"pdq":"%s"}}`+"\n", i+1, hash))
	}
	status := g.get("/m/index/status?signal_type=pdq")
	if !strings.HasPrefix(status.body, `{"pdq":{"built_to":1`) || !strings.HasSuffix(status.body, `,"present":true,"size":16}}`+"\n") {
		t.Errorf("%s", status.body)
	}
	g.get("/m/lookup?signal_type=pdq&signal="+samples[15]).want(t, 200, `{"TEST_BANK":[{"bank_content_id":16,"distance":"0"}]}`+"\n")
	g.get("/m/lookup?signal_type=pdq&signal="+strings.ToUpper(samples[15])).want(t, 200, `{"TEST_BANK":[{"bank_content_id":16,"distance":"0"}]}`+"\n")
	g.get("/m/lookup?signal_type=pdq&signal="+strings.Repeat("5", 64)).want(t, 200, "{}\n")
	g.get("/m/raw_lookup?signal_type=pdq&signal="+samples[12]).want(t, 200, `{"matches":[13]}`+"\n")
	g.get("/m/raw_lookup?include_distance=True&signal_type=pdq&signal="+samples[12]).want(t, 200, `{"matches":[{"bank_content_id":13,"distance":"0"}]}`+"\n")
	if all := g.get("/m/raw_lookup?signal_type=pdq&signal=" + samples[0]); strings.Count(all.body, ",") < 8 {
		t.Errorf("the near copies are missing: %s", all.body)
	}
	// A change is matched as soon as it is answered.
	g.send("DELETE", "/c/bank/TEST_BANK/content/16", "").want(t, 200, `{"deleted":1}`+"\n")
	g.get("/m/lookup?signal_type=pdq&signal="+samples[15]).want(t, 200, "{}\n")
	g.get("/m/raw_lookup?signal_type=pdq&signal="+samples[15]).want(t, 200, `{"matches":[]}`+"\n")
}

func TestLookupsByBank(t *testing.T) {
	g := newGate(t, setup{})
	for _, name := range []string{"BANK_A", "BANK_B", "BANK_C"} {
		g.mustBank(name)
		if a := g.json("POST", "/c/bank/"+name+"/signal", `{"pdq":"`+samples[0]+`","video_md5":" CAB08B36195EDB1A1231D2D09FA450E0 ","note":"n"}`); a.status != 200 ||
			!strings.Contains(a.body, `"video_md5":"cab08b36195edb1a1231d2d09fa450e0"`) {
			t.Fatal(a)
		}
	}
	pdq, md5 := "signal_type=pdq&signal="+samples[0], "signal_type=video_md5&signal=cab08b36195edb1a1231d2d09fa450e0"
	for _, signal := range []string{pdq, md5} {
		g.get("/m/raw_lookup?"+signal).want(t, 200, `{"matches":[1,2,3]}`+"\n")
		g.get("/m/raw_lookup?banks=&"+signal).want(t, 200, `{"matches":[1,2,3]}`+"\n")
		g.get("/m/raw_lookup?banks=BANK_A&"+signal).want(t, 200, `{"matches":[1]}`+"\n")
		g.get("/m/raw_lookup?banks=BANK_A,BANK_B&"+signal).want(t, 200, `{"matches":[1,2]}`+"\n")
		g.get("/m/raw_lookup?banks=BANK_A,+BANK_B&"+signal).want(t, 200, `{"matches":[1]}`+"\n")
		g.get("/m/raw_lookup?banks=NONE&"+signal).want(t, 200, `{"matches":[]}`+"\n")
	}
	g.get("/m/lookup?banks=BANK_B&"+pdq).want(t, 200, `{"BANK_B":[{"bank_content_id":2,"distance":"0"}]}`+"\n")
	g.get("/m/lookup?banks=BANK_B&"+md5).want(t, 200, `{"BANK_B":[{"bank_content_id":2,"distance":"-"}]}`+"\n")
	g.get("/m/raw_lookup?include_distance=1&banks=BANK_C&"+md5).want(t, 200, `{"matches":[{"bank_content_id":3,"distance":"-"}]}`+"\n")

	// Ratios: a seed decides for each content in the same way every time.
	// "abc" throws 0.772, "1234" 0.248 in CPython.
	g.json("PUT", "/c/bank/BANK_A", `{"enabled_ratio":0.5}`)
	g.json("PUT", "/c/bank/BANK_B", `{"enabled_ratio":0}`)
	g.json("PUT", "/c/bank/BANK_C", `{"enabled_ratio":0.78}`)
	for query, banks := range map[string]string{
		"seed=abc":                        "C",
		"seed=1234":                       "AC",
		"bypass_coinflip=true":            "ABC",
		"bypass_coinflip=yes&seed=abc":    "ABC",
		"bypass_coinflip=false&seed=abc":  "C",
		"seed=abc&banks=BANK_A":           "",
		"seed=1234&banks=BANK_A,BANK_B":   "A",
		"bypass_coinflip=1&banks=BANK_B,": "B",
	} {
		var want []string
		for _, b := range banks {
			want = append(want, fmt.Sprintf(`"BANK_%c":[{"bank_content_id":%d,"distance":"0"}]`, b, b-'A'+1))
		}
		g.get("/m/lookup?"+query+"&"+pdq).want(t, 200, "{"+strings.Join(want, ",")+"}\n")
	}
	// Disabled contents drop out of lookups, but not of raw ones.
	g.json("PUT", "/c/bank/BANK_C/content/3", `{"disable_until_ts":0}`)
	g.get("/m/lookup?seed=abc&"+pdq).want(t, 200, "{}\n")
	g.get("/m/raw_lookup?"+pdq).want(t, 200, `{"matches":[1,2,3]}`+"\n")
}

func TestLookupErrors(t *testing.T) {
	g := newGate(t, setup{})
	md5 := strings.Repeat("0", 32)
	for path, want := range map[string]string{
		"/m/raw_lookup?signal=x&signal_type=zz":            "No such SignalType 'zz'",
		"/m/raw_lookup?signal=&signal_type=pdq":            "invalid signal: invalid PDQ hash",
		"/m/raw_lookup?signal=xyz&signal_type=pdq":         "invalid signal: invalid PDQ hash",
		"/m/raw_lookup?signal=abc&signal_type=video_md5":   "invalid signal: 'abc' is not a valid MD5 hash",
		"/m/raw_lookup?signal=" + md5 + "&signal_type=md5": "No such SignalType 'md5'",
		"/m/lookup?signal=x&signal_type=sha256":            "No such SignalType 'sha256'",
		"/m/lookup?signal=x&signal_type=pdq":               "invalid signal: invalid PDQ hash",
		"/m/lookup":                                        "Either url or both signal and signal_type are required",
		"/m/lookup?signal=&signal_type=pdq":                "Either url or both signal and signal_type are required",
		"/m/lookup?signal=x":                               "Either url or both signal and signal_type are required",
		"/m/lookup?signal_type=pdq":                        "Either url or both signal and signal_type are required",
		"/m/index/status?signal_type=zz":                   "No such signal type 'zz'",
	} {
		a := g.get(path)
		if a.status != 400 || a.body != strings.ReplaceAll(message("%s", want), `\u0026`, "&") {
			t.Errorf("%s: %d %s, want %s", path, a.status, a.body, want)
		}
	}
}

func TestHashUploads(t *testing.T) {
	g := newGate(t, setup{})
	rgb := vector(t, "misc/rgb.jpeg")
	near := g.upload("/h/hash", "photo", rgb)
	if near.status != 200 || !strings.HasPrefix(near.body, `{"pdq":"`) || near.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", near.status, near.body)
	}
	g.upload("/h/hash", "photo", vector(t, "formats/rgb.png")).want(t, 200, `{"pdq":"d8f8f0cec4f4a84f0637022a078f67f0b36e2ee5b6621e1d33e6239c4e9c9b22"}`+"\n")
	g.upload("/h/hash?types=pdq,+pdq", "photo", vector(t, "formats/rgb.png"), "other", "field").
		want(t, 200, `{"pdq":"d8f8f0cec4f4a84f0637022a078f67f0b36e2ee5b6621e1d33e6239c4e9c9b22"}`+"\n")
	g.upload("/h/hash", "video", []byte("abc")).want(t, 200, `{"video_md5":"900150983cd24fb0d6963f7d28e17f72"}`+"\n")
	g.upload("/h/hash", "video", nil).want(t, 200, `{"video_md5":"d41d8cd98f00b204e9800998ecf8427e"}`+"\n")
	g.upload("/h/hash", "photo", flat(t)).want(t, 200, `{"pdq":""}`+"\n")
	for name, tt := range map[string]struct {
		path, field string
		content     []byte
		want        string
	}{
		"unknown type":      {"/h/hash?types=zz", "photo", rgb, "signal type 'zz' doesn't exist or is disabled"},
		"type of others":    {"/h/hash?types=video_md5", "photo", rgb, "signal type 'video_md5' doesn't exist or is disabled"},
		"no type":           {"/h/hash?types=", "photo", rgb, "empty signal type selection"},
		"blank types":       {"/h/hash?types=,", "photo", rgb, "empty signal type selection"},
		"unknown content":   {"/h/hash", "file", rgb, "no such content_type: 'file'"},
		"no picture":        {"/h/hash", "photo", []byte("%PDF-1.7\n"), "photo cannot be decoded: its type is application/pdf"},
		"empty":             {"/h/hash", "photo", nil, "photo cannot be decoded: truncated"},
		"truncated":         {"/h/hash", "photo", rgb[:1000], "photo cannot be decoded: truncated"},
		"lookup low":        {"/m/lookup", "photo", flat(t), "invalid signal: invalid PDQ hash"},
		"lookup unreadable": {"/m/lookup", "photo", []byte("x"), "photo cannot be decoded: its type is text/plain"},
	} {
		a := g.upload(tt.path, tt.field, tt.content)
		if name == "truncated" && a.body != message("%s", tt.want) {
			tt.want = "photo cannot be decoded: unreadable"
		}
		if a.status != 400 || a.body != message("%s", tt.want) {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, tt.want)
		}
	}
	g.upload("/m/lookup", "photo", rgb).want(t, 200, `{"pdq":{}}`+"\n")
	g.upload("/m/lookup", "video", rgb).want(t, 200, `{"video_md5":{}}`+"\n")
}

func TestStrictModeFailsAsHMADoes(t *testing.T) {
	g := newGate(t, setup{config: func(c *server.Config) { c.HMA.Strict = true }})
	a := g.upload("/h/hash", "photo", []byte("%PDF-1.7\n"))
	if a.status != 500 || !strings.HasPrefix(a.body, `{"message":"The server encountered an internal error`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestContentRoutes(t *testing.T) {
	g := newGate(t, setup{})
	g.mustBank("A")
	g.mustBank("B")
	content := checkerboard(t, 8)
	hash := "ffff28a2aaaaa220aaa882aaffff8088aaaaa2a8ffff8282aaaaa002fddf0a82"
	signals := `"signals":{"pdq":"` + hash + `"}`
	metadata := `{"content_id":"c1","json":{"z":1.0,"k":[1,"é"]},"collab":{"X":["y"]}}`
	g.upload("/c/bank/A/content", "photo", content, "metadata", metadata, "note", "hällo").want(t, 200, `{"id":1,`+signals+"}\n")
	bank := `"bank":{"matching_enabled_ratio":1.0,"name":"A"}`
	told := `"metadata":{"collab":null,"content_id":"c1","content_uri":null,"json":{"k":[1,"\u00e9"],"z":1.0}},"note":"h\u00e4llo","original_media_uri":null`
	g.get("/c/bank/A/content/1").want(t, 200, `{`+bank+`,"disable_until_ts":1,"id":1,`+told+"}\n")
	g.get("/c/bank/A/content/001?include_signals=TRUE").want(t, 200, `{`+bank+`,"disable_until_ts":1,"id":1,`+told+`,`+signals+"}\n")
	g.get("/c/bank/A/content/1?include_signals=1&include_metadata=no").
		want(t, 200, `{`+bank+`,"disable_until_ts":1,"id":1,"note":"h\u00e4llo","original_media_uri":null}`+"\n")
	g.upload("/c/bank/A/content", "video", []byte("abc")).want(t, 200, `{"id":2,"signals":{"video_md5":"900150983cd24fb0d6963f7d28e17f72"}}`+"\n")
	g.get("/c/bank/A/content/2?include_signals=true").
		want(t, 200, `{`+bank+`,"disable_until_ts":1,"id":2,"original_media_uri":null,"signals":{"video_md5":"900150983cd24fb0d6963f7d28e17f72"}}`+"\n")

	internal := func(until int64, note string) string {
		return fmt.Sprintf(`{%s,"collab_metadata":{},"disable_until_ts":%d,"id":1,"note":%s,"original_media_uri":null,`+
			`"user_metadata":{"content_id":"c1","content_uri":null,"json":{"k":[1,"\u00e9"],"z":1.0}}}`+"\n", bank, until, note)
	}
	year := time.Now().Add(365 * 24 * time.Hour).Unix()
	g.json("PUT", "/c/bank/A/content/1", fmt.Sprintf(`{"disable_until_ts":%d}`, year)).want(t, 200, internal(year, `"h\u00e4llo"`))
	g.json("PUT", "/c/bank/A/content/1", `{"disable_until_ts":"1","note":""}`).want(t, 200, internal(1, "null"))
	g.json("PUT", "/c/bank/A/content/1", `{"disable_until_ts":1.9,"note":"x"}`).want(t, 200, internal(1, `"x"`))
	g.json("PUT", "/c/bank/A/content/1", `{"disable_until_ts":0,"note":null}`).want(t, 200, internal(0, "null"))
	const noText = "texts must be Unicode, without U+0000" // HMA: 500
	g.json("PUT", "/c/bank/A/content/1", `{"note":"a\u0000"}`).want(t, 400, message(noText))
	g.json("POST", "/c/bank/A/signal", `{"pdq":"`+samples[0]+`","note":"a\u0000"}`).want(t, 400, message(noText))
	g.upload("/c/bank/A/content", "photo", content, "note", "h\xe4llo").want(t, 400, message(noText))
	g.json("PUT", "/c/bank/A/content/1", `{}`).want(t, 200, internal(0, "null"))

	for body, want := range map[string]string{
		`{"disable_until_ts":"abc"}`:                  "Invalid int: 'abc'",
		`{"disable_until_ts":-1}`:                     "disable_until_ts must be a non-negative integer",
		`{"disable_until_ts":9999999999}`:             "disable_until_ts must be less than 5 years in the future",
		`{"disable_until_ts":[]}`:                     "Invalid int: disable_until_ts is no number",
		`{"disable_until_ts":null}`:                   "Invalid int: disable_until_ts is no number",
		`{"note":5}`:                                  "note should be a string",
		`{"note":"` + strings.Repeat("é", 256) + `"}`: "note must be at most 255 characters",
		`[]`: "the body must be a JSON object",
	} {
		g.json("PUT", "/c/bank/A/content/1", body).want(t, 400, message("%s", want))
	}
	g.json("PUT", "/c/bank/A/content/1", `{"note":"`+strings.Repeat("é", 255)+`"}`)

	notFound := message("content '9' not found")
	g.get("/c/bank/A/content/9").want(t, 404, notFound)
	g.get("/c/bank/B/content/1").want(t, 404, message("content '1' not found")) // HMA shows contents of other banks
	g.get("/c/bank/NONE/content/1").want(t, 404, message("bank 'NONE' not found"))
	g.json("PUT", "/c/bank/A/content/9", "{}").want(t, 404, notFound)
	g.json("PUT", "/c/bank/NONE/content/1", "{}").want(t, 404, message("bank 'NONE' not found"))
	g.send("DELETE", "/c/bank/NONE/content/1", "").want(t, 404, message("bank 'NONE' not found"))
	g.send("DELETE", "/c/bank/B/content/1", "").want(t, 200, `{"deleted":0}`+"\n")
	g.send("DELETE", "/c/bank/A/content/1", "").want(t, 200, `{"deleted":1}`+"\n")
	g.send("DELETE", "/c/bank/A/content/1", "").want(t, 200, `{"deleted":0}`+"\n")
	g.send("DELETE", "/c/bank/A/content/99999999999999999999999", "").want(t, 200, `{"deleted":0}`+"\n")
}

func TestAddContentErrors(t *testing.T) {
	g := newGate(t, setup{})
	g.mustBank("A")
	content := checkerboard(t, 16)
	for name, tt := range map[string]struct {
		fields []string
		want   string
	}{
		"metadata not JSON": {[]string{"metadata", "{"}, "metadata form field must be valid JSON"},
		"metadata a list":   {[]string{"metadata", "[]"}, "metadata should be a json object"},
		"metadata null":     {[]string{"metadata", "null"}, "metadata should be a json object"},
		"long note":         {[]string{"note", strings.Repeat("x", 256)}, "note must be at most 255 characters"},
		"unknown metadata":  {[]string{"metadata", `{"x":1}`}, "Invalid metadata: 1 validation error for BankedContentMetadata\nx\n  Extra inputs are not permitted [type=extra_forbidden, input_value=1, input_type=int]\n    For further information visit https://errors.pydantic.dev/2.13/v/extra_forbidden"},
		"json not object":   {[]string{"metadata", `{"json":1}`}, "Invalid metadata: 1 validation error for BankedContentMetadata\njson\n  Input should be a valid dictionary [type=dict_type, input_value=1, input_type=int]\n    For further information visit https://errors.pydantic.dev/2.13/v/dict_type"},
		"id not string":     {[]string{"metadata", `{"content_id":1}`}, "Invalid metadata: 1 validation error for BankedContentMetadata\ncontent_id\n  Input should be a valid string [type=string_type, input_value=1, input_type=int]\n    For further information visit https://errors.pydantic.dev/2.13/v/string_type"},
	} {
		if a := g.upload("/c/bank/A/content", "photo", content, tt.fields...); a.status != 400 || a.body != message("%s", tt.want) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	g.upload("/c/bank/NONE/content", "photo", content).want(t, 404, message("bank 'NONE' not found"))
	g.upload("/c/bank/A/content", "photo", flat(t)).want(t, 400, message("Invalid pdq signal: invalid PDQ hash"))
	g.upload("/c/bank/A/content", "photo", []byte("text")).want(t, 400, message("photo cannot be decoded: its type is text/plain"))
	for body, want := range map[string]string{
		`{}`:                                    "No signals given",
		`{"note":"x"}`:                          "No signals given",
		`{"metadata":{}}`:                       "No such signal type metadata",
		`{"sha256":"x"}`:                        "No such signal type sha256",
		`{"pdq":"x"}`:                           "Invalid pdq signal: invalid PDQ hash",
		`{"pdq":5}`:                             "Invalid pdq signal: it is not a string",
		`{"video_md5":"zz"}`:                    "Invalid video_md5 signal: 'zz' is not a valid MD5 hash",
		`{"pdq":"` + samples[0] + `","note":5}`: "note should be a string",
	} {
		g.json("POST", "/c/bank/A/signal", body).want(t, 400, message("%s", want))
	}
	g.json("POST", "/c/bank/NONE/signal", `{`).want(t, 404, message("bank 'NONE' not found"))
	// None of that has banked anything.
	g.json("POST", "/c/bank/A/signal", `{"pdq":"`+samples[0]+`"}`).want(t, 200, `{"id":1,"signals":{"pdq":"`+samples[0]+`"}}`+"\n")
}

// TestBankedPicturesAreKnownByEveryView banks a turned photo and looks up the
// upright one: lookups of HMA know the stored pixels only, scans know both.
func TestBankedPicturesAreKnownByEveryView(t *testing.T) {
	g := newGate(t, setup{})
	g.mustBank("A")
	if a := g.upload("/c/bank/A/content", "photo", vector(t, "formats/exif-6.jpg")); a.status != 200 {
		t.Fatal(a)
	}
	stored, err := jpeg.Decode(bytes.NewReader(vector(t, "formats/exif-6.jpg")))
	if err != nil {
		t.Fatal(err)
	}
	turned := image.NewNRGBA(image.Rect(0, 0, stored.Bounds().Dy(), stored.Bounds().Dx()))
	for y := range stored.Bounds().Dy() {
		for x := range stored.Bounds().Dx() {
			turned.Set(stored.Bounds().Dy()-1-y, x, stored.At(x, y))
		}
	}
	upright := encodePNG(t, turned)
	g.upload("/m/lookup", "photo", upright).want(t, 200, `{"pdq":{}}`+"\n")
	g.get("/m/index/status?signal_type=video_md5").want(t, 200, `{"video_md5":{"built_to":-1,"present":true,"size":0}}`+"\n")
	if a := g.send("POST", "/v1/scan", string(upright)); !strings.Contains(a.body, `"outcome":"blocked"`) || !strings.Contains(a.body, `"banked_variant":"upright"`) {
		t.Error(a)
	}
	// The MD5 of any content is found, as decided.
	sum := media.Digest(vector(t, "formats/exif-6.jpg")).MD5
	g.get(fmt.Sprintf("/m/raw_lookup?signal_type=video_md5&signal=%x", sum)).want(t, 200, `{"matches":[1]}`+"\n")
}

func TestOverlargeUploadsAreRefused(t *testing.T) {
	g := newGate(t, setup{media: func(c *media.Config) { c.MaxBytes, c.TotalBytes = 1000, 2000 }})
	g.upload("/h/hash", "video", make([]byte, 1000)).want(t, 200, `{"video_md5":"ede3d3b685b4e137ba4cb2521329a75e"}`+"\n")
	g.upload("/h/hash", "video", make([]byte, 1001)).want(t, 413, message("Content too large"))
	g.upload("/m/lookup", "photo", make([]byte, 1001)).want(t, 413, message("Content too large"))
	g.upload("/h/hash", "video", nil, "x", strings.Repeat("x", 500_000)).want(t, 200, `{"video_md5":"d41d8cd98f00b204e9800998ecf8427e"}`+"\n")
	g.upload("/h/hash", "video", nil, "x", strings.Repeat("x", 500_001)).want(t, 413, message("The data value transmitted exceeds the capacity limit."))
	var many []string
	for range 999 {
		many = append(many, "x", "y")
	}
	g.upload("/h/hash", "video", nil, many...).want(t, 200, `{"video_md5":"d41d8cd98f00b204e9800998ecf8427e"}`+"\n")
	g.upload("/h/hash", "video", nil, append(many, "x", "y")...).want(t, 413, message("The data value transmitted exceeds the capacity limit."))
	// Names count as well: each is read as a whole.
	long := "--B\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("x", 1<<19) + "\"\r\n\r\n\r\n"
	g.send("POST", "/h/hash", strings.Repeat(long, 4)+"--B--\r\n", "Content-Type", "multipart/form-data; boundary=B").
		want(t, 413, message("The data value transmitted exceeds the capacity limit."))
	g.mustBank("A")
	big := `{"pdq":"` + strings.Repeat("x", 1<<20) + `"}`
	g.json("POST", "/c/bank/A/signal", big).want(t, 413, message("The data value transmitted exceeds the capacity limit."))
	g.json("POST", "/c/banks", big).want(t, 413, message("The data value transmitted exceeds the capacity limit."))
}
