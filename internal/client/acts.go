package client

import (
	"context"

	"quorate/internal/api"
	"quorate/quorum/act"
	"quorate/quorum/statement"
)

// Channels returns the policy's channels with their counts.
func (c *Client) Channels(ctx context.Context) (*api.Channels, error) {
	out := new(api.Channels)
	return out, c.json(ctx, "/v1/channels", nil, out)
}

// Subject returns what the next act on exactly that subject has to follow.
func (c *Client) Subject(ctx context.Context, s act.Subject) (*api.Subject, error) {
	out := new(api.Subject)
	q := Place{Channel: s.Channel, Target: s.Target, Stage: s.Stage}.values()
	if s.Artifact != "" {
		q.Set("artifact", s.Artifact)
	}
	return out, c.json(ctx, "/v1/subject", q, out)
}

// Acts returns the newest acts on a target, or on a channel where the target is
// empty.
func (c *Client) Acts(ctx context.Context, s act.Subject) (*api.Acts, error) {
	out := new(api.Acts)
	return out, c.json(ctx, "/v1/acts", Place{Channel: s.Channel, Target: s.Target, Stage: s.Stage}.values(), out)
}

// Receipt returns what became of a message with those bytes, or nil while it is not
// recorded.
func (c *Client) Receipt(ctx context.Context, id statement.SHA256) (*api.Receipt, error) {
	out := new(api.Receipt)
	err := c.json(ctx, "/v1/receipts/"+id.String(), nil, out)
	if IsNotFound(err) {
		return nil, nil
	}
	return out, err
}
