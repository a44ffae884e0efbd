//! Which system calls a container may make: those that ordinary programs make, and none that configure the host, make
//! namespaces or reach into parts of the kernel that containers have no use for. Refused calls fail with EPERM, as without
//! the capability, and programs go on.
//!
//! The list is for a container with the capabilities that `bundle.rs` gives. To allow one more call, add its name to the
//! group it belongs to; names that an architecture does not have are passed over by the runtime.

use nix::errno::Errno;
use serde_json::{Value, json};

const FILES: &str = "
    access arm_fadvise64_64 chdir chmod chown chown32 chroot close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown lchown32 lgetxattr link linkat
    listxattr listxattrat llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile
    sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
    sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat
    utimensat_time64 utimes vmsplice write writev";

const WAITING: &str = "
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6
    pselect6_time64 select signalfd signalfd4";

const TIME: &str = "
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times";

const MEMORY: &str = "
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock
    mlock2 mlockall mmap mmap2 modify_ldt mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_madvise process_mrelease remap_file_pages";

const NETWORK: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair";

const PROCESSES: &str = "
    arch_prctl capget capset execve execveat exit exit_group fork get_thread_area getcpu getegid getegid32 geteuid
    geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self nice pause pidfd_open pidfd_send_signal prctl
    prlimit64 process_vm_readv process_vm_writev ptrace rseq sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    set_robust_list get_robust_list set_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32
    setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill tkill ugetrlimit uname vfork wait4
    waitid waitpid breakpoint cacheflush";

const SIGNALS_AND_LOCKS: &str = "
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo semctl semget semop semtimedop semtimedop_time64 shmat
    shmctl shmdt shmget sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend";

/// `clone` may make threads and processes, but none of the namespaces: mount, cgroup, UTS, IPC, user, PID, network.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;

/// Personalities that programs ask for: Linux, Linux 32-bit, each also with its 2.6 version, and the question itself.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// Sockets to the hypervisor and to other machines on it know no network namespaces.
const AF_VSOCK: u64 = 40;

/// The profile as an OCI document (`linux.seccomp`) for this machine.
pub fn profile() -> Value {
    let groups = [FILES, WAITING, TIME, MEMORY, NETWORK, PROCESSES, SIGNALS_AND_LOCKS];
    let names: Vec<&str> = groups.iter().flat_map(|group| group.split_whitespace()).collect();
    let mut calls = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        allowed_when("clone", "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES, 0),
        allowed_when("socket", "SCMP_CMP_NE", AF_VSOCK, 0),
        // Its flags are behind a pointer, where no filter looks. Without it, libraries fall back to `clone`.
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": Errno::ENOSYS as u32}),
    ];
    calls.extend(PERSONALITIES.map(|one| allowed_when("personality", "SCMP_CMP_EQ", one, 0)));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": Errno::EPERM as u32,
        "architectures": architectures(),
        "syscalls": calls,
    })
}

fn allowed_when(call: &str, operation: &str, value: u64, value_two: u64) -> Value {
    json!({"names": [call], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": value, "valueTwo": value_two, "op": operation}]})
}

/// What a machine runs beside its own programs, too: those of its 32-bit forerunner.
const fn architectures() -> &'static [&'static str] {
    if cfg!(target_arch = "aarch64") {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn allowed() -> Vec<String> {
        let profile = profile();
        let calls = profile["syscalls"].as_array().expect("a list").iter();
        let allowed = calls.filter(|one| one["action"] == "SCMP_ACT_ALLOW" && one.get("args").is_none());
        let names = allowed.flat_map(|one| one["names"].as_array().expect("a list").clone());
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn a_call_is_named_once() {
        let allowed = allowed();
        let once: BTreeSet<_> = allowed.iter().collect();
        assert_eq!(once.len(), allowed.len());
    }

    #[test]
    fn what_reaches_the_host_is_not_allowed() {
        let allowed = allowed();
        for name in [
            "acct",
            "add_key",
            "bpf",
            "clock_settime",
            "clone",
            "clone3",
            "create_module",
            "delete_module",
            "fanotify_init",
            "finit_module",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "init_module",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "ioperm",
            "iopl",
            "kcmp",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "lookup_dcookie",
            "mbind",
            "migrate_pages",
            "mount",
            "mount_setattr",
            "move_mount",
            "move_pages",
            "nfsservctl",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "personality",
            "pidfd_getfd",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "reboot",
            "request_key",
            "set_mempolicy",
            "setdomainname",
            "sethostname",
            "setns",
            "settimeofday",
            "socket",
            "stime",
            "swapoff",
            "swapon",
            "sysfs",
            "syslog",
            "umount",
            "umount2",
            "unshare",
            "uselib",
            "userfaultfd",
            "ustat",
            "vhangup",
            "vm86",
            "vm86old",
        ] {
            assert!(!allowed.iter().any(|one| one == name), "{name}");
        }
    }
}
