package exchange_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mediagate/bank"
	"mediagate/media"
)

// TestItemThatCannotBeHadHoldsNothingElseUp has one item whose download fails in
// each way there is, for as long as it takes. It is banked by its digest, pending,
// and visible as that; all else goes on; and when its server is back it is hashed.
func TestItemThatCannotBeHadHoldsNothingElseUp(t *testing.T) {
	for name, f := range map[string]fault{
		"hanging": hanging, "slow": slow, "cut off": cut, "bad gateway": badGateway, "failing": failing, "limited": limited,
		"denied": forbidden, "a page": page, "a page as 404": unfound, "other bytes": otherBytes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.servers.FirstByteTimeout, b.servers.RateWindow = 2*time.Second, 2*time.Second
			b.config.Downloads = 2
			photo := picture(t, "formats/rgb.png")
			b.add(remote("bad"), photo)
			b.edit(remote("bad"), func(i *item) { i.download = f })
			b.quarantine(remote("bad"))
			for n := range 5 {
				b.add(local(fmt.Sprint(n)), text(n))
				b.quarantine(local(fmt.Sprint(n)))
			}
			b.start()
			await(t, "all others are hashed", func() bool {
				ix := b.index()
				return ix.Len(bank.SHA256) == 6 && ix.Len(bank.MD5) == 5
			})
			await(t, "the exchange has been through once", func() bool { return b.exchange(home).Completed })
			b.sync()
			if got := b.index().Awaiting(); len(got) != 0 {
				t.Errorf("awaiting %v", got)
			}
			b.check("the item", photo, "sha256")
			b.check("a copy of it", reencoded(t, photo), "")
			if sources, pending := b.counts(home); sources != 6 || pending != 1 {
				t.Errorf("%d sources, %d pending", sources, pending)
			}
			if problem := b.problem(home); problem != "" {
				t.Errorf("the exchange as a whole is in trouble: %s", problem)
			}
			// It is tried again and again, and tells why in vain.
			before := b.count("download " + remote("bad").String())
			await(t, "it is tried twice more", func() bool { return b.count("download "+remote("bad").String()) >= before+2 })
			list, err := b.store.Pending(t.Context(), home, time.Now().Add(time.Hour), 10)
			if err != nil || len(list) != 1 || list[0].Attempts == 0 || list[0].Problem == "" || time.Since(list[0].Since) > time.Hour {
				t.Errorf("%+v, %v", list, err)
			}
			// Meanwhile the next quarantine, and the end of one, take effect.
			b.add(local("next"), text(100))
			b.quarantine(local("next"))
			b.unquarantine(local("0"))
			await(t, "the next item is hashed", func() bool { return b.found(text(100)) == "sha256 md5" })
			b.check("what was released meanwhile", text(0), "")

			b.edit(remote("bad"), func(i *item) { i.download = healthy })
			b.settle()
			b.check("the item", photo, "sha256 md5 pdq")
			b.check("a copy of it", reencoded(t, photo), "pdq")
		})
	}
}

// TestItemsTriedBeforeLeaveAPlaceForNewOnes has more items of a server that hangs
// than there are downloads at once, and keeps them hanging.
func TestItemsTriedBeforeLeaveAPlaceForNewOnes(t *testing.T) {
	b := newBench(t)
	b.config.Downloads = 3
	const dead = 6
	for n := range dead {
		uri := remote(fmt.Sprint(n))
		b.add(uri, text(n))
		b.edit(uri, func(i *item) { i.download = badGateway })
		b.quarantine(uri)
	}
	b.start()
	await(t, "all have been tried", func() bool { return b.metric(itemsMetric, "failed") >= dead && b.exchange(home).Completed })
	for n := range dead {
		b.edit(remote(fmt.Sprint(n)), func(i *item) { i.held = make(chan struct{}) })
	}
	await(t, "all places but one are taken", func() bool { return b.count("held downloads") >= b.config.Downloads-1 })
	fetches := b.metric(fetchesMetric, "ok")
	await(t, "some time goes by", func() bool { return b.metric(fetchesMetric, "ok") >= fetches+5 })
	for n := range 10 {
		b.add(local(fmt.Sprint(n)), text(100+n))
		b.quarantine(local(fmt.Sprint(n)))
	}
	await(t, "all new items are hashed", func() bool { return b.index().Len(bank.MD5) == 10 })
	if got := b.count("held downloads"); got != b.config.Downloads-1 {
		t.Errorf("%d downloads hang", got)
	}
	if sources, pending := b.counts(home); sources != dead+10 || pending != dead {
		t.Errorf("%d sources, %d pending", sources, pending)
	}
}

