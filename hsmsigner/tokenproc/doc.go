// Package tokenproc runs a [token.Token] in a child process, because a call into
// a PKCS#11 module that hangs can only be ended together with its process.
//
// [Start] executes the program's own binary again with the argument [Command];
// there, [Main] opens the token and serves requests from its standard input.
// [Proxy] has the six methods of token.Token and can stand in its place.
//
// Guarantees:
//
//   - A signature that takes longer than its deadline has the child's whole
//     process group killed. A new child is started, and every request that was
//     under way is asked again there. The same happens when the child dies, or
//     says something that is not the protocol. It is logged and counted once per
//     child. Asking twice is harmless: both signatures say the same, and nothing
//     is released before it was verified and written to the ledger.
//   - Sign returns when a request has outlived its tries, with an error of class
//     [token.Unavailable]. A module that crashes with every signature costs a
//     bounded number of children per request, started with growing pauses.
//   - Every signature of Sign was verified in this process, with the public key
//     that was first seen under the label since Start. What the child believes does
//     not count. SignUnverified leaves that to its caller.
//   - The PIN crosses the pipe when the token asks for it, and occurs in no
//     argument, environment, error or log line. What the module wrote to its
//     standard error is logged without it.
//   - After a PIN was refused, no PIN is given to any child of the same Proxy, and
//     no child is started any more. A login whose outcome is unknown, because the
//     child died in it, is only repeated if an earlier one of this Proxy
//     succeeded: Start makes one try.
//   - Errors are what token.Token returns: the same text, class, and sentinels for
//     errors.Is.
//   - The child goes when this process goes, however that ends (Linux).
//
// What the child gives up before it loads the module (Linux): core dumps and
// being traced by other processes of its user, privileges through set-user-id
// programs, descriptors that it inherited, signals meant for the terminal or the
// service, and, unless Options.Network says that the module needs it, the
// network, if the kernel allows that: without root it needs user namespaces,
// which some systems forbid. Then the child runs with the network, and says so
// in the log.
//
// Non-guarantees:
//
//   - It is a wall against faults, not against malice. The child has the user and
//     the files of its parent: a module that means harm can open the ledger by
//     its name. What holds it off is the same as without a child: choose the
//     module well, and give the service no more files than it needs.
//   - A process inside the kernel, on a disk or device that does not answer,
//     cannot be killed. Requests then fail as unavailable, until it is gone.
//   - A request that makes the module crash takes one try from each request that
//     was in the child at the same time.
//   - The environment goes to the child as it is: modules are configured by it.
//   - Other systems than Linux have pipes and deadlines, and nothing of the
//     paragraph above; there the child ends when it finds its input closed.
package tokenproc
