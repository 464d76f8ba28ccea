package narinfo_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/narinfo"
	"quorate/quorum/statement"
)

// hash is the NarHash of a real file in all its forms.
var hash = []string{
	"sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6",
	"sha256:c6e155b3456e30b7612263ec095070811caf8abfd59faa72ab82a592efdeb253",
	"sha256:xuFVs0VuMLdhImPsCVBwgRyvir/Vn6pyq4Klku/eslM=",
	"sha256-xuFVs0VuMLdhImPsCVBwgRyvir/Vn6pyq4Klku/eslM=",
}

const (
	base  = "00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60"
	refA  = "7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27"
	refB  = "5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0"
	cover = "1;/nix/store/" + base + ";sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6;464152;/nix/store/" + refB + ",/nix/store/" + refA
)

func file(narHash, sigs string) string {
	return "StorePath: /nix/store/" + base + "\nURL: nar/x.nar.xz\nCompression: xz\nNarHash: " + narHash +
		"\nNarSize: 464152\nReferences: " + refA + " " + refB + "\n" + sigs
}

func read(body string, keys ...evidence.Key) (*evidence.Statement, error) {
	return narinfo.Read(evidence.Bundle{Kind: evidence.NarInfo, Body: []byte(body)}, keys, time.Time{})
}

// newKey makes a fixed key: the workers of a fuzz test must know the key that
// signed the seeds.
func newKey(t testing.TB) (evidence.Key, string) {
	t.Helper()
	priv := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	pub := priv.Public().(ed25519.PublicKey)
	_, key, err := narinfo.ParseKey("cache-1:" + base64.StdEncoding.EncodeToString(pub) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return key, "cache-1:" + base64.StdEncoding.EncodeToString(ed25519.Sign(priv, []byte(cover)))
}

func TestSignatures(t *testing.T) {
	key, sig := newKey(t)
	for _, h := range hash {
		s, err := read(file(h, "Sig: "+sig+"\nSig: "+sig+"\n"), key)
		if err != nil {
			t.Errorf("%s: %v", h, err)
			continue
		}
		if got := s.Accepted(evidence.Accept{}); len(s.Verdicts) != 2 || len(got) != 1 || s.Verdicts[0].Hint != "cache-1" {
			t.Errorf("%s: accepted %v of %+v", h, got, s.Verdicts)
		}
		if a := s.Artifacts[0]; a.Name != base || *a.Size != 464152 || "sha256:"+a.SHA256.String() != hash[1] {
			t.Errorf("artifact %+v", a)
		}
	}
	for name, body := range map[string]string{
		"store path": strings.Replace(file(hash[0], "Sig: "+sig), "net-tools", "net-fools", 1),
		"store":      strings.Replace(file(hash[0], "Sig: "+sig), "/nix/store", "/gnu/store", 1),
		"size":       strings.Replace(file(hash[0], "Sig: "+sig), "464152", "464153", 1),
		"reference":  strings.Replace(file(hash[0], "Sig: "+sig), " "+refB, "", 1),
	} {
		if s, err := read(body, key); err != nil || len(s.Accepted(evidence.Accept{})) != 0 {
			t.Errorf("another %s: %+v %v", name, s, err)
		}
	}
	if s, err := read(strings.Replace(file(hash[0], "Sig: "+sig), "x.nar.xz", "y.nar.xz", 1), key); err != nil || len(s.Accepted(evidence.Accept{})) != 1 {
		t.Errorf("the URL is not signed: %+v %v", s, err)
	}
}

func TestParseHash(t *testing.T) {
	sum := sha256.Sum256(nil)
	for _, text := range []string{"sha256:" + hex.EncodeToString(sum[:]), "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		"sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"} {
		if got, err := narinfo.ParseHash(text); err != nil || got != statement.SHA256(sum) {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sha256:", "md5:00", hash[0][:len(hash[0])-1], "sha256:z" + strings.Repeat("z", 51),
		"sha256:" + strings.Repeat("e", 52), "sha256-" + hash[1][7:], "sha1-xt1rmljgTstBkgP3ooBIw3wL9Gw=", strings.ToUpper(hash[0])} {
		if got, err := narinfo.ParseHash(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestRefused(t *testing.T) {
	_, sig := newKey(t)
	good := file(hash[0], "Sig: "+sig+"\n")
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, tt := range map[string]struct{ body, field string }{
		"no store path":     {replace("StorePath", "StorageP"), "StorePath"},
		"relative":          {replace("/nix/store/", "nix/store/"), "StorePath"},
		"parent":            {replace("/nix/store/", "/nix/../store/"), "StorePath"},
		"short hash part":   {replace("00bgd045", "0bgd045"), "StorePath"},
		"hash":              {replace("sha256:", "sha512:"), "NarHash"},
		"size zero":         {replace("464152", "0"), "NarSize"},
		"size with zero":    {replace("464152", "0464152"), "NarSize"},
		"reference":         {replace("References: ", "References: x "), "References"},
		"reference twice":   {replace("References: ", "References: "+refA+" "), "References"},
		"field twice":       {replace("URL:", "NarSize: 1\nURL:"), "line 6"},
		"not a line":        {replace("URL:", "URL"), "line 2"},
		"carriage return":   {replace("\n", "\r\n"), "line 1"},
		"signature":         {replace("Sig: cache-1:", "Sig: cache-1:AA"), "Sig line 1"},
		"signature, name":   {replace("Sig: cache-1:", "Sig: "), "Sig line 1"},
		"Guix":              {replace("Sig: ", "Signature: "), "Signature"},
		"many signatures":   {good + strings.Repeat("Sig: "+sig+"\n", 64), "Sig"},
		"too large":         {strings.Repeat("a", narinfo.MaxSize+1), "body"},
		"empty line inside": {replace("URL", "\nURL"), "line 2"},
	} {
		_, err := read(tt.body)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: %v, want an error in %q", name, err, tt.field)
		}
	}
	for _, text := range []string{"", "cache-1", "cache-1:AAAA", ":" + sig} {
		if _, _, err := narinfo.ParseKey(text); err == nil {
			t.Errorf("key %q is accepted", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	key, sig := newKey(f)
	f.Add(file(hash[0], "Sig: "+sig))
	f.Add(file(hash[3], "Sig: "+sig+"\nSig: "+sig))
	f.Fuzz(func(t *testing.T, body string) {
		s, err := read(body, key)
		if err != nil || len(s.Accepted(evidence.Accept{})) == 0 {
			return
		}
		if a := s.Artifacts[0]; a.Name != base || *a.Size != 464152 || "sha256:"+a.SHA256.String() != hash[1] {
			t.Errorf("accepted %+v", a)
		}
	})
}
