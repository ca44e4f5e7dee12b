package exchange_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/exchange"
	"mediagate/internal/workertest"
	"mediagate/media"
)

const home = exchange.HomeserverExchange

// TestQuarantinedItemsAreMatched follows items of each kind into quarantine and
// out of it.
func TestQuarantinedItemsAreMatched(t *testing.T) {
	for name, postgres := range map[string]bool{"sqlite": false, "postgres": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.postgres = postgres
			photo, second, other, plain := picture(t, "formats/rgb.png"), picture(t, "png/q0122.png"), picture(t, "misc/wee.jpg"), text(1)
			b.add(local("photo"), photo)
			b.add(remote("second"), second)
			b.add(local("other"), other)
			b.add(remote("plain"), plain)
			b.edit(remote("second"), func(i *item) { i.digest = false }) // stored before 1.128
			b.start()
			b.settle() // nothing at all is a state, too
			if x := b.exchange(home); !x.Completed || x.Bank.Name != home {
				t.Errorf("%+v", x)
			}
			for _, uri := range []media.URI{local("photo"), remote("second"), remote("plain"), remote("never seen")} {
				b.quarantine(uri)
			}
			b.settle()
			if sources, _ := b.counts(home); sources != 3 {
				t.Errorf("%d items are banked, want 3", sources)
			}
			b.check("the photo", photo, "sha256 md5 pdq")
			b.check("a copy of it", reencoded(t, photo), "pdq")
			b.check("the remote picture", second, "sha256 md5 pdq")
			b.check("a copy of it", reencoded(t, second), "pdq")
			b.check("text", plain, "sha256 md5")
			b.check("what is not quarantined", other, "")

			for _, uri := range []media.URI{local("photo"), remote("second"), remote("plain")} {
				b.unquarantine(uri)
			}
			b.settle()
			for _, content := range [][]byte{photo, reencoded(t, photo), second, plain} {
				b.check("what was released", content, "")
			}
			if ix := b.index(); ix.Len(bank.SHA256)+ix.Len(bank.PDQ) != 0 {
				t.Errorf("%d contents stay", ix.Len(bank.SHA256))
			}
			b.quarantine(local("photo"))
			b.settle()
			b.check("the photo, once more", reencoded(t, photo), "pdq")
			if problem := b.problem(home); problem != "" {
				t.Error(problem)
			}
		})
	}
}

// TestBankedHashesAreExact: what is banked is never screened.
func TestBankedHashesAreExact(t *testing.T) {
	b := newBench(t)
	b.add(local("photo"), picture(t, "formats/rgb.png"))
	b.quarantine(local("photo"))
	b.start()
	b.settle()
	if n := b.index().Len(bank.PDQ); n != 1 {
		t.Errorf("%d hashes are banked", n)
	}
	if counts := workertest.Hashed(t, b.pool); len(counts) != 1 || counts["exact"] == 0 {
		t.Errorf("hashes are counted as %v", counts)
	}
}

// TestContentStaysUntilItsLastItemIsReleased has several items of the same bytes,
// some of them without a digest: those are released one by one.
func TestContentStaysUntilItsLastItemIsReleased(t *testing.T) {
	b := newBench(t)
	photo := picture(t, "formats/rgb.png")
	uris := []media.URI{local("a"), remote("b"), remote("old"), local("older")}
	for n, uri := range uris {
		b.add(uri, photo)
		b.edit(uri, func(i *item) { i.digest = n < 2 })
	}
	for _, uri := range uris[1:] {
		b.quarantine(uri)
	}
	b.start()
	b.settle()
	if sources, _ := b.counts(home); sources != 4 || b.index().Len(bank.SHA256) != 1 {
		t.Errorf("%d sources of %d contents, want 4 of 1", sources, b.index().Len(bank.SHA256))
	}
	for _, step := range []struct {
		released media.URI
		left     int
		found    string
	}{
		{remote("old"), 3, "sha256 md5 pdq"},
		{local("a"), 1, "sha256 md5 pdq"}, // and with it b, which has the same digest
		{local("older"), 0, ""},
	} {
		b.unquarantine(step.released)
		b.settle()
		if sources, _ := b.counts(home); sources != step.left {
			t.Errorf("without %s %d sources, want %d", step.released, sources, step.left)
		}
		b.check("without "+step.released.String()+" the photo", photo, step.found)
	}
}

