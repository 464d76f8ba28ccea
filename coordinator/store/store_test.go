package store_test

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/statement"
)

func newDB(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Create(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// Links and signatures name cases by this id, on every machine and for ever.
func TestCaseIDStaysWhatItIs(t *testing.T) {
	id := store.NewCaseID(statement.Case{Channel: "core", Target: "pkg:generic/hello@1", Stage: "s"})
	if got := id.String(); got != "b1967e62140375cbb2082f949af85361" {
		t.Errorf("id %s", got)
	}
	other := store.NewCaseID(statement.Case{Channel: "core", Target: "pkg:generic/hello@", Stage: "1s"})
	if id == other {
		t.Error("two cases share an id")
	}
	if back, err := store.ParseCaseID(id.String()); err != nil || back != id {
		t.Errorf("read back: %s, %v", back, err)
	}
}

func TestCreateNeverTouchesAnExistingFile(t *testing.T) {
	db := newDB(t)
	if _, err := store.Create(db.Path()); err == nil {
		t.Error("an existing database is created anew")
	}
	if _, err := store.Open(filepath.Join(t.TempDir(), "missing.db")); err == nil {
		t.Error("a missing database is opened")
	}
}

// An observation read back is the one that was stored, votes included.
func TestObservationsRoundTrip(t *testing.T) {
	db := newDB(t)
	seq := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		seq++
		o := quorum.Observation{ID: digest(t, "id"), Payload: digest(t, "payload"), Operator: "o", Builder: "b", Seq: seq,
			Received: time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "received")).UTC(), Files: files(t)}
		id := store.NewCaseID(statement.Case{Target: rapid.String().Draw(t, "target"), Stage: o.ID.String()})
		var back []quorum.Observation
		err := db.Update(func(tx *store.Tx) (err error) {
			if _, err := tx.AddStatement(id, &o, o.Received, o.Received); err != nil {
				return err
			}
			back, err = tx.Observations(id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		got := back[len(back)-1]
		if got.ID != o.ID || got.Payload != o.Payload || got.Seq != o.Seq || !got.Received.Equal(o.Received) || len(got.Files) != len(o.Files) {
			t.Fatalf("got %+v, want %+v", got, o)
		}
		for i := range o.Files {
			if !reflect.DeepEqual(got.Files[i], o.Files[i]) {
				t.Fatalf("file %d: %+v, want %+v", i, got.Files[i], o.Files[i])
			}
		}
	})
}

func files(t *rapid.T) []quorum.File {
	list := make([]quorum.File, rapid.IntRange(0, 5).Draw(t, "files"))
	for i := range list {
		list[i] = quorum.File{Name: rapid.StringN(1, 300, 300).Draw(t, "name"), SHA256: digest(t, "sha256")}
		copy(list[i].SHA512[:], rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "sha512"))
		for range rapid.IntRange(0, 2).Draw(t, "signables") {
			list[i].Signables = append(list[i].Signables, quorum.SignableDigest{Name: rapid.String().Draw(t, "signable"), SHA256: digest(t, "sum")})
		}
	}
	return list
}

func digest(t *rapid.T, label string) (d statement.SHA256) {
	copy(d[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label))
	return d
}

func TestFailedUpdateLeavesNothing(t *testing.T) {
	db := newDB(t)
	m := store.Message{Seq: 1, Subject: "s", Received: time.Now(), Raw: []byte("x"), SHA256: statement.ID([]byte("x"))}
	err := db.Update(func(tx *store.Tx) error {
		if _, err := tx.AddMessage(&m); err != nil {
			return err
		}
		return store.ErrNotFound
	})
	if err != store.ErrNotFound {
		t.Fatal(err)
	}
	if n, _, err := db.Recorded(); n != 0 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
}

func TestRepetitionHasNoBytesOfItsOwn(t *testing.T) {
	db := newDB(t)
	m := store.Message{Seq: 1, Subject: "s", Received: time.Now(), Raw: []byte("x"), SHA256: statement.ID([]byte("x"))}
	for seq := uint64(1); seq <= 3; seq++ {
		m.Seq = seq
		err := db.Update(func(tx *store.Tx) error {
			isNew, err := tx.AddMessage(&m)
			if isNew != (seq == 1) {
				t.Errorf("message %d: new is %v", seq, isNew)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, err := db.Messages(0, 10, 1000); err != nil || len(list) != 1 {
		t.Errorf("%d messages, %v", len(list), err)
	}
	if back, err := db.MessageAt(3); err != nil || string(back.Raw) != "x" {
		t.Errorf("message 3 is %q, %v", back.Raw, err)
	}
}

// TestRejectedNamesTheirBytes: a digest that is stored is given as it is, so that a
// list costs no reading of the bytes; what stands on a foreign subject has none.
func TestRejectedNamesTheirBytes(t *testing.T) {
	db := newDB(t)
	stored := statement.SHA256{42} // is not that of the bytes, so that hashing shows
	err := db.Update(func(tx *store.Tx) error {
		if _, err := tx.AddMessage(&store.Message{Seq: 1, Subject: "s", Received: time.Now(), Raw: []byte("x"), SHA256: stored}); err != nil {
			return err
		}
		if err := tx.AddForeign(&store.Message{Seq: 2, Subject: "s", Received: time.Now(), Raw: []byte("y")}); err != nil {
			return err
		}
		if err := tx.Reject(1, "a", "first"); err != nil {
			return err
		}
		return tx.Reject(2, "b", "second")
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := db.Rejected(0, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if list[0].SHA256 != statement.ID([]byte("y")) || list[1].SHA256 != stored {
		t.Errorf("digests %s and %s", list[0].SHA256, list[1].SHA256)
	}
}