// TestDigestIsBankedAsSoonAsItIsKnown: at first not even the homeserver's database
// answers about an item, and then its file cannot be had.
func TestDigestIsBankedAsSoonAsItIsKnown(t *testing.T) {
	for name, f := range map[string]fault{"failing": failing, "limited": limited, "a page": page, "a page as 404": unfound, "cut off": cut} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for _, id := range []string{"a", "b"} {
				b.add(remote(id), text(int(id[0])))
				b.edit(remote(id), func(i *item) { i.info, i.download = f, badGateway })
				b.quarantine(remote(id))
			}
			b.add(local("c"), text(3))
			b.quarantine(local("c"))
			b.start()
			b.read(home, b.synapse)
			await(t, "the other item is hashed", func() bool { return b.found(text(3)) == "sha256 md5" })
			if sources, pending := b.counts(home); sources != 1 || pending != 2 {
				t.Errorf("%d sources, %d pending, want one and two", sources, pending)
			}
			for _, id := range []string{"a", "b"} {
				b.edit(remote(id), func(i *item) { i.info = healthy })
			}
			await(t, "the digests are banked", func() bool { return b.index().Len(bank.SHA256) == 3 && b.exchange(home).Completed })
			if _, pending := b.counts(home); pending != 2 {
				t.Errorf("%d pending, want two that are not downloaded yet", pending)
			}
			epoch := b.epoch()
			tried := b.count("download " + remote("a").String())
			await(t, "it is tried three times more", func() bool { return b.count("download "+remote("a").String()) >= tried+3 })
			if b.epoch() != epoch {
				t.Error("attempts in vain make new epochs")
			}
			b.unquarantine(remote("a"))
			b.edit(remote("b"), func(i *item) { i.download = healthy })
			b.settle()
			b.check("what was released", text('a'), "")
			b.check("what could be had at last", text('b'), "sha256 md5")
		})
	}
}

