// Package coordinator records what builders say, decides, asks the signers, and
// shows all of it.
//
// It reads one JetStream stream, the record, and keeps a SQLite database that is
// a projection of it: received bytes, effects and the position in the stream are
// committed together. Verdicts follow in a second step from what is committed,
// questions to the signers in a third. Each step leaves behind a row that makes
// the next one happen, so a crash between two of them only delays.
//
// # Guarantees
//
//   - Every message of the record is kept as it was received, also those that
//     are refused, and each has its effect exactly once, whatever is delivered
//     twice and whenever the process is killed.
//   - The projection is a function of the record, the policy and the
//     certificates: thrown away and made again it is the same, and so it is on
//     another machine that reads the same stream. (What depends on the clock,
//     settle times and revocations, also needs the same reading of it.)
//   - A signature is shown only after it was verified with the certificate that
//     this coordinator was given, over the file state that a recorded statement
//     carries. No message can make it show another.
//   - A question that was refused, lost or not answered is asked again with
//     growing pauses; what only a person can change waits for one, visibly.
//   - Nothing is changed over HTTP.
//
// # Non-guarantees
//
//   - It holds no key that counts and is believed by no signer: a coordinator
//     that lies can delay and hide, but not get a signature.
//   - Times of receipt are the stream's. A stream that was filled again with
//     [Reseed] has the times of that day; this coordinator keeps the true ones,
//     a new one cannot know them.
//   - The HTTP interface has no users and no TLS. It listens on loopback, and
//     whoever opens it further puts a proxy in front.
package coordinator
