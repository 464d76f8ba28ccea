package web

import (
	"slices"

	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/act"
	"quorate/quorum/policy"
)

// Notes is what people have to know about a target before all else. Acts that are
// over, such as a hold that was released, stand in the timeline only.
type Notes struct {
	Standing []StandingAct     // holds that nobody released, and withdrawals, newest first
	Remarks  []api.Act         // newest first
	Alarms   []api.TargetAlarm // newest first
}

// StandingAct is an act that stands in the way.
type StandingAct struct {
	api.Act
	Release string // the line that takes it away; empty: nothing does
}

// NewNotes sorts what stands in the way from the rest.
func NewNotes(acts []api.Act, alarms []api.TargetAlarm) *Notes {
	if len(acts)+len(alarms) == 0 {
		return nil
	}
	n := &Notes{Alarms: alarms}
	slices.Reverse(n.Alarms)
	for i := range acts {
		a := &acts[i]
		switch {
		case a.Kind == act.Note:
			n.Remarks = append(n.Remarks, *a)
		case !a.Stands:
		case a.Kind == act.Hold:
			// The hold that is seen is the one that is released, not one that
			// somebody set in the meantime.
			n.Standing = append(n.Standing, StandingAct{*a, actLine(act.Release, a.Subject, "--after", a.ID.String())})
		default:
			n.Standing = append(n.Standing, StandingAct{Act: *a})
		}
	}
	return n
}

// actLine is the command by which a maintainer acts. The files and the reason are
// theirs to fill in.
func actLine(kind act.Kind, s act.Subject, more ...string) string {
	words := []string{"quorate", string(kind), "--channel", s.Channel}
	if s.Target == "" {
		words = append(words, "--whole-channel")
	}
	if s.Stage != "" {
		words = append(words, "--stage="+s.Stage)
	}
	if s.Artifact != "" {
		words = append(words, "--artifact="+s.Artifact)
	}
	words = append(append(words, more...), "--nkey", "FILE", "--key", "FILE", "--reason", "TEXT")
	if s.Target != "" {
		words = append(words, s.Target)
	}
	return command(words...)
}

// ActCommands lists what maintainers of the channel can do about a target.
func ActCommands(t *api.Target, ch *policy.Channel, acts []api.Act) (list []Command) {
	s := act.Subject{Channel: t.Channel, Target: t.Target, Stage: t.Stage}
	stopped := slices.ContainsFunc(acts, func(a api.Act) bool { return a.Stands && a.Subject == s })
	add := func(kind act.Kind, what string) {
		for _, rights := range ch.Rights() {
			if slices.Contains(rights, kind) {
				list = append(list, Command{what, actLine(kind, s)})
				return
			}
		}
	}
	if !stopped && t.State != quorum.Signed && t.State != quorum.Withdrawn {
		add(act.Hold, "Keep it from being signed, as a maintainer")
	}
	add(act.Rebuild, "Have it built again, as a maintainer")
	add(act.Note, "Put a remark here, as a maintainer")
	return list
}
