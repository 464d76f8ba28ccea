// Package rest waits for a while, unless there is no reason to go on.
package rest

import (
	"context"
	"time"
)

// For waits that long and returns nil, or the error of ctx as soon as it is done.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
