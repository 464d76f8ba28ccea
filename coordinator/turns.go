package coordinator

import "net/http"

// answering is how many answers about whole targets are made at once. Each takes many
// times its length in memory while it is made, and nobody has to say who asks: what
// hundreds ask for at a time would otherwise be made at a time.
const answering = 8

// turn waits for a turn to make such an answer, and returns how to end it.
func (c *Coordinator) turn(r *http.Request) (end func(), err error) {
	select {
	case c.answers <- struct{}{}:
		return func() { <-c.answers }, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// inTurn makes JSON of what get returns, while it has a turn. Sending it needs none:
// a slow reader keeps nobody waiting.
func inTurn[T any](c *Coordinator, get func(*http.Request) (T, error)) http.HandlerFunc {
	return serve(c, func(r *http.Request) (f raw, err error) {
		end, err := c.turn(r)
		if err != nil {
			return f, err
		}
		defer end()
		v, err := get(r)
		if err != nil {
			return f, err
		}
		return toJSON(v)
	})
}
