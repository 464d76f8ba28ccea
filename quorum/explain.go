package quorum

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/quorum/statement"
)

// Explanation is a verdict in sentences. Text that comes from builders is quoted
// in it, so it may be shown on a terminal.
type Explanation struct {
	Verdict string   // the state and its reason
	Facts   []string // who agrees, differs, is silent, changed a vote
	Next    []string // what would change the verdict
}

// Explain says a verdict in words. It never returns an empty Verdict or Next,
// also for states and reasons of a later version.
func Explain(v *Verdict) Explanation {
	return Explanation{explainState(v) + " " + explainReason(v), v.facts(), v.next()}
}

// Letter names the i-th digest group of a verdict: A, B, ... Z, AA, AB ...
// The groups come largest first, so A is the majority.
func Letter(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return Letter(i/26-1) + string(rune('A'+i%26))
}

// minShort is how many hex digits of a digest are shown at least.
const minShort = 12

// Short cuts a digest so far that it still differs from every other digest that
// the verdict mentions. Whoever makes two files whose digests begin alike does
// not make them look alike.
func (v *Verdict) Short(d statement.SHA256) string {
	full, n := d.String(), minShort
	if len(v.Groups)+2*len(v.Changed)+len(v.Beside)+len(v.Late) > 4*maxTold {
		return full // comparing each with all of them would take for ever
	}
	for _, other := range v.digests() {
		if other != d {
			n = max(n, commonPrefix(full, other.String())+1)
		}
	}
	return full[:n]
}

// maxTold bounds how many groups, votes and names an explanation lists: a verdict
// from the network may have a million of them.
const maxTold = 64

// told cuts a list to what is told and says how many are left out.
func told[T any](list []T) (head []T, more int) {
	n := min(len(list), maxTold)
	return list[:n], len(list) - n
}