// TestManyChangesAreReadInOneFetch has a fetcher that fetches once.
func TestManyChangesAreReadInOneFetch(t *testing.T) {
	b := newBench(t)
	const items = 350
	for n := range items {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	for n := range 10 {
		b.unquarantine(local(fmt.Sprint(n)))
	}
	b.config.Interval = time.Hour
	b.start()
	await(t, "a fetch has ended", func() bool {
		status, ok := b.fetcher.Status(home)
		return ok && status.Succeeded && status.UpToDate && status.Started.IsZero() && !status.Finished.IsZero()
	})
	if got := b.metric(fetchesMetric, "ok"); got != 1 {
		t.Errorf("%v fetches, want one", got)
	}
	if got := b.count("changes"); got != 5 {
		t.Errorf("%d requests for changes, want four pages and an empty one", got)
	}
	// The digests are there with the fetch itself, whatever is still to be downloaded.
	if sources, _ := b.counts(home); sources != items-10 {
		t.Errorf("%d sources, want %d", sources, items-10)
	}
	b.sync()
	for n := range items {
		exact := sha(text(n))
		if found := len(b.index().SHA256(exact[:])); found != map[bool]int{true: 1}[n >= 10] {
			t.Fatalf("item %d is found %d times", n, found)
		}
	}
	await(t, "downloads go on", func() bool { return b.index().Len(bank.MD5) >= 10 })
}

// TestRepetitionsCostNothing repeats what is known in every way that Synapse does.
func TestRepetitionsCostNothing(t *testing.T) {
	b := newBench(t)
	const items = 30
	for n := range items {
		b.add(local(fmt.Sprint(n)), text(n/2)) // in pairs
		b.quarantine(local(fmt.Sprint(n)))
	}
	b.start()
	b.settle()
	// Of two items of the same bytes both may be downloaded if none was yet.
	downloads, infos := b.count("downloads"), b.count("infos")
	if downloads < items/2 || downloads > items {
		t.Errorf("%d downloads", downloads)
	}
	for range 8 { // more than two pages
		b.storm()
	}
	b.quarantine(local("7")) // again, though it is
	b.settle()
	if b.count("downloads") != downloads || b.count("infos") != infos {
		t.Errorf("a storm costs %d downloads and %d questions", b.count("downloads")-downloads, b.count("infos")-infos)
	}
	if sources, _ := b.counts(home); sources != items || b.index().Len(bank.MD5) != items/2 {
		t.Errorf("%d sources of %d contents", sources, b.index().Len(bank.MD5))
	}
	// The same bytes under new names are asked about, and not downloaded.
	for n := range 5 {
		b.add(remote(fmt.Sprint(n)), text(n))
		b.quarantine(remote(fmt.Sprint(n)))
	}
	b.settle()
	if b.count("downloads") != downloads || b.count("infos") != infos+5 {
		t.Errorf("known bytes cost %d downloads and %d questions", b.count("downloads")-downloads, b.count("infos")-infos)
	}
	if sources, _ := b.counts(home); sources != items+5 || b.index().Len(bank.MD5) != items/2 {
		t.Errorf("%d sources of %d contents", sources, b.index().Len(bank.MD5))
	}
}

// TestRecordThatBecomesVisibleLateIsRead: the stream's numbers are given before
// their records are written, and an empty page may tell a higher one.
func TestRecordThatBecomesVisibleLateIsRead(t *testing.T) {
	b := newBench(t)
	b.add(local("a"), text(1))
	b.add(local("b"), text(2))
	b.quarantine(local("a"))
	b.start()
	await(t, "the stream is read", func() bool { sources, _ := b.counts(home); return sources == 1 })
	late := int64(0)
	b.change(func(st *state) {
		late = st.last + 1
		st.last += 3
	})
	fetches := b.metric(fetchesMetric, "ok")
	await(t, "empty pages are read", func() bool { return b.metric(fetchesMetric, "ok") >= fetches+3 })
	b.edit(local("b"), func(i *item) { i.quarantined = true })
	b.change(func(st *state) { st.stream = append(st.stream, record{late, b.recordOf(local("b"), true)}) })
	await(t, "the late record is read", func() bool { return b.found(text(2)) == "sha256 md5" })
}

// TestLastRecordHolds has items decided about several times within a page, and
// across pages.
func TestLastRecordHolds(t *testing.T) {
	b := newBench(t)
	for n := range 60 {
		b.add(local(fmt.Sprint(n)), text(n))
	}
	for round := range 5 {
		for n := range 60 {
			b.decide(local(fmt.Sprint(n)), (n+round)%2 == 0)
		}
	}
	b.start()
	b.settle()
	for n := range 60 {
		want := ""
		if n%2 == 0 {
			want = "sha256 md5"
		}
		b.check(fmt.Sprint("item ", n), text(n), want)
	}
}

// TestMalformedRecordsAreSkipped puts records that name no media among good ones.
func TestMalformedRecordsAreSkipped(t *testing.T) {
	b := newBench(t)
	b.add(local("a"), text(1))
	b.quarantine(local("a"))
	for _, raw := range []string{
		`{"origin":"","media_id":"x","quarantined":1}`,
		`{"origin":"h/../x","media_id":"y","quarantined":1}`,
		`{"origin":"h","media_id":"..","quarantined":1}`,
		`{"media_id":"y","quarantined":1}`,
		`{"origin":"h","media_id":"y"}`,
		`null`,
	} {
		b.change(func(st *state) { st.record(json.RawMessage(raw)) })
	}
	// Names that homeservers of long ago gave are no reason to look away.
	strange := media.URI{Server: "Strange_Host.test:8448", ID: "a b/ü?#%2F"}
	b.add(strange, text(2))
	b.quarantine(strange)
	b.start()
	b.settle()
	b.check("what came before", text(1), "sha256 md5")
	b.check("what came after, of a strange name", text(2), "sha256 md5")
	if got := b.metric(itemsMetric, "malformed"); got != 6 {
		t.Errorf("%v malformed records are counted, want 6", got)
	}
	if sources, _ := b.counts(home); sources != 2 {
		t.Errorf("%d sources", sources)
	}
	// A page of nothing else does not stop the stream.
	for range 150 {
		b.change(func(st *state) { st.record(json.RawMessage(`{}`)) })
	}
	b.unquarantine(strange)
	b.settle()
	b.check("what was released", text(2), "")
}

// TestPageIsNotPassedBeforeItsItemsAreKnown refuses to tell about the items of a
// page, and ends the fetcher at that.
func TestPageIsNotPassedBeforeItsItemsAreKnown(t *testing.T) {
	for name, f := range map[string]fault{"not authorised": unauthorized, "no admin": forbidden, "no answer": hanging} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.servers.FirstByteTimeout = time.Second
			for n := range 3 {
				b.add(local(fmt.Sprint(n)), text(n))
				b.quarantine(local(fmt.Sprint(n)))
			}
			b.edit(local("1"), func(i *item) { i.info = f })
			b.start()
			await(t, "the status says so", func() bool {
				status, ok := b.fetcher.Status(home)
				return ok && status.Problem != ""
			})
			for range 2 {
				if x := b.exchange(home); x.Checkpoint != "" || x.Completed {
					t.Errorf("%+v", x)
				}
				infos := b.count("infos")
				b.start()
				await(t, "it is asked about again", func() bool { return b.count("infos") > infos })
			}
			b.edit(local("1"), func(i *item) { i.info = healthy })
			b.settle()
			for n := range 3 {
				b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
			}
		})
	}
}

