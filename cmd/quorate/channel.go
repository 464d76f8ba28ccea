package main

import (
	"context"
	"strings"
	"time"

	"quorate/internal/api"
	"quorate/internal/client"
	"quorate/internal/render"
)

// checkTimeout bounds the look at the coordinator before something is sent.
const checkTimeout = 3 * time.Second

// knownChannel is what the coordinator says of a channel, and a usage error if it
// does not know it. Without a coordinator in reach it is nil: nothing can be said.
func knownChannel(cl *client.Client, name string) (*api.Channel, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	list, err := cl.Channels(ctx)
	if err != nil {
		return nil, nil
	}
	var names []string
	for i := range list.Channels {
		if list.Channels[i].Name == name {
			return &list.Channels[i], nil
		}
		names = append(names, render.Text(list.Channels[i].Name))
	}
	return nil, usageError("the channels are "+strings.Join(names, ", "), "the policy of the coordinator at %s has no channel %q", cl.Server(), name)
}
