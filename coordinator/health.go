package coordinator

import (
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"quorate/coordinator/store"
	"quorate/internal/api"
)

// getHealth says that the process lives, whatever it can do.
func (c *Coordinator) getHealth(*http.Request) (map[string]string, error) {
	return map[string]string{"status": "alive"}, nil
}

// getReady says whether what is shown is up to date and whether the coordinator
// can go on with its work.
func (c *Coordinator) getReady(w http.ResponseWriter, _ *http.Request) {
	out := api.Ready{Ready: true, Checks: map[string]api.Check{
		"bus": c.checkBus(), "database": c.checkDB(), "record": c.checkRecord(), "policy": c.checkPolicy(),
	}}
	status := http.StatusOK
	for _, check := range out.Checks {
		if !check.OK {
			out.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	c.write(w, status, out)
}

func (c *Coordinator) checkBus() api.Check {
	if s := c.conn.Status(); s != nats.CONNECTED {
		return api.Check{Message: "the bus is not connected"}
	}
	return api.Check{OK: true}
}

// checkDB writes nothing, but does all that a write needs.
func (c *Coordinator) checkDB() api.Check {
	if err := c.db.Update(func(tx *store.Tx) error { return tx.Touch() }); err != nil {
		c.log.Error("database is not writable", "error", err)
		return api.Check{Message: "the database cannot be written"}
	}
	return api.Check{OK: true}
}

func (c *Coordinator) checkRecord() api.Check {
	lag := c.lag.Load()
	switch {
	case !c.isAttached():
		return api.Check{Message: "the record is not being read yet"}
	case !c.caughtUp.Load():
		return api.Check{Message: fmt.Sprintf("catching up with the record, %d messages to go", lag)}
	case lag > 10*batchMessages:
		return api.Check{Message: fmt.Sprintf("%d messages behind the record", lag)}
	}
	return api.Check{OK: true}
}

func (c *Coordinator) checkPolicy() api.Check {
	if c.policy.Expired(c.now()) {
		return api.Check{Message: "the policy expired on " + c.policy.Expires.Format(time.RFC3339) + ": nothing is signed"}
	}
	return api.Check{OK: true}
}
