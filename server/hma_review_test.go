package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
)

// labels are those of a rule.
const labels = `{"json":{"recommendation":"ban","harms":["a"]}}`

// follow makes an exchange that follows a list, monitored, with a rule for each sample.
func (g *gate) follow(name string, hashes ...string) (contents []int64) {
	g.t.Helper()
	x := bank.Exchange{Name: name, API: exchange.MatrixPolicyList, Config: "{}", Bank: bank.Bank{Monitor: true, Breaker: 20}}
	if err := g.store.CreateExchange(g.t.Context(), x); err != nil {
		g.t.Fatal(err)
	}
	f := bank.Fetched{Completed: true}
	for i, hash := range hashes {
		signal, err := bank.ParseSignal(bank.PDQ, hash)
		if err != nil {
			g.t.Fatal(err)
		}
		f.Put = append(f.Put, bank.SourceContent{Key: fmt.Sprint("rule/", i), Signals: []bank.Signal{signal}, Metadata: labels, Alone: true})
		contents = append(contents, int64(i+1))
	}
	if err := g.store.Commit(g.t.Context(), name, f); err != nil {
		g.t.Fatal(err)
	}
	return contents
}

// finds tells whether lookups have a content, at once: routes return when they do.
func (g *gate) finds(hash string) bool {
	g.t.Helper()
	a := g.get("/m/lookup?bypass_coinflip=true&signal_type=pdq&signal=" + hash)
	if a.status != 200 {
		g.t.Fatalf("%d %s", a.status, a.body)
	}
	return a.body != "{}\n"
}

