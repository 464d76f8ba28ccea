package bus

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nkeys"
)

// Role decides what a user of the bus may do.
type Role string

// The roles. None of them has the right to change, purge or remove a stream. A
// coordinator, which may create consumers, can still bring the server to do so
// (see [ServerConfig]); the others cannot.
const (
	RoleCoordinator Role = "coordinator"
	RoleBuilder     Role = "builder"
	RoleSigner      Role = "signer"
	RoleTooling     Role = "tooling"  // asks for builds, and to ask a signer again; carries maintainers' acts
	RoleReader      Role = "reader"   // listens to what is published, live
	RoleImporter    Role = "importer" // brings statements that others made
)

// Roles lists every role.
var Roles = []Role{RoleCoordinator, RoleBuilder, RoleSigner, RoleTooling, RoleReader, RoleImporter}

// User is who may connect, as what. Its public key is all that is known of its
// secret.
type User struct {
	Name string   `toml:"name"`           // also the builder's name in subjects and in the policy
	Role Role     `toml:"role"`           // one of Roles
	NKey string   `toml:"nkey"`           // public user nkey, U...
	Keys []string `toml:"keys,omitempty"` // signers only: the keys they answer for

	// Muted takes a builder's or importer's right to add to the record away for a
	// while. It is no part of the file of users.
	Muted bool `toml:"-"`
}

// ErrInvalidUser says that a user, or a list of them, cannot be used.
var ErrInvalidUser = errors.New("invalid user")

// Validate checks u by itself.
func (u User) Validate() error {
	switch {
	case !ValidName(u.Name):
		return fmt.Errorf("%w: name %q: %w", ErrInvalidUser, u.Name, ErrInvalidName)
	case !slices.Contains(Roles, u.Role):
		return fmt.Errorf("%w: %s: unknown role %q (hint: one of %v)", ErrInvalidUser, u.Name, u.Role, Roles)
	case !nkeys.IsValidPublicUserKey(u.NKey):
		// Not quoted: somebody may have put the seed there.
		return fmt.Errorf("%w: %s: nkey is not a public user key (hint: it starts with U and has 56 characters; is one mistyped?)", ErrInvalidUser, u.Name)
	case u.Role == RoleSigner && len(u.Keys) == 0:
		return fmt.Errorf("%w: %s: a signer needs at least one key name", ErrInvalidUser, u.Name)
	case u.Role != RoleSigner && len(u.Keys) != 0:
		return fmt.Errorf("%w: %s: only a signer has keys", ErrInvalidUser, u.Name)
	}
	for i, key := range u.Keys {
		if !ValidName(key) {
			return fmt.Errorf("%w: %s: key %q: %w", ErrInvalidUser, u.Name, key, ErrInvalidName)
		}
		if slices.Contains(u.Keys[:i], key) {
			return fmt.Errorf("%w: %s: key %q is repeated", ErrInvalidUser, u.Name, key)
		}
	}
	return nil
}

// ValidateUsers checks each user, and that no name and no nkey occurs twice: two
// users with one name would share an inbox, two with one nkey would be one.
func ValidateUsers(users []User) error {
	names, nkeys := map[string]bool{}, map[string]string{}
	for _, u := range users {
		if err := u.Validate(); err != nil {
			return err
		}
		if names[u.Name] {
			return fmt.Errorf("%w: name %s is repeated", ErrInvalidUser, u.Name)
		}
		if other, ok := nkeys[u.NKey]; ok {
			return fmt.Errorf("%w: %s and %s have the same nkey", ErrInvalidUser, other, u.Name)
		}
		names[u.Name], nkeys[u.NKey] = true, u.Name
	}
	return nil
}

// Permissions lists the subjects u may publish to and subscribe to; anything
// else is denied, so an empty list denies everything. It is the only such table:
// [ServerConfig] makes permissions and account imports of it, and the embedded
// server runs on that.
func Permissions(u User) (publish, subscribe []string) {
	subscribe = []string{InboxPrefix(u.Name) + ".>"}
	switch u.Role {
	case RoleCoordinator:
		return coordinatorPublish(), append(subscribe, prefixHave+"*", SubjectRedrive)
	case RoleBuilder:
		publish = u.unlessMuted(prefixStatements+"*."+u.Name, prefixHave+u.Name, prefixFiles+u.Name+".>")
		publish = append(publish, consumerRights(StreamJobs, AgentConsumerName(u.Name))...)
		publish = append(publish, consumerRights(StreamJobs, UrgentConsumerName(u.Name))...)
	case RoleSigner:
		publish = []string{prefixSignatures + "*", prefixAlarms + "*." + u.Name}
		for _, key := range u.Keys {
			publish = append(publish, consumerRights(StreamRequests, SignerConsumerName(key))...)
			publish = append(publish, consumerRights(StreamRequests, BatchConsumerName(key))...)
		}
	case RoleImporter:
		publish = u.unlessMuted(prefixForeign+"*."+u.Name, prefixHave+u.Name)
	case RoleTooling:
		publish = []string{prefixJobs + "*", prefixControl + "*", SubjectRedrive}
	case RoleReader:
		subscribe = append(subscribe, prefixStatements+">", prefixForeign+">", prefixSignatures+"*", prefixControl+"*", prefixAlarms+"*")
	}
	return publish, subscribe
}

// unlessMuted is record and the rest, or for who is muted the rest.
func (u User) unlessMuted(record string, rest ...string) []string {
	if u.Muted {
		return rest
	}
	return append([]string{record}, rest...)
}

// How a role that responds may do so: one answer per request, soon.
const (
	responseMax = 1
	responseTTL = time.Minute
)

// Responds reports whether the role may answer the requests it receives, by
// publishing one message to the reply subject of each.
func (r Role) Responds() bool { return r == RoleCoordinator }

// What an outside account calls the JetStream API of the core account. In every
// account $JS.API is that account's own.
const (
	coreAPI    = "$JS.API."
	outsideAPI = "quorate.api."

	apiNext = "CONSUMER.MSG.NEXT."
	apiInfo = "CONSUMER.INFO."
)

// consumerRights let a user read through a consumer that exists, and nothing else.
func consumerRights(stream, consumer string) []string {
	return []string{
		outsideAPI + apiNext + stream + "." + consumer,
		outsideAPI + apiInfo + stream + "." + consumer,
		"$JS.ACK." + stream + "." + consumer + ".>",
	}
}

// coordinatorPublish includes the record's own subjects because a coordinator
// gives back what a stream lost; it cannot forge, since what it sends there is
// signed by others. It may create streams and consumers and read them, but not
// change, purge or delete a stream.
func coordinatorPublish() []string {
	publish := []string{
		prefixStatements + "*.*", prefixSignatures + "*", prefixControl + "*", prefixForeign + "*.*",
		prefixJobs + "*", prefixRequests + "*", prefixAlarms + "*",
		coreAPI + "INFO",
	}
	for _, s := range []string{StreamRecord, StreamJobs, StreamRequests, StreamAlarms, StreamSignerAlarms, StreamFiles} {
		publish = append(publish,
			coreAPI+"STREAM.CREATE."+s,
			coreAPI+"STREAM.INFO."+s,
			coreAPI+"STREAM.MSG.GET."+s,
			coreAPI+"CONSUMER.CREATE."+s+".>",
			coreAPI+apiInfo+s+".*",
			coreAPI+"CONSUMER.DELETE."+s+".*",
			coreAPI+apiNext+s+".*",
			"$JS.ACK."+s+".>")
	}
	return publish
}