// TestStreamThatBeginsAgain restores an older copy of the homeserver's database.
func TestStreamThatBeginsAgain(t *testing.T) {
	b := newBench(t)
	b.config.Downloads = 2
	photo := picture(t, "formats/rgb.png")
	contents := map[string][]byte{"photo": photo, "wavering": text(1), "later": text(2), "released": text(3), "uploaded later": text(4), "deleted": text(5), "pending": text(6)}
	put := func(ids ...string) {
		for _, id := range ids {
			b.add(local(id), contents[id])
		}
	}
	put("photo", "wavering", "later", "released", "deleted", "pending")
	b.quarantine(local("photo"))
	b.quarantine(local("released"))
	b.quarantine(local("deleted"))
	// The stream will say again that this one was released, and later that it was not.
	b.quarantine(local("wavering"))
	b.unquarantine(local("wavering"))
	for n := range 150 { // what was there and is not any more: two pages lie between
		b.change(func(st *state) { st.record(b.recordOf(remote(fmt.Sprint(n)), true)) })
	}
	b.quarantine(local("wavering"))
	b.quarantine(local("pending"))
	b.edit(local("pending"), func(i *item) { i.download = badGateway })
	old := b.backup()
	b.quarantine(local("later"))
	b.unquarantine(local("released"))
	put("uploaded later")
	b.quarantine(local("uploaded later"))
	b.remove(local("deleted"))
	b.start()
	b.read(home, b.synapse)
	await(t, "all but one is finished", func() bool { _, pending := b.counts(home); return pending == 1 })
	b.sync()
	b.check("what is quarantined", contents["later"], "sha256 md5")
	b.check("what was released", contents["released"], "")

	// From now on nothing can be hashed that is not hashed already.
	old.items[local("wavering")].download = gone
	old.items[local("photo")].download = gone
	gaps := b.watch(contents["wavering"], photo)
	b.restore(old)
	b.read(home, b.synapse)
	await(t, "all but one is finished", func() bool { _, pending := b.counts(home); return pending == 1 })
	b.sync()
	if gaps() != 0 {
		t.Errorf("for a while something was not matched that was quarantined all the time")
	}
	b.check("the photo", reencoded(t, photo), "pdq")
	b.check("what was released once", contents["wavering"], "sha256 md5")
	b.check("what was quarantined after the copy was made", contents["later"], "")
	b.check("what was released after the copy was made", contents["released"], "sha256 md5")
	b.check("what the homeserver does not know any more", contents["uploaded later"], "sha256 md5")
	b.check("what is pending", contents["pending"], "sha256")
	if got := b.count("download " + local("later").String()); got != 1 {
		t.Errorf("known bytes are downloaded %d times", got)
	}
	// And it goes on from there.
	b.edit(local("pending"), func(i *item) { i.download = healthy })
	b.unquarantine(local("wavering"))
	b.quarantine(local("later"))
	b.settle()
	b.check("a release after that", contents["wavering"], "")
	b.check("a quarantine after that", contents["later"], "sha256 md5")
	b.check("what was pending", contents["pending"], "sha256 md5")
}