// digests lists every digest that the verdict mentions.
func (v *Verdict) digests() []statement.SHA256 {
	all := []statement.SHA256{v.SHA256}
	for i := range v.Groups {
		all = append(all, v.Groups[i].SHA256)
	}
	for i := range v.Changed {
		all = append(all, v.Changed[i].From, v.Changed[i].To)
	}
	for i := range v.Beside {
		all = append(all, v.Beside[i].SHA256)
	}
	for i := range v.Late {
		all = append(all, v.Late[i].SHA256)
	}
	return all
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

func explainState(v *Verdict) string {
	switch v.State {
	case Waiting:
		return "Waiting: not enough independent operators gave the same bytes yet."
	case Agreed:
		return "Agreed: enough independent operators gave the same bytes."
	case Conflicting:
		return "Conflicting: the operators gave different bytes."
	case Unreachable:
		return "Unreachable: the operators gave different bytes, and no digest can pass any more."
	case Held:
		return "Held: enough operators gave the same bytes, but the signature is held back."
	case Signed:
		return "Signed: enough independent operators gave the same bytes."
	case Disputed:
		return "Disputed: there is a signature, and an operator differs from what was signed."
	case Withdrawn:
		return "Withdrawn: no vote is left."
	}
	return fmt.Sprintf("The state is %s, which this version does not know.", safeWord(string(v.State)))
}

func explainReason(v *Verdict) string {
	rule := "quorum " + safeName(v.Quorum)
	switch v.Reason {
	case ReasonTooFew:
		if len(v.Groups) == 0 {
			return fmt.Sprintf("Nobody gave this file yet; %s asks for more.", rule)
		}
		return fmt.Sprintf("%s gave this file so far; %s asks for more.", upper(count(v.votes(), "operator")), rule)
	case ReasonDiffer:
		return fmt.Sprintf("%s, and none of them meets %s yet.", upper(count(len(v.Groups), "different digest")), rule)
	case ReasonTwoPass:
		return fmt.Sprintf("Two different digests meet %s at the same time, so neither is signed.", rule)
	case ReasonNonePass:
		return fmt.Sprintf("Too few operators are left that have not voted on this file for any digest to meet %s.", rule)
	case ReasonMet:
		return fmt.Sprintf("%s is met.", upper(rule))
	case ReasonSettling:
		return fmt.Sprintf("The channel waits until %s for somebody to differ.", stamp(v.Until))
	case ReasonDissent:
		return "An operator of the quorum gave other bytes, and the channel signs nothing while anybody differs."
	case ReasonSHA512:
		if v.lacksSHA512() {
			return explainLacks
		}
		return "They are alike in SHA-256 and not in SHA-512, from which the signature is made: at least one statement is wrong."
	case ReasonSignable:
		return "They are alike in the digests and not in what is signed besides: at least one statement is wrong."
	case ReasonNoSignable:
		return fmt.Sprintf("%s is met for the digest, but too few of the statements give all that the channel signs.", upper(rule))
	case ReasonSigned:
		return "All signatures that the channel asks for exist."
	case ReasonPartlySigned:
		return "Some of the channel's signatures exist, others are still to be made."
	case ReasonLateDissent:
		return "The signature stands, because nothing can take it back, but it may be over a bad file."
	case ReasonStopped:
		return v.stopped()
	case ReasonWithdrawn:
		return "Every operator that had voted took its vote back."
	}
	return fmt.Sprintf("The reason is %s, which this version does not know.", safeWord(string(v.Reason)))
}

// votes counts the operators with a vote that counts.
func (v *Verdict) votes() (n int) {
	for i := range v.Groups {
		n += len(v.Groups[i].Members)
	}
	return n
}

func (v *Verdict) facts() (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	groups, more := told(v.Groups)
	for i := range groups {
		g := &v.Groups[i]
		say("%s gave %s (%s): %s.", upper(count(len(g.Members), "operator")), Letter(i), v.Short(g.SHA256), operators(g.Members))
		members, _ := told(g.Members)
		for _, m := range members {
			m.sayDissent(say)
		}
	}
	left(say, more, "digest")
	if odd := v.oddOneOut(); odd != "" {
		say("Only %s differs from everybody else: look there first.", odd)
	}
	if v.Diverge {
		say("No two operators gave the same bytes: look at the build (time, path, order of files, randomness), not at one builder.")
	}
	if len(v.Silent) > 0 {
		say("Built the target, but not this file: %s.", names(v.Silent))
	}
	none, more := told(v.NoVotes)
	for i := range none {
		say("No vote from %s: %s.", safeName(none[i].Operator), none[i].why())
	}
	left(say, more, "answer")
	if len(v.Missing) > 0 {
		say("No answer from %s.", names(v.Missing))
	}
	v.acts(say)
	v.history(say)
	return out
}

// sayDissent says in what a vote differs that is alike in SHA-256.
func (m *Member) sayDissent(say func(format string, args ...any)) {
	if m.OtherSHA512 != nil {
		say("%s gave another SHA-512 digest with it: one of the two is wrong.", safeName(m.Operator))
	}
	if m.Signables == nil {
		return
	}
	if other, _ := told(m.Signables.Other); len(other) > 0 {
		say("%s gave another %s with it: one of the two is wrong.", safeName(m.Operator), quoted(other))
	}
	if missing, _ := told(m.Signables.Missing); len(missing) > 0 {
		say("%s gave no %s with it.", safeName(m.Operator), quoted(missing))
	}
}

// quoted lists words of which some are not names.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// history tells of votes that do not count, or not any more.
func (v *Verdict) history(say func(format string, args ...any)) {
	changed, more := told(v.Changed)
	for _, c := range changed {
		if c.From == c.To {
			say("%s gave %s twice, with something else beside it; the later one counts.", safeName(c.Operator), v.Short(c.To))
			continue
		}
		say("%s gave %s first and %s later; the later one counts.", safeName(c.Operator), v.Short(c.From), v.Short(c.To))
	}
	left(say, more, "changed vote")
	v.besides(say)
	revoked, more := told(v.Revoked)
	for _, r := range revoked {
		say("The vote of %s does not count: the key of builder %s is revoked.", safeName(r.Operator), safeName(r.Builder))
	}
	left(say, more, "revoked vote")
	late, more := told(v.Late)
	for _, l := range late {
		if l.Withdrawn {
			say("%s took back its vote for what was signed.", safeName(l.Operator))
			continue
		}
		say("%s differs from what was signed: it gave %s.", safeName(l.Operator), v.Short(l.SHA256))
		l.sayDissent(say)
	}
	left(say, more, "late vote")
}

// left says that something was not told.
func left(say func(format string, args ...any), n int, noun string) {
	if n > 0 {
		say("Not shown: %s.", count(n, "more "+noun))
	}
}

func (n *NoVote) why() string {
	if n.Reason == "" {
		return safeWord(string(n.Status))
	}
	return safeWord(string(n.Status)) + ", " + quote(n.Reason)
}

// oddOneOut names the only operator that differs from at least two others.
func (v *Verdict) oddOneOut() string {
	if len(v.Groups) != 2 || len(v.Groups[0].Members) < 2 || len(v.Groups[1].Members) != 1 {
		return ""
	}
	return safeName(v.Groups[1].Members[0].Operator)
}

// next says what would change the verdict. It is never empty.
func (v *Verdict) next() (out []string) {
	if v.Reason == ReasonNoSignable && len(v.Needs) > 0 {
		return []string{v.Needs[0].who() + " it with what is missing: for a text, with quorate attest --text or texts in agent.toml; " +
			"for a package whose files are signed, with quorate attest --inner or inner_digests in agent.toml. " +
			"A channel that signs these is for nothing else."}
	}
	if v.Reason == ReasonStopped {
		return v.nextStopped()
	}
	needs, _ := told(v.Needs)
	for _, n := range needs {
		out = append(out, v.need(n))
	}
	if len(out) > 0 {
		return out
	}
	switch v.State {
	case Agreed:
		return []string{"Nothing is missing from the operators; the signer has to sign."}
	case Signed:
		return []string{"Nothing undoes a signature. A vote for other bytes would mark the file as disputed."}
	case Disputed:
		return []string{"Nothing takes the signature back. Compare the two builds; if the signed file is the bad one, publish a new version and tell your users."}
	case Held:
		if out = v.nextHeld(); len(v.Stops) > 0 {
			out = append(out, "A maintainer holds it besides, and has to release it: quorate release.")
		}
		return out
	case Unreachable:
		return []string{"An operator that differs finds out why, and states what it builds now or takes its vote back; or a new version is built."}
	case Conflicting:
		return v.nextConflicting()
	}
	return []string{"A statement by an operator of the quorum."}
}

func (v *Verdict) nextHeld() []string {
	if v.Reason == ReasonSettling {
		return []string{"It is agreed at " + stamp(v.Until) + " if nobody differs before."}
	}
	if v.Reason == ReasonSHA512 {
		return []string{"It is agreed when all operators of " + Letter(0) + " give one SHA-512 digest. Ask those that differ how they computed it."}
	}
	if v.Reason == ReasonSignable {
		return []string{"It is agreed when all operators of " + Letter(0) + " give the same. Ask those that differ how they computed it."}
	}
	return []string{"It is agreed when " + v.dissenters() + " the bytes of " + Letter(0) +
		", or after a vote is taken back, or when the channel's dissent rule is changed to \"report\"."}
}

func (v *Verdict) nextConflicting() []string {
	if v.Reason == ReasonSHA512 && v.lacksSHA512() {
		return []string{nextLacks}
	}
	if v.Reason == ReasonSHA512 {
		return []string{"It is agreed when enough operators give one SHA-256 and one SHA-512 digest together."}
	}
	if v.Reason == ReasonSignable {
		return []string{"It is agreed when enough operators give one and the same. Ask those that differ how they computed it."}
	}
	return []string{"It is agreed when operators change or take back their votes until one digest alone meets the quorum. Raise need in the policy so that two cannot."}
}

// dissenters names who is not in the first group, and ends with the verb.
func (v *Verdict) dissenters() string {
	var others []string
	for i := 1; i < len(v.Groups); i++ {
		for _, m := range v.Groups[i].Members {
			others = append(others, m.Operator)
		}
	}
	switch len(others) {
	case 0:
		return "those that differ give"
	case 1:
		return names(others) + " gives"
	}
	return names(others) + " give"
}

func (v *Verdict) need(n Need) string {
	who := n.who()
	if n.SHA256 == (statement.SHA256{}) {
		return fmt.Sprintf("The quorum is met when %s one and the same digest.", who)
	}
	i := slices.IndexFunc(v.Groups, func(g Group) bool { return g.SHA256 == n.SHA256 })
	if i < 0 {
		return fmt.Sprintf("The quorum is met when %s %s.", who, v.Short(n.SHA256))
	}
	return fmt.Sprintf("%s (%s) meets the quorum when %s it too.", Letter(i), v.Short(n.SHA256), who)
}

// who ends with the verb.
func (n *Need) who() string {
	who := fmt.Sprintf("%d more of %s", n.More, names(n.From))
	switch {
	case n.More == len(n.From):
		who = names(n.From)
	case n.ByRule:
		who += ", as the rule groups them,"
	}
	if who += " give"; n.More == 1 {
		who += "s"
	}
	return who
}

func operators(members []Member) string {
	list := make([]string, len(members))
	for i := range members {
		list[i] = members[i].Operator
	}
	return names(list)
}

func names(list []string) string {
	list, more := told(list)
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = safeName(s)
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// safeName passes a proper name and quotes everything else: a verdict may have
// been read from the network.
func safeName(s string) string {
	if statement.ValidName(s) {
		return s
	}
	return quote(s)
}

// safeWord is safeName for states, reasons and statuses.
func safeWord(s string) string { return safeName(s) }

// quote makes control and bidirectional characters visible, and cuts what would
// fill the screen.
func quote(s string) string {
	const limit = 300
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "..."
	}
	return strconv.Quote(s)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
