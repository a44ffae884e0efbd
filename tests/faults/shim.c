/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Preloaded into hnsd by tests/faults.rs: makes one kind of call fail, every so many times, as a page that the test shares says. Other
 * programs that inherit it are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { NOTHING, SOCKET, SEND, RECEIVE, BPF, DISK, OPEN };

struct page {
	_Atomic int kind;
	_Atomic int error;
	_Atomic int every;
	_Atomic int calls;
	_Atomic int failed;
};

static struct page *page;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("HNS_FAULTS");
	void *mapped;
	int file;

	if (!path || strcmp(program_invocation_short_name, "hnsd"))
		return;
	file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		return;
	mapped = mmap(0, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	syscall(SYS_close, file);
	if (mapped != MAP_FAILED)
		page = mapped;
}

static int fails(enum kind kind)
{
	if (!page || atomic_load(&page->kind) != (int)kind)
		return 0;
	if (atomic_fetch_add(&page->calls, 1) % atomic_load(&page->every))
		return 0;
	atomic_fetch_add(&page->failed, 1);
	errno = atomic_load(&page->error);
	return 1;
}

static int is_netlink(int socket)
{
	int domain = 0, before = errno;
	socklen_t length = sizeof(domain);
	int is_it = !getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) && domain == AF_NETLINK;

	errno = before;
	return is_it;
}

#define NEXT(result, name, ...) \
	static result (*next)(__VA_ARGS__); \
	if (!next) \
		next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

int socket(int domain, int type, int protocol)
{
	NEXT(int, socket, int, int, int);
	return domain == AF_NETLINK && fails(SOCKET) ? -1 : next(domain, type, protocol);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	NEXT(ssize_t, send, int, const void *, size_t, int);
	return is_netlink(fd) && fails(SEND) ? -1 : next(fd, data, length, flags);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t to_length)
{
	NEXT(ssize_t, sendto, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	return is_netlink(fd) && fails(SEND) ? -1 : next(fd, data, length, flags, to, to_length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	NEXT(ssize_t, sendmsg, int, const struct msghdr *, int);
	return is_netlink(fd) && fails(SEND) ? -1 : next(fd, message, flags);
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
	NEXT(ssize_t, recv, int, void *, size_t, int);
	return is_netlink(fd) && fails(RECEIVE) ? -1 : next(fd, data, length, flags);
}

ssize_t recvfrom(int fd, void *data, size_t length, int flags, struct sockaddr *from, socklen_t *from_length)
{
	NEXT(ssize_t, recvfrom, int, void *, size_t, int, struct sockaddr *, socklen_t *);
	return is_netlink(fd) && fails(RECEIVE) ? -1 : next(fd, data, length, flags, from, from_length);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	NEXT(ssize_t, recvmsg, int, struct msghdr *, int);
	return is_netlink(fd) && fails(RECEIVE) ? -1 : next(fd, message, flags);
}

long syscall(long number, ...)
{
	NEXT(long, syscall, long, long, long, long, long, long, long);
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	return number == SYS_bpf && fails(BPF) ? -1 : next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	NEXT(ssize_t, pwrite64, int, const void *, size_t, off64_t);
	return fails(DISK) ? -1 : next(fd, data, length, offset);
}

int fsync(int fd)
{
	NEXT(int, fsync, int);
	return fails(DISK) ? -1 : next(fd);
}

int fdatasync(int fd)
{
	NEXT(int, fdatasync, int);
	return fails(DISK) ? -1 : next(fd);
}

int open64(const char *path, int flags, ...)
{
	NEXT(int, open64, const char *, int, mode_t);
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = va_arg(list, mode_t);
	va_end(list);
	return fails(OPEN) ? -1 : next(path, flags, mode);
}
