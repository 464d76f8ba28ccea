package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/builder-agent/durable"
)

// instanceMark is the file of an instance: where to go on.
type instanceMark struct {
	Address string  `json:"address"`
	Channel string  `json:"channel"`
	After   int64   `json:"after"`          // the last build that was read
	Sick    []int64 `json:"sick,omitempty"` // builds that could not be had, in the order in which they were asked for
}

// load finds out where to go on. An instance that no longer has the last build was
// perhaps set up anew with smaller numbers, so it is read from the beginning; what
// was brought before is not brought again.
func (i *instance) load(ctx context.Context) error {
	if i.loaded {
		return nil
	}
	data, err := os.ReadFile(i.file)
	if errors.Is(err, fs.ErrNotExist) {
		i.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	var m instanceMark
	if err := json.Unmarshal(data, &m, json.RejectUnknownMembers(true)); err != nil || m.Address != i.mark.Address || m.Channel != i.mark.Channel || m.After < 0 {
		return usageError("remove it; the instance is then read from the beginning", "%s is damaged", i.file)
	}
	_, status, err := i.get(ctx, maxBuildsList, "", "builds", strconv.FormatInt(m.After, 10))
	if status == http.StatusNotFound && m.After > 0 {
		say("warning: %s no longer has build %d; it is read from the beginning", i.base.Redacted(), m.After)
		m.After, m.Sick = 0, nil
	} else if err != nil && m.After > 0 {
		return err
	}
	i.mark, i.saved, i.loaded = m, m, true
	i.saved.Sick = slices.Clone(m.Sick)
	return nil
}

func (i *instance) save() error {
	if i.mark.After == i.saved.After && slices.Equal(i.mark.Sick, i.saved.Sick) {
		return nil
	}
	data, err := json.Marshal(i.mark, json.Deterministic(true))
	if err == nil {
		err = durable.WriteFile(i.file, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	i.saved = i.mark
	i.saved.Sick = slices.Clone(i.mark.Sick)
	return nil
}

const (
	// sickTries is how often something is asked for that the instance answers with an
	// error of its own, with growing pauses: half a minute altogether.
	sickTries = 6

	// maxSick bounds the builds that are passed over. An instance that has more of them
	// is sick itself, and waited for.
	maxSick = 100

	sickPause = time.Hour // before they are asked for again
)

// givesUp reports whether something of a build cannot be had, although its instance
// answers: it must not keep back for ever what comes after it. What the instance may
// still mend is asked for again later.
func (i *instance) givesUp(build int64, status int, err error, path []string) bool {
	var failed *instanceError
	switch {
	case errors.As(err, &failed) && failed.large:
		return true
	case status != http.StatusInternalServerError:
		return false
	case slices.Contains(i.mark.Sick, build):
		return true
	}
	if what := strings.Join(path, "/"); i.sick != what {
		i.sick, i.tries = what, 0
	}
	i.tries++
	if !i.again && (i.tries < sickTries || len(i.mark.Sick) >= maxSick) {
		return false
	}
	i.mark.Sick = append(i.mark.Sick, build)
	i.recovered() // it may give what comes next
	return true
}

// askAgain asks once for the builds that could not be had: each import does, and one
// that goes on now and then.
func (i *instance) askAgain(ctx context.Context, b *bringer) error {
	if time.Since(i.asked) < sickPause {
		return nil
	}
	i.again = true
	defer func() { i.again = false }()
	for _, id := range slices.Clone(i.mark.Sick) {
		i.mark.Sick = slices.DeleteFunc(i.mark.Sick, func(s int64) bool { return s == id })
		if err := i.build(ctx, b, id); err != nil {
			if !slices.Contains(i.mark.Sick, id) {
				i.mark.Sick = append(i.mark.Sick, id)
			}
			return cmp.Or(i.save(), err)
		}
	}
	i.asked = time.Now()
	return i.save()
}