func (b *bench) epoch() int64 {
	b.t.Helper()
	epoch, err := b.store.Epoch(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return epoch
}

// TestBytesThatAreGoneLeaveTheirDigest: what is not there is asked for some times
// more, and then not waited for.
func TestBytesThatAreGoneLeaveTheirDigest(t *testing.T) {
	b := newBench(t)
	for n, id := range []string{"file gone", "file gone, no digest", "row gone", "fine", "away"} {
		b.add(local(id), text(n))
		b.quarantine(local(id))
	}
	b.edit(local("away"), func(i *item) { i.download = gone })
	b.edit(local("file gone"), func(i *item) { i.download = gone })
	b.edit(local("file gone, no digest"), func(i *item) { i.download, i.digest = gone, false })
	b.remove(local("row gone"))
	b.start()
	await(t, "what is away is asked for again", func() bool { return b.count("download "+local("away").String()) >= 3 })
	b.edit(local("away"), func(i *item) { i.download = healthy })
	b.settle()
	b.check("bytes that came back", text(4), "sha256 md5")
	b.check("bytes that are gone", text(0), "sha256")
	b.check("bytes that are gone, without a digest", text(1), "")
	b.check("what is gone as a whole", text(2), "")
	b.check("what is there", text(3), "sha256 md5")
	if sources, pending := b.counts(home); sources != 3 || pending != 0 {
		t.Errorf("%d sources, %d pending", sources, pending)
	}
	if x := b.exchange(home); !x.Completed {
		t.Errorf("%+v", x)
	}
	// What goes after it was banked stays.
	b.remove(local("fine"))
	b.storm()
	b.settle()
	b.check("what was there", text(3), "sha256 md5")
}

// TestTooLargeItemsLeaveTheirDigest has an item of more bytes than are read.
func TestTooLargeItemsLeaveTheirDigest(t *testing.T) {
	b := newBench(t)
	large := make([]byte, b.pool.MaxBytes()+1)
	b.add(remote("large"), large)
	b.quarantine(remote("large"))
	b.start()
	b.settle()
	exact := sha(large)
	if got := b.index().SHA256(exact[:]); len(got) != 1 || b.index().Len(bank.MD5) != 0 {
		t.Errorf("%v, and %d of its MD5", got, b.index().Len(bank.MD5))
	}
	if got := b.metric(itemsMetric, "exact"); got != 1 {
		t.Errorf("%v items known by their digest alone, want 1", got)
	}
}

// TestReleaseOvertakesDownload releases an item while its bytes are on their way,
// and while its homeserver is being asked about it.
func TestReleaseOvertakesDownload(t *testing.T) {
	for name, digest := range map[string]bool{"with a digest": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			uri, held := remote("a"), make(chan struct{})
			b.add(uri, text(1))
			b.edit(uri, func(i *item) { i.held, i.digest = held, digest })
			b.quarantine(uri)
			b.start()
			await(t, "the download has begun", func() bool { return b.count("download "+uri.String()) == 1 })
			b.sync()
			b.check("the item", text(1), map[bool]string{true: "sha256"}[digest])
			b.unquarantine(uri)
			b.read(home, b.synapse)
			b.sync()
			b.check("the released item", text(1), "")
			close(held)
			await(t, "the download has ended", func() bool { return b.metric(itemsMetric, "hashed") == 1 })
			b.add(local("next"), text(2))
			b.quarantine(local("next"))
			b.settle() // what the download has found would be there before this
			b.check("the released item", text(1), "")
			b.check("another item", text(2), "sha256 md5")
			if sources, pending := b.counts(home); sources != 1 || pending != 0 {
				t.Errorf("%d sources, %d pending", sources, pending)
			}
		})
	}
}

// TestReleaseTakesBackWhatArrivesBesideIt lets a download end after its release was
// read, and before that is committed.
func TestReleaseTakesBackWhatArrivesBesideIt(t *testing.T) {
	b := newBench(t)
	released, other := remote("a"), remote("b")
	download, answers := make(chan struct{}), make(chan struct{})
	b.add(released, text(1))
	b.edit(released, func(i *item) { i.digest, i.held = false, download })
	b.quarantine(released)
	b.add(other, text(2))
	b.edit(other, func(i *item) { i.infoHeld = answers })
	b.start()
	await(t, "the download has begun", func() bool { return b.count("downloads") == 1 })
	both := b.hold() // both decisions are on one page
	b.unquarantine(released)
	b.quarantine(other)
	both()
	await(t, "the page is being worked on", func() bool { return b.count("held infos") == 1 })
	close(download)
	await(t, "the download is banked", func() bool { sources, _ := b.counts(home); return sources == 1 })
	close(answers)
	b.settle()
	b.check("what was released", text(1), "")
	b.check("the other item", text(2), "sha256 md5")
}

// TestCompletedNeedsALookAtEachItem: the exchange has not been through while an
// item is being downloaded for the first time.
func TestCompletedNeedsALookAtEachItem(t *testing.T) {
	for name, outcome := range map[string]fault{"hashed": healthy, "failed": badGateway} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			held := make(chan struct{})
			b.add(remote("a"), text(1))
			b.edit(remote("a"), func(i *item) { i.held, i.download = held, outcome })
			b.quarantine(remote("a"))
			b.start()
			b.read(home, b.synapse)
			fetches := b.metric(fetchesMetric, "ok")
			await(t, "it is fetched three times more", func() bool { return b.metric(fetchesMetric, "ok") >= fetches+3 })
			b.sync()
			if got := b.index().Awaiting(); b.exchange(home).Completed || !slices.Equal(got, []string{home}) {
				t.Errorf("completed: %v, awaiting %v", b.exchange(home).Completed, got)
			}
			close(held)
			await(t, "the exchange has been through", func() bool { return b.exchange(home).Completed })
			b.sync()
			if got := b.index().Awaiting(); len(got) != 0 {
				t.Errorf("awaiting %v", got)
			}
			// Once it has, it has: a new item does not take that back.
			b.add(local("b"), text(2))
			b.edit(local("b"), func(i *item) { i.download = badGateway })
			b.quarantine(local("b"))
			b.read(home, b.synapse)
			if !b.exchange(home).Completed {
				t.Error("completed no more")
			}
		})
	}
}

