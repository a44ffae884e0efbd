/* Makes system calls in a container and says how each ended, a line each: `name: ok`, or the name of the error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void *thread(void *arg)
{
	return arg;
}

static long threads(void)
{
	pthread_t id;
	void *back = NULL;

	errno = pthread_create(&id, NULL, thread, "x");
	return errno || pthread_join(id, &back) || !back ? -1 : 0;
}

/* A child in a namespace of its own. */
static long child_in(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid;
}

/* A debugger in the container and its own child. */
static long traced_child(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status)) {
		errno = EPERM;
		return -1;
	}
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, NULL, 0);
	return 0;
}

int main(void)
{
	char unused[256] = { 0 };

	/* Much of this would happen where nothing refuses it. */
	if (getpid() != 1)
		return 2;
	say("threads", threads());
	say("fork", child_in(0));
	say("traced child", traced_child());
	say("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
	say("raw socket", socket(AF_INET, SOCK_RAW, 1));
	say("personality", syscall(SYS_personality, 0xffffffff));
	say("chroot", chroot("/"));
	say("chown", chown("/tmp", 0, 0));
	say("mkfifo", mkfifo("/tmp/fifo", 0600));
	say("memfd", syscall(SYS_memfd_create, "x", 0));
	say("null", open("/dev/null", O_RDWR));
	say("urandom", open("/dev/urandom", O_RDONLY));
	say("terminal", open("/dev/ptmx", O_RDWR | O_NOCTTY));

	say("clone3", syscall(SYS_clone3, unused, 64));
	say("clone user", child_in(CLONE_NEWUSER));
	say("clone net", child_in(CLONE_NEWNET));
	say("unshare user", unshare(CLONE_NEWUSER));
	say("unshare net", unshare(CLONE_NEWNET));
	say("setns", setns(0, CLONE_NEWNET));
	say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
	say("umount", umount2("/proc", MNT_DETACH));
	say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	say("pivot root", syscall(SYS_pivot_root, "/", "/"));
	say("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	say("add key", syscall(SYS_add_key, "user", "x", "x", 1, -3));
	say("bpf", syscall(SYS_bpf, 0, unused, sizeof(unused)));
	say("perf", syscall(SYS_perf_event_open, unused, 0, -1, -1, 0));
	say("userfaultfd", syscall(SYS_userfaultfd, 1));
	say("io_uring", syscall(SYS_io_uring_setup, 1, unused));
	say("open by handle", syscall(SYS_open_by_handle_at, -1, unused, 0));
	say("hypervisor socket", socket(40, SOCK_STREAM, 0));
	say("kernel log", syscall(SYS_syslog, 3, unused, sizeof(unused)));
	say("host name", sethostname("x", 1));
	say("clock", syscall(SYS_clock_settime, 0, unused));
	say("personality of others", syscall(SYS_personality, 0x0040000));
	return 0;
}
