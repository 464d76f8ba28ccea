// Package builderagent is what runs on a builder's machine: it makes and keeps
// the builder's keys, says what was built in signed statements, and, as a
// daemon, takes jobs and runs builds.
//
// # The state directory
//
//	agent.toml       configuration, see [Config]
//	statement.key    the key that signs statements, PKCS#8 PEM
//	bus.nk           the seed of the key that opens the bus, a different one
//	run.lock         locked by the one agent that runs here
//	spool/           statements that no coordinator has confirmed (package spool)
//	jobs/ID.json     jobs that were done, with the statement that came of each
//	work/ID-RANDOM/  a build under way: build/ (its directory), tmp/, keep/
//	builds/ID/       build.log, dependencies.txt and out/ of a finished build
//
// # Guarantees
//
//   - Nothing is lost: a statement is on the disk before it is sent, and stays
//     until a coordinator confirms it. kill -9 at any moment loses no statement.
//   - A job gives one statement, however often it is delivered and wherever the
//     agent was killed. The order is: statement into the job's record, into the
//     spool, record marked, job acknowledged. A crash after any of these is
//     repaired at the next start or the next delivery, with the same bytes.
//   - A later statement about a target is not published before an earlier one
//     about it was confirmed, so an old vote never replaces a new one.
//   - A job's fields reach the build command as environment variables, whole and
//     unparsed; there is no shell of ours. The build sees no other variables
//     than the ones listed at [Config.Env], and no open file of the agent.
//   - When a build ends, for whatever reason, its process group is killed. On
//     Linux every process that still carries the build's variables is killed
//     too, and after a kill -9 of the agent the next start does it.
//   - Jobs of a channel that is not configured are not built.
//   - Keys never leave their files: not in arguments, variables, logs, errors.
//
// # Non-guarantees
//
//   - The build is not confined. It runs as the agent's user and can read what
//     that user can, the keys included, and a process that clears its
//     environment and leaves the group escapes the killing. Whoever builds what
//     others wrote makes the build command start a container or a virtual
//     machine, or runs it as another user.
//   - The last lines of a failed build's log become public with the statement.
//   - Kept logs and outputs are for people. They are not synced to disk.
package builderagent
