package coordinator

import (
	"fmt"
	"path/filepath"
	"slices"

	"quorate/internal/bus"
)

// Enroll adds a user to the bus. A coordinator that runs on the state directory
// notices by itself. It reports whether anything changed; a name that is taken by
// another key is refused.
func Enroll(state string, u bus.User) (changed bool, err error) {
	// Read, change and write in one go: of two that enrol at the same moment, one
	// would undo what the other wrote. The directory must be there: nothing is made.
	if _, err := loadUsers(state); err != nil {
		return false, err
	}
	lock, err := awaitLock(filepath.Join(state, fileUsersLock))
	if err != nil {
		return false, fmt.Errorf("enroll: lock users: %w", err)
	}
	defer lock.Close()
	users, err := loadUsers(state)
	if err != nil {
		return false, err
	}
	if u.Role == bus.RoleCoordinator {
		return false, configError("give the other coordinator a state directory of its own", "enroll: role %q is not given away here", u.Role)
	}
	i := slices.IndexFunc(users, func(o bus.User) bool { return o.Name == u.Name })
	switch {
	case i < 0:
		users = append(users, u)
	case users[i].NKey != u.NKey || users[i].Role != u.Role:
		return false, configError("remove the old entry from "+filepath.Join(state, fileUsers)+" first, or choose another name",
			"enroll: name %q is taken by another key or role", u.Name)
	case slices.Equal(users[i].Keys, u.Keys):
		return false, nil
	default:
		users[i] = u
	}
	if err := bus.ValidateUsers(users); err != nil {
		return false, configError("", "enroll: %w", err)
	}
	if err := bus.SaveUsers(filepath.Join(state, fileUsers), users); err != nil {
		return false, fmt.Errorf("enroll: %w", err)
	}
	return true, nil
}

// ServerConfig is the configuration for a NATS server of one's own that lets in
// exactly the users of the state directory.
func ServerConfig(state string) (string, error) {
	users, err := loadUsers(state)
	if err != nil {
		return "", err
	}
	return bus.ServerConfig(users, bus.ConfigOptions{}), nil
}
