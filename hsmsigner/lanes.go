package hsmsigner

import "slices"

// lanes are queues that are served in turn. A lane may be divided into lanes, which
// take turns for what is the lane's: two requests of a channel have together what
// one of another channel has. The zero value is empty. It is owned by whoever has
// the lock around it.
type lanes[T any] struct {
	items []T
	order []string // of the lanes that are not empty; the first one is served next
	inner map[string]*lanes[T]
}

// push puts v at the end of the lane.
func (l *lanes[T]) push(v T, lane ...string) {
	if len(lane) == 0 {
		l.items = append(l.items, v)
		return
	}
	in, ok := l.inner[lane[0]]
	if !ok {
		if in = new(lanes[T]); l.inner == nil {
			l.inner = map[string]*lanes[T]{}
		}
		l.inner[lane[0]] = in
		l.order = append(l.order, lane[0])
	}
	in.push(v, lane[1:]...)
}

// pop takes from the first lane that may be served, which then is the last one.
func (l *lanes[T]) pop(may func(lane string) bool) (v T, ok bool) {
	if len(l.items) > 0 {
		v, l.items[0] = l.items[0], v
		l.items = l.items[1:]
		return v, true
	}
	i := slices.IndexFunc(l.order, may)
	if i < 0 {
		return v, false
	}
	name := l.order[i]
	in := l.inner[name]
	v, ok = in.pop(anyLane)
	l.order = slices.Delete(l.order, i, i+1)
	if in.empty() {
		delete(l.inner, name)
	} else {
		l.order = append(l.order, name)
	}
	return v, ok
}

func (l *lanes[T]) empty() bool { return len(l.items) == 0 && len(l.order) == 0 }

func anyLane(string) bool { return true }
