package ledger_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/quorum"
	"quorate/quorum/statement"
)

func signable(name string, value byte) quorum.SignableDigest {
	return quorum.SignableDigest{Name: name, SHA256: statement.SHA256{value}}
}

// TestCommitSignables: each name of a signable is bound to the first value, and
// what is refused binds nothing.
func TestCommitSignables(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	first, later := commitment("hello", 1), commitment("hello", 1)
	later.At, later.Request = at.Add(time.Hour), statement.SHA256{10}
	check(t, l.Commit(t.Context(), first))
	check(t, l.Commit(t.Context(), later, signable("text", 1)))
	check(t, l.Commit(t.Context(), first, signable("text", 1))) // again is fine
	wantOther := func(list ...quorum.SignableDigest) {
		t.Helper()
		var other *ledger.OtherDigestError
		err := l.Commit(t.Context(), first, list...)
		if !errors.As(err, &other) || other.What != "text" || other.Bound != signable("", 1).SHA256.String() ||
			other.Asked != signable("", 2).SHA256.String() || !other.At.Equal(later.At) {
			t.Fatalf("got %v", err)
		}
	}
	wantOther(signable("text", 2))
	wantOther(signable("other", 5), signable("text", 2))
	check(t, l.Commit(t.Context(), first, signable("other", 6), signable("text", 1)))
	check(t, l.Commit(t.Context(), commitment("hello2", 1), signable("text", 2)))
	check(t, l.Close())
	l = open(t, path)
	wantOther(signable("text", 2))
}

// TestCommitSignablesAtOnce has several connections race for one text.
func TestCommitSignablesAtOnce(t *testing.T) {
	path := newPath(t)
	won := make(chan byte, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		l := open(t, path)
		wg.Go(func() {
			var other *ledger.OtherDigestError
			switch err := l.Commit(t.Context(), commitment("hello", 1), signable("text", byte(i))); {
			case err == nil:
				won <- byte(i)
			case !errors.As(err, &other):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d texts won", len(won))
	}
}
