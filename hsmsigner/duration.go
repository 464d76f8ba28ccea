package hsmsigner

import (
	"fmt"
	"time"
)

// Duration is a time span in TOML, such as "30s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads, if it is not negative.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return err
}

func (d Duration) String() string { return time.Duration(d).String() }