// TestOutageIsWaitedOut takes the homeserver away while items are pending. They
// are not marked as tried for that, nor is the store written all the time.
func TestOutageIsWaitedOut(t *testing.T) {
	for name, outage := range map[string]struct{ begin, end func(*bench) }{
		"no connection": {func(b *bench) { b.down() }, func(b *bench) { b.up() }},
		"token refused": {func(b *bench) { b.breakAll(unauthorized) }, func(b *bench) { b.breakAll(healthy) }},
		"no admin":      {func(b *bench) { b.breakAll(forbidden) }, func(b *bench) { b.breakAll(healthy) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for n := range 4 {
				uri := remote(fmt.Sprint(n))
				b.add(uri, text(n))
				b.edit(uri, func(i *item) { i.download = badGateway })
				b.quarantine(uri)
			}
			b.start()
			await(t, "all have been tried", func() bool {
				_, pending := b.counts(home)
				return pending == 4 && b.exchange(home).Completed
			})
			outage.begin(b)
			await(t, "the status says so", func() bool { return b.problem(home) != "" })
			failed := b.metric(itemsMetric, "failed")
			await(t, "the pending are tried in vain", func() bool { return b.metric(itemsMetric, "failed") >= failed+8 })
			list, err := b.store.Pending(t.Context(), home, time.Now().Add(time.Hour), 10)
			if err != nil || len(list) != 4 {
				t.Fatalf("%+v, %v", list, err)
			}
			failed = b.metric(itemsMetric, "failed")
			await(t, "and once more", func() bool { return b.metric(itemsMetric, "failed") >= failed+8 })
			again, err := b.store.Pending(t.Context(), home, time.Now().Add(time.Hour), 10)
			if err != nil || len(again) != 4 {
				t.Fatalf("%+v, %v", again, err)
			}
			for n := range list {
				if again[n] != list[n] {
					t.Errorf("the outage is written down with an item: %+v, was %+v", again[n], list[n])
				}
			}
			for n := range 4 {
				b.edit(remote(fmt.Sprint(n)), func(i *item) { i.download = healthy })
			}
			outage.end(b)
			b.settle()
			for n := range 4 {
				b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
			}
		})
	}
}

// TestFetcherEndsInTheMiddleOfADownload ends it while all places are taken.
func TestFetcherEndsInTheMiddleOfADownload(t *testing.T) {
	b := newBench(t)
	var uris []media.URI
	for n := range 8 {
		uri := remote(fmt.Sprint(n))
		uris = append(uris, uri)
		b.add(uri, text(n))
		b.edit(uri, func(i *item) { i.held = make(chan struct{}) })
		b.quarantine(uri)
	}
	b.start()
	await(t, "all places are taken", func() bool { return b.count("downloads") == b.config.Downloads })
	b.stop()
	if sources, pending := b.counts(home); sources != 8 || pending != 8 {
		t.Errorf("%d sources, %d pending, want all of both", sources, pending)
	}
	if strings.Contains(b.log.String(), "canceled") {
		t.Errorf("the end is logged as a failure: %s", b.log)
	}
	for _, uri := range uris {
		b.edit(uri, func(i *item) { i.held = nil })
	}
	b.start()
	b.settle()
	for n := range 8 {
		b.check(fmt.Sprint("item ", n), text(n), "sha256 md5")
	}
}