// watch looks at the index all the time, and counts how often a content is not
// found by its digest until the function that it returns is called.
func (b *bench) watch(contents ...[]byte) (gaps func() int) {
	stop, counted := make(chan struct{}), make(chan int)
	go func() {
		missing := 0
		for {
			select {
			case <-stop:
				counted <- missing
				return
			case <-time.After(time.Millisecond):
			}
			ix, err := b.live.Load()
			if err != nil {
				continue
			}
			for _, content := range contents {
				if exact := sha(content); len(ix.SHA256(exact[:])) == 0 {
					missing++
				}
			}
		}
	}()
	return func() int {
		close(stop)
		return <-counted
	}
}

// TestStreamOfAnotherServerIsReadFromItsBeginning points the exchange at a server
// that has seen less, and nothing of what is banked.
func TestStreamOfAnotherServerIsReadFromItsBeginning(t *testing.T) {
	b := newBench(t)
	for n := range 5 {
		b.add(local(fmt.Sprint(n)), text(n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	b.start()
	b.settle()
	b.restore(state{items: map[media.URI]*item{}, last: 1})
	await(t, "the checkpoint is the beginning", func() bool { return b.exchange(home).Checkpoint == `{"from_id":0}` })
	b.add(local("new"), text(9))
	b.quarantine(local("new"))
	b.settle()
	for n := range 5 {
		b.check("what the server does not know", text(n), "sha256 md5")
	}
	b.check("what it knows", text(9), "sha256 md5")
}

// TestOldAnswerDoesNotUndoANewDecision lets the homeserver's answer that an item
// is not quarantined arrive after the item was quarantined again.
func TestOldAnswerDoesNotUndoANewDecision(t *testing.T) {
	b := newBench(t)
	uri := remote("a")
	b.add(uri, text(1))
	b.edit(uri, func(i *item) { i.download = badGateway })
	b.quarantine(uri)
	b.start()
	b.read(home, b.synapse)
	release := b.hold() // no page is read before both decisions are made
	answers := make(chan struct{})
	b.edit(uri, func(i *item) { i.quarantined, i.infoHeld = false, answers })
	b.change(func(st *state) { st.record(b.recordOf(uri, false)) })
	await(t, "the homeserver is asked about the item", func() bool { return b.count("held infos") > 0 })
	b.edit(uri, func(i *item) { i.infoHeld = nil })
	b.quarantine(uri)
	release()
	asked := b.count("infos")
	if _, pending := b.counts(home); pending != 1 {
		t.Errorf("%d pending", pending)
	}
	if x := b.exchange(home); x.Checkpoint != "" { // the page may wait for the answer, or not
		t.Logf("checkpoint %s", x.Checkpoint)
	}
	await(t, "the page is read", func() bool { return b.exchange(home).Checkpoint == `{"from_id":4}` })
	close(answers)
	await(t, "the homeserver is asked again", func() bool { return b.count("infos") > asked })
	b.edit(uri, func(i *item) { i.download = healthy })
	b.settle()
	b.check("the item", text(1), "sha256 md5")
}

// TestQuickChangesOfMindEndInTheLastOne releases items and quarantines them again
// in quick succession, while they are being tried.
func TestQuickChangesOfMindEndInTheLastOne(t *testing.T) {
	b := newBench(t)
	b.config.Interval = 10 * time.Millisecond
	const items = 6
	for n := range items {
		b.add(remote(fmt.Sprint(n)), text(n))
		b.edit(remote(fmt.Sprint(n)), func(i *item) { i.download, i.digest = badGateway, n%2 == 0 })
		b.quarantine(remote(fmt.Sprint(n)))
	}
	b.start()
	for round := range 40 {
		for n := range items {
			b.unquarantine(remote(fmt.Sprint(n)))
			if (round+n)%4 == 0 {
				time.Sleep(time.Millisecond)
			}
			b.quarantine(remote(fmt.Sprint(n)))
		}
		time.Sleep(5 * time.Millisecond)
		b.read(home, b.synapse)
	}
	for n := range items {
		b.edit(remote(fmt.Sprint(n)), func(i *item) { i.download = healthy })
	}
	b.settle()
	for n := range items {
		b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
	}
}
