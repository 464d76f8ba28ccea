package evidence_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/buildinfo"
	"quorate/quorum/evidence/kinds"
	"quorate/quorum/evidence/link"
	"quorate/quorum/evidence/narinfo"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/evidence/rebuilderd"
	"quorate/quorum/evidence/slsa"
	"quorate/quorum/statement"
)

func statuses(s *evidence.Statement) string {
	var out []string
	for _, v := range s.Verdicts {
		out = append(out, string(v.Status))
	}
	return strings.Join(out, " ")
}

func pemKey(t *testing.T, path ...string) evidence.Key {
	t.Helper()
	k, err := evidence.ParseKeyPEM(read(t, path...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRebuilderdData(t *testing.T) {
	dir := dataDir(t, "rebuilderd-attestation")
	arch := pemKey(t, dir, "reproducible-archlinux.pub")
	a, b, c := pemKey(t, dir, "three-keys-A.pub"), pemKey(t, dir, "three-keys-B.pub"), pemKey(t, dir, "three-keys-C.pub")
	all := []evidence.Key{arch, a, b, c}
	for file, want := range map[string]struct {
		verdicts string
		accepted []string
	}{
		"filesystem-2025.10.12-1-any.in-toto.link":         {"no-key good", []string{arch.String()}},
		"filesystem-2025.10.12-1-any.INVALID.in-toto.link": {"no-key bad", nil},
		"three-keys-one-digest-1.in-toto.link":             {"good", []string{a.String()}},
		"three-keys-one-digest-2.in-toto.link":             {"good", []string{b.String()}},
		"three-keys-one-digest-3.in-toto.link":             {"good", []string{c.String()}},
		"three-keys-one-digest-4.in-toto.link":             {"good", []string{c.String()}},
	} {
		s, err := rebuilderd.Read(evidence.Bundle{Kind: evidence.Rebuilderd, Body: read(t, dir, file)}, all, judged)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got := statuses(s); got != want.verdicts {
			t.Errorf("%s: verdicts %q, want %q", file, got, want.verdicts)
		}
		if got := s.Accepted(evidence.Accept{}); !slices.Equal(got, want.accepted) {
			t.Errorf("%s: accepted %v, want %v", file, got, want.accepted)
		}
	}
}

func TestRebuilderdMaterialIsProduct(t *testing.T) {
	dir := dataDir(t, "rebuilderd-attestation")
	s, err := rebuilderd.Read(evidence.Bundle{Kind: evidence.Rebuilderd, Body: read(t, dir, "filesystem-2025.10.12-1-any.in-toto.link")}, nil, judged)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Artifacts) != 1 || s.Artifacts[0].SHA512 == (statement.SHA512{}) || s.Subject != "rebuild filesystem-2025.10.12-1-any.pkg.tar.zst" {
		t.Errorf("read as %+v", s)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Msg, "is also the product") {
		t.Errorf("warnings %v", s.Warnings)
	}
	id, ok := rebuilderd.KeyID(pemKey(t, dir, "reproducible-archlinux.pub"))
	if want := s.Verdicts[1].Hint; !ok || id != want {
		t.Errorf("key id %s, want %s", id, want)
	}
}

func TestBuildInfoData(t *testing.T) {
	dir := dataDir(t, "debian-buildinfo")
	file := read(t, dir, "qubes-debian-r4.asc")
	fpr, err := openpgp.Identify(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := openpgp.ParseKey(fpr, file)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := openpgp.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		verdicts, subject, last string
		artifacts, inputs       int
	}{
		"qubes-dnf_4.5.2-1+deb11u1_amd64.buildinfo":          {"good", "dnf 4.5.2-1+deb11u1 all source", "zlib1g", 8, 289},
		"0xffff_0.8-1+b1_amd64.buildinfo":                    {"no-key", "0xffff (0.8-1) 0.8-1+b1 amd64", "zlib1g", 2, 140},
		"dbgsym-with-source-version_2021.01_amd64.buildinfo": {"", "dbgsym-with-source-version 2021.01 amd64 source", "zlib1g", 3, 154},
	} {
		s, err := buildinfo.Read(evidence.Bundle{Kind: evidence.BuildInfo, Body: read(t, dir, name)}, ring, judged)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := statuses(s); got != want.verdicts || s.Subject != want.subject {
			t.Errorf("%s: %q %q, want %+v", name, got, s.Subject, want)
		}
		if len(s.Artifacts) != want.artifacts || len(s.Inputs) != want.inputs || s.Inputs[len(s.Inputs)-1].Name != want.last {
			t.Errorf("%s: %d artifacts, %d inputs, want %+v", name, len(s.Artifacts), len(s.Inputs), want)
		}
		if s.Built.IsZero() || s.Artifacts[0].Size == nil || !slices.ContainsFunc(s.Environment, func(v evidence.Var) bool { return v.Name == "SOURCE_DATE_EPOCH" }) {
			t.Errorf("%s: built %v, environment %v", name, s.Built, s.Environment)
		}
	}
}

func TestLinkData(t *testing.T) {
	dir := dataDir(t, "in-toto-link-gpg")
	layout, err := link.ReadLayout(read(t, dir, "test.layout"), nil, judged)
	if err != nil {
		t.Fatal(err)
	}
	if len(layout.Steps) != 1 || layout.Steps[0].Threshold != 2 || len(layout.Verdicts) != 1 || layout.Verdicts[0].Status != evidence.NoKey {
		t.Errorf("layout read as %+v", layout)
	}
	ring, err := layout.Ring("rebuild")
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]bool{}
	for _, file := range []string{"rebuild.5863835e.link", "rebuild.e946fc60.link"} {
		b := evidence.Bundle{Kind: evidence.Link, Body: read(t, dir, file)}
		s, err := link.Read(b, ring, judged)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Accepted(evidence.Accept{}) {
			accepted[k] = true
		}
		b.Body = bytes.Replace(b.Body, []byte("95b066f5"), []byte("95b066f6"), 1)
		if s, err = link.Read(b, ring, judged); err != nil || statuses(s) != "bad" {
			t.Errorf("%s with another digest: %v %v", file, s, err)
		}
	}
	if len(accepted) != 2 {
		t.Errorf("accepted %v, want two rebuilders", accepted)
	}
}

func TestExpiredLayout(t *testing.T) {
	dir := dataDir(t, "in-toto-link-gpg")
	_, err := link.ReadLayout(read(t, dir, "root.layout"), nil, judged)
	wantError(t, err, evidence.CodeExpired, "signed.expires")
	l, err := link.ReadLayout(read(t, dir, "root.layout"), nil, time.Date(2021, 1, 6, 18, 30, 56, 0, time.UTC))
	if err != nil || len(l.Verdicts) != 0 {
		t.Errorf("a second before its end: %v %+v", err, l)
	}
}

func TestNarInfoData(t *testing.T) {
	dir := dataDir(t, "nix-narinfo")
	name, key, err := narinfo.ParseKey(string(read(t, dir, "cache.nixos.org-1.pub")))
	if err != nil || name != "cache.nixos.org-1" {
		t.Fatal(name, err)
	}
	for _, file := range []string{"curl-7.82.0-bin.narinfo", "net-tools-1.60.narinfo"} {
		b := evidence.Bundle{Kind: evidence.NarInfo, Body: read(t, dir, file)}
		s, err := narinfo.Read(b, []evidence.Key{key}, judged)
		if err != nil {
			t.Fatal(err)
		}
		if statuses(s) != "good no-key" || len(s.Accepted(evidence.Accept{})) != 1 || len(s.Artifacts) != 1 {
			t.Errorf("%s: %+v", file, s)
		}
		// A name is not identity: the line counts under any.
		b.Body = bytes.Replace(b.Body, []byte("Sig: cache.nixos.org-1:"), []byte("Sig: somebody-else:"), 1)
		if s, err = narinfo.Read(b, []evidence.Key{key}, judged); err != nil || statuses(s) != "good no-key" {
			t.Errorf("%s under another name: %v %v", file, s, err)
		}
		b.Body = bytes.Replace(b.Body, []byte("NarSize: "), []byte("NarSize: 1"), 1)
		if s, err = narinfo.Read(b, []evidence.Key{key}, judged); err != nil || statuses(s) != "no-key no-key" {
			t.Errorf("%s with another size: %v %v", file, s, err)
		}
	}
}

func TestDSSEData(t *testing.T) {
	dir := dataDir(t, "dsse")
	global, west := pemKey(t, dir, "global-pae.pub.pem"), pemKey(t, dir, "us-west2-raw.pub.pem")
	b := evidence.Bundle{Kind: evidence.DSSE, Body: read(t, dir, "gcloud-container-github-tag.json")}
	s, err := slsa.Read(b, []evidence.Key{global, west}, judged)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Accepted(evidence.Accept{}); !slices.Equal(got, []string{global.String()}) || statuses(s) != "good bad" {
		t.Errorf("accepted %v of %+v, want the first signature only", got, s.Verdicts)
	}
	if !strings.Contains(s.Verdicts[1].Reason, "not the DSSE encoding") {
		t.Errorf("reason %q", s.Verdicts[1].Reason)
	}
	if len(s.Artifacts) != 2 || len(s.Inputs) != 1 || s.Built.IsZero() {
		t.Errorf("read as %+v", s)
	}
	b.Body = read(t, dir, "slsa-v1-container-based-v14.2.sigstore-bundle.json")
	if s, err = slsa.Read(b, []evidence.Key{global, west}, judged); err != nil {
		t.Fatal(err)
	}
	empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if statuses(s) != "no-key" || len(s.Artifacts) != 1 || s.Artifacts[0].SHA256.String() != empty || len(s.Inputs) != 2 {
		t.Errorf("bundle read as %+v", s)
	}
}

// TestOfferedAsAnother offers every real file as every other kind.
func TestOfferedAsAnother(t *testing.T) {
	files := map[evidence.Kind][]byte{
		evidence.Rebuilderd: read(t, dataDir(t, "rebuilderd-attestation"), "filesystem-2025.10.12-1-any.in-toto.link"),
		evidence.BuildInfo:  read(t, dataDir(t, "debian-buildinfo"), "0xffff_0.8-1+b1_amd64.buildinfo"),
		evidence.Link:       read(t, dataDir(t, "in-toto-link-gpg"), "rebuild.5863835e.link"),
		evidence.NarInfo:    read(t, dataDir(t, "nix-narinfo"), "net-tools-1.60.narinfo"),
		evidence.DSSE:       read(t, dataDir(t, "dsse"), "gcloud-container-github-tag.json"),
		evidence.GuixSigs:   read(t, dataDir(t, "guix.sigs"), "25.0", "Emzy", "all.SHA256SUMS"),
	}
	names := map[evidence.Kind]string{evidence.BuildInfo: "a.buildinfo", evidence.NarInfo: "a.narinfo", evidence.GuixSigs: "a.SHA256SUMS"}
	for is, body := range files {
		if got, ok := kinds.Detect(names[is], body); !ok || got != is {
			t.Errorf("%s detected as %q", is, got)
		}
		for _, as := range evidence.Kinds {
			if is == as {
				continue
			}
			b := evidence.Bundle{Kind: as, Body: body}
			if as == evidence.GuixSigs {
				b.Path, b.Signature = "25.0/Emzy/all.SHA256SUMS", read(t, dataDir(t, "guix.sigs"), "25.0", "Emzy", "all.SHA256SUMS.asc")
			}
			_, err := kinds.Read(b, kinds.Keys{}, judged)
			var e *evidence.Error
			if !errors.As(err, &e) || e.Kind != as || e.Field == "" {
				t.Errorf("%s offered as %s: %v", is, as, err)
			}
		}
	}
}

// TestTruncated cuts every real file short everywhere: what is left is refused,
// or says less but carries no accepted signature.
func TestTruncated(t *testing.T) {
	global := pemKey(t, dataDir(t, "dsse"), "global-pae.pub.pem")
	arch := pemKey(t, dataDir(t, "rebuilderd-attestation"), "reproducible-archlinux.pub")
	_, nix, err := narinfo.ParseKey(string(read(t, dataDir(t, "nix-narinfo"), "cache.nixos.org-1.pub")))
	if err != nil {
		t.Fatal(err)
	}
	guix := dataDir(t, "guix.sigs")
	keys := kinds.Keys{OpenPGP: loadKeys(t, filepath.Join(guix, "builder-keys")).ring, Plain: []evidence.Key{global, arch, nix}}
	for _, b := range []evidence.Bundle{
		{Kind: evidence.Rebuilderd, Body: read(t, dataDir(t, "rebuilderd-attestation"), "filesystem-2025.10.12-1-any.in-toto.link")},
		{Kind: evidence.DSSE, Body: read(t, dataDir(t, "dsse"), "gcloud-container-github-tag.json")},
		{Kind: evidence.GuixSigs, Path: "31.1/achow101/all.SHA256SUMS", Body: read(t, guix, "31.1", "achow101", "all.SHA256SUMS"),
			Signature: read(t, guix, "31.1", "achow101", "all.SHA256SUMS.asc")},
	} {
		whole := b.Body
		if s, err := kinds.Read(b, keys, judged); err != nil || len(s.Accepted(evidence.Accept{})) != 1 {
			t.Fatalf("%s whole: %v %v", b.Kind, s, err)
		}
		for n := 0; n < len(whole); n += 1 + len(whole)/300 {
			b.Body = whole[:n]
			s, err := kinds.Read(b, keys, judged)
			if err == nil && len(s.Accepted(evidence.Accept{ExpiredSince: true})) > 0 && !bytes.Equal(bytes.TrimSpace(whole), bytes.TrimSpace(b.Body)) {
				t.Errorf("%s cut to %d of %d bytes is accepted", b.Kind, n, len(whole))
			}
		}
	}
}

func wantError(t *testing.T, err error, code statement.Code, field string) {
	t.Helper()
	var e *evidence.Error
	if !errors.As(err, &e) || e.Code != code || e.Field != field {
		t.Errorf("error %v, want code %s in field %q", err, code, field)
	}
}
