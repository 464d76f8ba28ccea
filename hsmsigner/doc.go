// Package hsmsigner is the process beside the key: it takes sign requests from
// the bus, judges each by itself, and answers with signatures made by a PKCS#11
// token or with a refusal.
//
// It believes nobody. The coordinator that asks may be stolen, the bus may drop,
// repeat and reorder, the token may answer with garbage; what counts is the
// signer's own policy file, the statements inside the request, and its ledger.
//
// # Guarantees
//
//   - Evidence first. The token is asked only with a [quorum.Approval] in hand,
//     and only [quorum.Check] makes one.
//   - One digest for ever. Before the token is asked, the digest is committed to
//     the ledger under (channel, target, artifact name), where a unique
//     constraint holds it across restarts, policies and stages; so is what else is
//     signed of the file, such as the state of its text. A request for another one
//     is refused and raises an alarm.
//   - No artifact here. A request carries digests and the state of a hash, and is
//     at most a few megabytes large whatever the size of the file.
//   - Nothing unverified leaves. Each signature is verified as it stands in the
//     bytes of the answer, by another implementation than the one that made it,
//     before the answer is written to the ledger; only what is in the ledger is
//     published. If one is bad, they are made again with a check at each step,
//     which tells a broken token from a broken process.
//   - The same request gets the same bytes, for ever: a request's id is looked up
//     in the ledger before anything else is asked, policy and token included.
//   - A kill at any point loses nothing and changes no answer: what was not
//     acknowledged is delivered again, and each step is either repeatable or
//     found done in the ledger.
//   - A batch is answered in parts, each of which has all of this by itself. Parts
//     that are in the ledger are never made again; one that was being made when the
//     process ended was seen by nobody.
//   - Nobody waits for another one's request: the token is given to channels, and to
//     the requests of a channel, in turn, one operation at a time. What is held in
//     memory is bounded for each key, whatever waits at the bus.
//   - A PIN occurs in no argument, log line or error.
//
// # Non-guarantees
//
//   - Two ledgers know nothing of each other. Signers that hold the same key must
//     share one ledger file; with two, two digests can be signed. The same holds
//     for a ledger restored from a backup.
//   - Whoever can write the policy file or the ledger, or has the token and its
//     PIN, needs no quorum. That is why this is a process of its own.
//   - The settle time of a channel is kept by the coordinator: the signer does not
//     know when a statement was recorded.
//   - A coordinator can have requests refused at will, with evidence it spoils
//     itself; a refusal says something about a request, never about a file.
package hsmsigner