func TestReviewRoutes(t *testing.T) {
	g := newGate(t, setup{})
	const first, second = 0, 13 // of samples, far from one another
	ids := g.follow("LIST", samples[first], samples[second])
	g.get("/c/exchange/LIST/review").want(t, 200, "[]\n")
	if err := g.store.Hold(t.Context(), ids, "it blocks much"); err != nil {
		t.Fatal(err)
	}
	g.json("PUT", "/c/exchange/LIST", `{"monitor":false}`)
	if g.finds(samples[first]) || g.finds(samples[second]) {
		t.Error("what is in review is found")
	}
	listed := g.get("/c/exchange/LIST/review").body
	for _, part := range []string{`{"bank":"LIST","confirmed":false,"content_id":1,"key":"rule/0","reason":"it blocks much","since_ts":`, `"content_id":2,"key":"rule/1"`} {
		if !strings.Contains(listed, part) {
			t.Errorf("%s has no %s", listed, part)
		}
	}
	if a := g.get("/c/exchange/LIST/status"); !strings.Contains(a.body, `"in_review":2,`) {
		t.Errorf("%s", a.body)
	}
	g.json("PUT", "/c/bank/LIST/content/1", `{"disable_until_ts":1}`).want(t, 409, message("content '1' is in review: decide there whether it blocks"))

	for body, want := range map[string]string{
		`{}`:                       `"missing"`,
		`{"block":null}`:           `"missing"`,
		`{"block":"perhaps"}`:      `"bool_parsing"`,
		`[true]`:                   `"model_type"`,
		`{"block":`:                `"model_type"`,
		`{"block":{"block":true}}`: `"bool_type"`,
	} {
		if a := g.json("POST", "/c/exchange/LIST/review/1", body); a.status != 422 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	const yes = `{"block":true}`
	g.json("POST", "/c/exchange/NONE/review/1", yes).want(t, 404, message("Exchange 'NONE' not found"))
	g.get("/c/exchange/NONE/review").want(t, 404, message("Exchange 'NONE' not found"))
	g.json("POST", "/c/exchange/LIST/review/077", yes).want(t, 404, message("content '77' not found"))
	g.json("POST", "/c/exchange/LIST/review/99999999999999999999", yes).want(t, 404, message("content '99999999999999999999' not found"))
	if a := g.json("POST", "/c/exchange/LIST/review/one", yes); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if g.finds(samples[first]) {
		t.Error("something was decided")
	}

	g.json("POST", "/c/exchange/LIST/review/1", yes).want(t, 200, `{"block":true,"content_id":1}`+"\n")
	g.json("POST", "/c/exchange/LIST/review/2", `{"block":false}`).want(t, 200, `{"block":false,"content_id":2}`+"\n")
	g.json("POST", "/c/exchange/LIST/review/2", yes).want(t, 404, message("content '2' is not in review"))
	if !g.finds(samples[first]) || g.finds(samples[second]) {
		t.Error("it is not as was decided")
	}
	if a := g.get("/c/exchange/LIST/review"); !strings.Contains(a.body, `"confirmed":true,"content_id":1`) || strings.Contains(a.body, `"content_id":2`) {
		t.Errorf("%s", a.body)
	}
	if a := g.get("/c/exchange/LIST/status"); !strings.Contains(a.body, `"in_review":0,`) {
		t.Errorf("%s", a.body)
	}
	// Through another exchange nothing is decided.
	g.follow("OTHER")
	g.json("POST", "/c/exchange/OTHER/review/1", `{"block":false}`).want(t, 404, message("content '1' not found"))
}

func TestExchangeIsPromotedThroughTheAPI(t *testing.T) {
	g := newGate(t, setup{})
	g.follow("LIST", samples[0])
	is := func(mode string, found bool) {
		t.Helper()
		if a := g.get("/c/exchange/LIST/status"); !strings.Contains(a.body, `"mode":"`+mode+`"`) {
			t.Errorf("want %s: %s", mode, a.body)
		}
		if got := g.finds(samples[0]); got != found {
			t.Errorf("in %s it is found: %t", mode, got)
		}
	}
	is("monitor", false)
	for _, body := range []string{`{}`, `{"monitor":null}`, `{"enabled":false}`} {
		g.json("PUT", "/c/exchange/LIST", body)
		is("monitor", false)
	}
	if a := g.json("PUT", "/c/exchange/LIST", `{"monitor":"perhaps"}`); a.status != 422 {
		t.Errorf("%d %s", a.status, a.body)
	}
	is("monitor", false)
	if a := g.json("PUT", "/c/exchange/LIST", `{"monitor":false}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	is("enforce", true)
	g.json("PUT", "/c/exchange/LIST", `{"monitor":true}`)
	is("monitor", false)
	g.json("PUT", "/c/exchange/NONE", `{"monitor":true}`).want(t, 404, message("Exchange 'NONE' not found"))
	g.json("PUT", "/c/bank/LIST", `{"monitor":false,"allow":true}`)
	g.json("PUT", "/c/exchange/LIST", `{"monitor":true}`).want(t, 400, message("a bank that allows blocks nothing that it could monitor"))
}

// TestStatusHasTheReport of the API, whatever is in it.
func TestStatusHasTheReport(t *testing.T) {
	g := newGate(t, setup{})
	g.follow("LIST", samples[0])
	if a := g.get("/c/exchange/LIST/status"); !strings.Contains(a.body, `"report":null,`) {
		t.Errorf("%s", a.body)
	}
	status := bank.FetchStatus{Finished: time.Unix(5, 0), Report: `{"room":"!r","rejected":[{"event":"$é","why":"\u0000"}],"age":1.5,"rules":12345678901234567890}`}
	if err := g.store.SetFetchStatus(t.Context(), bank.Lease{}, "LIST", status); err != nil {
		t.Fatal(err)
	}
	want := `"report":{"age":1.5,"rejected":[{"event":"$\u00e9","why":"\u0000"}],"room":"!r","rules":12345678901234567890},`
	if a := g.get("/c/exchange/LIST/status"); !strings.Contains(a.body, want) {
		t.Errorf("%s", a.body)
	}
}

// TestBanksOfListsAreNotWrittenByHand: they hold what the list says. An operator turns
// contents off, and on again.
func TestBanksOfListsAreNotWrittenByHand(t *testing.T) {
	g := newGate(t, setup{})
	g.follow("LIST", samples[0])
	g.mustExchange("SYN", "")
	g.mustBank("MINE")
	refused := message("bank 'LIST' holds what the list of exchange 'LIST' says: its contents can be disabled, and neither added nor deleted")
	signal := `{"pdq":"` + samples[13] + `"}`
	g.json("POST", "/c/bank/LIST/signal", signal).want(t, 403, refused)
	g.upload("/c/bank/LIST/content", "photo", checkerboard(t, 8)).want(t, 403, refused)
	g.send("POST", "/c/bank/LIST/content?url=http://127.0.0.1:1/x", "").want(t, 403, refused)
	g.send("DELETE", "/c/bank/LIST/content/1", "").want(t, 403, refused)
	if n, err := g.store.CountEnabled(t.Context(), 1); err != nil || n != 1 {
		t.Errorf("%d contents, %v", n, err)
	}
	g.json("PUT", "/c/exchange/LIST", `{"monitor":false}`)
	for _, until := range []int{0, 1} {
		if a := g.json("PUT", "/c/bank/LIST/content/1", fmt.Sprintf(`{"disable_until_ts":%d,"note":"n"}`, until)); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
		if got := g.finds(samples[0]); got != (until == 1) {
			t.Errorf("disabled until %d, it is found: %t", until, got)
		}
	}
	for _, name := range []string{"SYN", "MINE"} {
		if a := g.json("POST", "/c/bank/"+name+"/signal", signal); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	g.send("DELETE", "/c/bank/MINE/content/3", "").want(t, 200, `{"deleted":1}`+"\n")
}

// TestBankSettings: who has not changed them sees none of them.
func TestBankSettings(t *testing.T) {
	g := newGate(t, setup{})
	const plain = `{"matching_enabled_ratio":1.0,"name":"A"}` + "\n"
	g.json("POST", "/c/banks", `{"name":"A","monitor":false,"allow":null,"agree":0,"breaker":0}`).want(t, 201, plain)
	const all = `{"agree":100,"breaker":1000000,"matching_enabled_ratio":1.0,"monitor":true,"name":"B"}` + "\n"
	g.json("POST", "/c/banks", `{"name":"B","monitor":"true","agree":"100","breaker":1000000.0,"md5_enforce":true}`).want(t, 201, all)
	g.get("/c/bank/B").want(t, 200, all)
	g.json("POST", "/c/banks", `{"name":"C","allow":true}`).want(t, 201, `{"allow":true,"matching_enabled_ratio":1.0,"name":"C"}`+"\n")
	if b, err := g.store.Bank(t.Context(), "B"); err != nil || !b.MD5Enforce || !b.Monitor || b.Agree != 100 || b.Breaker != 1_000_000 {
		t.Errorf("%+v, %v", b, err)
	}
	for body, want := range map[string]string{
		`{"agree":101}`: "agree must be from 0 to 100", `{"agree":-1}`: "agree must be from 0 to 100",
		`{"agree":99999999999999999999}`: "agree must be from 0 to 100", `{"breaker":-1e300}`: "breaker must be from 0 to 1000000",
		`{"breaker":1000001}`: "breaker must be from 0 to 1000000", `{"monitor":true,"allow":true}`: "a bank that allows blocks nothing that it could monitor",
	} {
		g.json("PUT", "/c/bank/A", body).want(t, 400, message("%s", want))
		g.json("POST", "/c/banks", `{"name":"NEW",`+body[1:]).want(t, 400, message("%s", want))
	}
	for body, want := range map[string]string{
		`{"agree":1.5}`: "int_from_float", `{"agree":"x"}`: "int_parsing", `{"breaker":[]}`: "int_type", `{"allow":2}`: "bool_parsing",
	} {
		if a := g.json("PUT", "/c/bank/A", body); a.status != 422 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	g.get("/c/bank/A").want(t, 200, plain)
	g.get("/c/bank/NEW").want(t, 404, message("bank 'NEW' not found"))
	g.json("PUT", "/c/bank/B", `{"monitor":false,"agree":false,"breaker":true}`).want(t, 200, `{"breaker":1,"matching_enabled_ratio":1.0,"name":"B"}`+"\n")
}

// TestLookupsAreOfBanksThatBlock: clients take a bank that is named for a reason to act.
func TestLookupsAreOfBanksThatBlock(t *testing.T) {
	g := newGate(t, setup{})
	for _, bank := range []string{`"BLOCKS"`, `"MONITORED","monitor":true`, `"HARMLESS","allow":true`} {
		if a := g.json("POST", "/c/banks", `{"name":`+bank+`}`); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		name, _, _ := strings.Cut(strings.Trim(bank, `"`), `"`)
		g.json("POST", "/c/bank/"+name+"/signal", `{"pdq":"`+samples[0]+`"}`)
	}
	const query = "?bypass_coinflip=true&signal_type=pdq&signal="
	g.get("/m/raw_lookup"+query+samples[0]).want(t, 200, `{"matches":[1,2,3]}`+"\n")
	lookup := func(want string) {
		t.Helper()
		g.get("/m/lookup"+query+samples[0]).want(t, 200, want+"\n")
	}
	// The harmless picture is as near, and then not.
	lookup(`{}`)
	g.json("POST", "/c/banks", `{"name":"FAR","allow":true}`)
	g.json("POST", "/c/bank/FAR/signal", `{"pdq":"`+strings.Repeat("0", 2)+samples[0][2:]+`"}`)
	g.json("PUT", "/c/bank/HARMLESS", `{"enabled":false}`)
	lookup(`{"BLOCKS":[{"bank_content_id":1,"distance":"0"}]}`)
	// Alone it does not block, and what is in monitor does not agree.
	g.json("PUT", "/c/bank/BLOCKS", `{"agree":1}`)
	lookup(`{}`)
	g.json("PUT", "/c/bank/MONITORED", `{"monitor":false}`)
	lookup(`{"BLOCKS":[{"bank_content_id":1,"distance":"0"}],"MONITORED":[{"bank_content_id":2,"distance":"0"}]}`)
	// By MD5 a bank that blocks nothing by it is still told.
	const md5 = "d41d8cd98f00b204e9800998ecf8427e"
	g.json("POST", "/c/bank/BLOCKS/signal", `{"video_md5":"`+md5+`"}`)
	g.get("/m/lookup?bypass_coinflip=true&signal_type=video_md5&signal="+md5).want(t, 200, `{"BLOCKS":[{"bank_content_id":5,"distance":"-"}]}`+"\n")
}

// TestFilesAreLookedUpAsScansDecide: what blocks a file may be seen in its bytes alone.
func TestFilesAreLookedUpAsScansDecide(t *testing.T) {
	file := vector(t, "bridge-mods/aaa-orig.jpg")
	other := append(bytes.Clone(file), 0) // bytes that make no difference to the picture
	const none, named = `{"pdq":{}}`, `{"pdq":{"BLOCKS":[{"bank_content_id":1,"distance":"0"}]}}`
	for name, tt := range map[string]struct {
		blocks, harmless string // settings of banks that have the file
		allowed          []byte
		file             []byte
		want             string
	}{
		"banked":                       {blocks: `{}`, file: other, want: named},
		"exact bytes need nobody else": {blocks: `{"agree":1}`, file: file, want: named},
		"a picture needs another bank": {blocks: `{"agree":1}`, file: other, want: none},
		"exact bytes are not spared":   {blocks: `{}`, allowed: other, file: file, want: named},
		"a picture is spared":          {blocks: `{}`, allowed: other, file: other, want: none},
		"a bank is off":                {blocks: `{}`, allowed: other, harmless: `{"enabled":false}`, file: other, want: named},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, setup{})
			put := func(bank, settings string, content []byte) {
				t.Helper()
				g.json("POST", "/c/banks", `{"name":"`+bank+`"}`)
				if a := g.upload("/c/bank/"+bank+"/content", "photo", content); a.status != 200 {
					t.Fatalf("%d %s", a.status, a.body)
				}
				if a := g.json("PUT", "/c/bank/"+bank, settings); a.status != 200 {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
			put("BLOCKS", tt.blocks, file)
			if tt.allowed != nil {
				put("HARMLESS", `{"allow":true}`, tt.allowed)
			}
			if tt.harmless != "" {
				g.json("PUT", "/c/bank/HARMLESS", tt.harmless)
			}
			g.upload("/m/lookup?bypass_coinflip=true", "photo", tt.file).want(t, 200, tt.want+"\n")
			scan := g.send("POST", "/v1/scan", string(tt.file))
			if blocked := strings.Contains(scan.body, `"outcome":"blocked"`); scan.status != 200 || blocked != (tt.want == named) {
				t.Errorf("a scan says %d %s", scan.status, scan.body)
			}
		})
	}
}

// TestWhatWasNeverReadIsNotPromotedThroughTheAPI: all scans would wait for its source.
func TestWhatWasNeverReadIsNotPromotedThroughTheAPI(t *testing.T) {
	g := newGate(t, setup{})
	x := bank.Exchange{Name: "LIST", API: exchange.MatrixPolicyList, Config: "{}", Enabled: true, Bank: bank.Bank{Monitor: true, Breaker: 20}}
	if err := g.store.CreateExchange(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/c/exchange/LIST", "/c/bank/LIST"} {
		g.json("PUT", path, `{"monitor":false}`).want(t, 409, message("the exchange has not been read once, and cannot block before"))
	}
	if x, err := g.store.Exchange(t.Context(), "LIST"); err != nil || !x.Bank.Monitor {
		t.Errorf("it is promoted, %v", err)
	}
}
