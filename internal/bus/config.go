package bus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ConfigOptions are what a server's configuration has besides users. Zero
// values give a server on loopback with its store in ./jetstream.
type ConfigOptions struct {
	ServerName string // needed in a cluster
	Listen     string // host:port; empty means [DefaultListen]
	StoreDir   string // JetStream's files; empty means ./jetstream
	CertFile   string // with KeyFile: serve TLS
	KeyFile    string
}

// CoreAccount holds the streams, the coordinators, and the readers, who cannot
// send anything at all.
const CoreAccount = "QUORATE"

// ServerConfig is the text of a nats-server configuration that enforces
// [Permissions]. The embedded server runs on this text, so whoever runs their
// own NATS has the same rights.
//
// Permissions alone do not hold. A server sends its answers wherever the
// request's reply subject says, in its own name and without looking at any
// permission; a request for the next job answered to $JS.API.STREAM.DELETE.X,
// with an empty body, deletes stream X. So every user that may send anything,
// coordinators excepted, lives in an account of its own that imports exactly
// the subjects it may publish to: the answers to its requests stay in that
// account, whatever their subject.
//
// Users who are not valid are left out, with a comment in their place: their
// rights could not be written down safely.
func ServerConfig(users []User, o ConfigOptions) string {
	var b strings.Builder
	b.WriteString("# Generated from the coordinator's users. Do not edit: generate it again.\n")
	b.WriteString("# After adding users, make the server reload this file twice: what a new account\n")
	b.WriteString("# imports is not active before the second time.\n\n")
	if o.ServerName != "" {
		fmt.Fprintf(&b, "server_name: %s\n", quote(o.ServerName))
	}
	fmt.Fprintf(&b, "listen: %s\n", quote(or(o.Listen, DefaultListen)))
	fmt.Fprintf(&b, "# Sign requests carry their evidence.\nmax_payload: %d\n\n", MaxPayload)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %s\n", quote(or(o.StoreDir, "jetstream")))
	b.WriteString("  # By default a message is acknowledged up to two minutes before it is on the disk.\n")
	b.WriteString("  sync_interval: always\n}\n\n")
	if o.CertFile != "" {
		fmt.Fprintf(&b, "tls {\n  cert_file: %s\n  key_file: %s\n}\n\n", quote(o.CertFile), quote(o.KeyFile))
	}
	writeAccounts(&b, users)
	return b.String()
}

func writeAccounts(b *strings.Builder, users []User) {
	var core, outside []User
	for _, u := range users {
		switch {
		case u.Validate() != nil:
			fmt.Fprintf(b, "# left out, not valid: %s\n", strconv.QuoteToASCII(u.Name))
		case u.Role == RoleCoordinator, u.Role == RoleReader:
			core = append(core, u)
		default:
			outside = append(outside, u)
		}
	}
	b.WriteString("accounts {\n")
	fmt.Fprintf(b, "  %s {\n    jetstream: enabled\n", CoreAccount)
	writeExports(b, outside)
	writeUsers(b, core)
	b.WriteString("  }\n")
	for _, u := range outside {
		fmt.Fprintf(b, "  # %s, %s\n  %s {\n", u.Name, u.Role, quote("USER_"+u.Name))
		writeImports(b, u)
		writeUsers(b, []User{u})
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
}

// inCore is what the core account calls a subject of an outside account.
func inCore(subject string) string {
	if rest, ok := strings.CutPrefix(subject, outsideAPI); ok {
		return coreAPI + rest
	}
	return subject
}

func writeExports(b *strings.Builder, users []User) {
	var services []string
	for _, u := range users {
		publish, _ := Permissions(u)
		services = append(services, publish...)
	}
	slices.Sort(services)
	b.WriteString("    exports: [\n")
	for _, s := range slices.Compact(services) {
		s = inCore(s)
		fmt.Fprintf(b, "      { service: %s%s }\n", quote(s), responses(s))
	}
	b.WriteString("    ]\n")
}

// responses lets the answer to a pull be several messages. The threshold is how
// long the way back stays open while nothing comes; it must be longer than any
// client lets a pull wait.
func responses(subject string) string {
	if strings.HasPrefix(subject, coreAPI+apiNext) {
		return `, response_type: "stream", response_threshold: "1h"`
	}
	return ""
}

func writeImports(b *strings.Builder, u User) {
	publish, _ := Permissions(u)
	b.WriteString("    imports: [\n")
	for _, s := range publish {
		fmt.Fprintf(b, "      { service: { account: %s, subject: %s }, to: %s }\n", CoreAccount, quote(inCore(s)), quote(s))
	}
	b.WriteString("    ]\n")
}

func writeUsers(b *strings.Builder, users []User) {
	b.WriteString("    users: [\n")
	for _, u := range users {
		publish, subscribe := Permissions(u)
		fmt.Fprintf(b, "      { nkey: %s, permissions: {\n", u.NKey)
		fmt.Fprintf(b, "        publish: %s\n", allow(publish))
		fmt.Fprintf(b, "        subscribe: %s\n", allow(subscribe))
		if u.Role.Responds() {
			fmt.Fprintf(b, "        allow_responses: { max: %d, expires: %s }\n", responseMax, quote(responseTTL.String()))
		}
		b.WriteString("      } }\n")
	}
	b.WriteString("    ]\n")
}

// allow writes a permission. An empty list would mean "everything" to the
// server, so no rights are written as a denial of all subjects.
func allow(subjects []string) string {
	if len(subjects) == 0 {
		return `{ deny: [">"] }`
	}
	quoted := make([]string, len(subjects))
	for i, s := range subjects {
		quoted[i] = quote(s)
	}
	return "{ allow: [\n          " + strings.Join(quoted, ",\n          ") + " ] }"
}

func quote(s string) string { return strconv.Quote(s) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
