/* A PKCS#11 module that is another one (FAULT_MODULE) with faults.
 *
 * Each of the calls below looks into the folder FAULT_DIR when it is made:
 *
 *   NAME.abort   the process aborts, after saying something on standard error
 *   NAME.exit    the process exits
 *   NAME.hang    the call never returns
 *   NAME.liar    C_Sign: the signature has a wrong bit
 *   NAME.full    C_OpenSession: the token has no more sessions
 *   NAME.locked  C_GetTokenInfo: the user PIN is locked
 *   NAME.final   C_GetTokenInfo: one more wrong PIN locks it
 *   NAME.once    the fault happens once: both files are removed before it
 *
 * and adds a byte to NAME.calls. Before it hangs, it writes a byte to the FIFO
 * NAME.hangs, if there is one. C_Login writes to the file "report" what the
 * process looks like from inside. */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef unsigned char byte;

/* CK_FUNCTION_LIST is a version and then 68 pointers, in an order that PKCS#11
 * fixed for ever (v3.1 section 5.2). */
enum { INITIALIZE = 0, FINALIZE = 1, GET_FUNCTION_LIST = 3, TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18, SIGN = 43, COUNT = 68 };

struct list {
	byte version[2];
	void *call[COUNT];
};

static struct list *real, faulty;
static char said[64]; /* the PIN, which a module in debug mode prints */
extern char **environ;

static int present(const char *name, const char *what, int remove) {
	char path[4096];
	snprintf(path, sizeof path, "%s/%s.%s", getenv("FAULT_DIR"), name, what);
	return remove ? unlink(path) == 0 : access(path, F_OK) == 0;
}

static void add(const char *name, const char *what, int flags) {
	char path[4096];
	snprintf(path, sizeof path, "%s/%s.%s", getenv("FAULT_DIR"), name, what);
	int fd = open(path, O_WRONLY | flags, 0600);
	if (fd < 0) return;
	if (write(fd, "x", 1) != 1) abort();
	close(fd);
}

static int has(const char *name, const char *what) {
	if (!present(name, what, 0)) return 0;
	if (present(name, "once", 1)) present(name, what, 1);
	return 1;
}

static int faults(const char *name) {
	add(name, "calls", O_CREAT | O_APPEND);
	if (has(name, "abort")) {
		fprintf(stderr, "module: cannot go on, pin was %s!\n", said);
		abort();
	}
	if (has(name, "exit")) _exit(3);
	if (has(name, "hang")) {
		add(name, "hangs", 0);
		for (;;) pause();
	}
	return has(name, "liar");
}

static ulong f_initialize(void *args) {
	printf("verbose modules write to standard output\n");
	fflush(stdout);
	faults("C_Initialize");
	return ((ulong(*)(void *))real->call[INITIALIZE])(args);
}

static ulong f_finalize(void *reserved) {
	faults("C_Finalize");
	return ((ulong(*)(void *))real->call[FINALIZE])(reserved);
}

static int can_connect(void) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("FAULT_PORT")))};
	inet_aton("127.0.0.1", &to.sin_addr);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	int result = s >= 0 && connect(s, (struct sockaddr *)&to, sizeof to) == 0;
	close(s);
	return result;
}

static int said_in_environment(void) {
	for (char **e = environ; *e != NULL; e++)
		if (strstr(*e, said) != NULL) return 1;
	return 0;
}

static int secret_is_open(void) {
	struct stat secret, other;
	if (stat(getenv("FAULT_SECRET"), &secret) != 0) return 1;
	for (int fd = 0; fd < 1024; fd++)
		if (fstat(fd, &other) == 0 && other.st_dev == secret.st_dev && other.st_ino == secret.st_ino) return 1;
	return 0;
}

static void report(void) {
	char path[4096];
	snprintf(path, sizeof path, "%s/report", getenv("FAULT_DIR"));
	FILE *f = fopen(path, "w");
	if (f == NULL || getenv("FAULT_SECRET") == NULL) return;
	struct rlimit core;
	getrlimit(RLIMIT_CORE, &core);
	fprintf(f, "dumpable=%d no_new_privs=%d core=%d inherited=%d network=%d pin_in_environment=%d\n",
		prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), core.rlim_max > 0,
		secret_is_open(), can_connect(), said_in_environment());
	fclose(f);
}

static ulong f_login(ulong session, ulong user, byte *pin, ulong length) {
	snprintf(said, sizeof said, "%.*s", (int)length, pin);
	report();
	faults("C_Login");
	return ((ulong(*)(ulong, ulong, byte *, ulong))real->call[LOGIN])(session, user, pin, length);
}

static ulong f_sign(ulong session, byte *data, ulong length, byte *signature, ulong *size) {
	int liar = signature != NULL && faults("C_Sign");
	ulong result = ((ulong(*)(ulong, byte *, ulong, byte *, ulong *))real->call[SIGN])(session, data, length, signature, size);
	if (liar && result == 0) signature[0] ^= 1;
	return result;
}

/* The flags come behind four texts of CK_TOKEN_INFO (v3.1 section 3.2). */
static ulong f_token_info(ulong slot, byte *info) {
	ulong flags, result = ((ulong(*)(ulong, byte *))real->call[TOKEN_INFO])(slot, info);
	if (result != 0) return result;
	memcpy(&flags, info + 96, sizeof flags);
	if (has("C_GetTokenInfo", "locked")) flags |= 0x40000; /* CKF_USER_PIN_LOCKED */
	if (has("C_GetTokenInfo", "final")) flags |= 0x20000;  /* CKF_USER_PIN_FINAL_TRY */
	memcpy(info + 96, &flags, sizeof flags);
	return 0;
}

static ulong f_open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session) {
	faults("C_OpenSession");
	if (has("C_OpenSession", "full")) return 0xB1; /* CKR_SESSION_COUNT */
	return ((ulong(*)(ulong, ulong, void *, void *, ulong *))real->call[OPEN_SESSION])(slot, flags, application, notify, session);
}

static ulong f_list(struct list **out) {
	*out = &faulty;
	return 0;
}

ulong C_GetFunctionList(struct list **out) {
	void *module = dlopen(getenv("FAULT_MODULE"), RTLD_NOW);
	if (module == NULL) return 5;
	ulong (*get)(struct list **) = (ulong(*)(struct list **))dlsym(module, "C_GetFunctionList");
	if (get == NULL || get(&real) != 0) return 5;
	faulty = *real;
	faulty.call[INITIALIZE] = f_initialize;
	faulty.call[FINALIZE] = f_finalize;
	faulty.call[GET_FUNCTION_LIST] = f_list;
	faulty.call[TOKEN_INFO] = f_token_info;
	faulty.call[OPEN_SESSION] = f_open_session;
	faulty.call[LOGIN] = f_login;
	faulty.call[SIGN] = f_sign;
	return f_list(out);
}
