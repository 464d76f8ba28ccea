package builderagent

import (
	"fmt"
	"strings"

	"quorate/internal/tomltext"
)

// configText is the agent.toml that keygen writes: what was given is set, the
// rest stands there as a comment with its default.
func configText(o KeygenOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Configuration of the builder agent.

# Name of this builder, as in the policy and in the coordinator's users.
name = %s

# Where the bus is: nats://HOST:PORT or tls://HOST:PORT.
nats = %s

# The certificate authority of the bus; setting it makes TLS mandatory.
%s

# --- For "quorate agent run" only. "quorate attest" needs nothing of this. ---

# Channels whose jobs are built.
%s

`, tomltext.Quote(o.Name), tomltext.Quote(o.NATS), setting("ca_file", tomltext.Quote(o.CAFile), o.CAFile != ""),
		setting("channels", quoteList(o.Channels), len(o.Channels) > 0))
	b.WriteString(`# The build command and its arguments; there is no shell. It runs in an empty
# directory and finds the job in QUORATE_TARGET, QUORATE_SOURCE_URI and others.
# They come from the network: quote them, and write -- before them. Examples are in
# docs/building.md. A relative path of the command is relative to this file.
# command = ["/usr/local/bin/rebuild"]

# The files to vote on, relative to the build's directory. Each pattern must match.
# outputs = ["out/*.pkg.tar.zst"]

# Which of them are texts that may be clear-signed, by name without the directory.
# texts = ["Release"]

# Which of them are packages (tar, zip, deb, rpm) whose files are to be signed one by
# one, by name without the directory.
# inner_digests = ["*.rpm"]

# How long a build may take, and then the reading of its outputs; and how long a
# build has to stop when told to.
# timeout = "2h"
# grace = "10s"

# How long logs, outputs and confirmed statements are kept.
# retention = "720h"

# How many bytes of a build's output are kept; of a longer one, also the last 4 KiB.
# log_limit = 16777216

# Publish the last lines of a failed build's output with its statement. Everybody
# can read them for ever, and a hostile build prints what it can read.
# publish_log_tail = false

# Allow a bus on another machine without TLS. Whoever is on the way can then send
# jobs of their own.
# plain_bus = false

# What the build used: "auto" asks dpkg-query or pacman, "none" leaves it out.
# A command, run after the build, prints lines of: name version [sha256]
# dependencies = "auto"
# dependencies_command = ["/usr/local/bin/list-packages"]

# What a statement says besides the digests, for everybody to read: what is inside
# the outputs, and what the build ran on (kernel, machine, cpu, cpus, umask,
# filesystem, path, LANG, LC_ALL, TZ, SOURCE_DATE_EPOCH, PATH). It explains why builds
# differ. "none" leaves it out.
# manifest = "auto"
# environment = "auto"
# environment_except = ["path"]

# Give a kept output to the coordinator when it asks because builders differ on it
# ("none": never). Who can reach the coordinator can then read the file.
# uploads = "auto"

# Give the log of a build to the coordinator as well when it asks, because builders
# differ or the build failed. A hostile build prints the secrets that it can read.
# upload_logs = false

# How many builds run at once.
# parallel = 1

# Directory of statements that no coordinator has confirmed yet.
# spool = "spool"

# Further variables for the build command.
# [env]
# MAKEFLAGS = "-j8"
`)
	return b.String()
}

// setting writes a setting, as a comment if it is not set.
func setting(key, value string, set bool) string {
	if !set {
		return "# " + key + " = " + value
	}
	return key + " = " + value
}

func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = tomltext.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
