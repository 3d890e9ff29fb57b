//! The system calls that a Python program needs, and none that reaches out of the sandbox.
//!
//! What is not listed fails with EPERM. No `fork` and no `socket`: threads are started by `clone`
//! with a flag that is checked, and `clone3`, whose flags lie in memory, fails with ENOSYS, after
//! which the C library takes `clone`. No `kill` either: a process group can reach beyond the
//! process namespace.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_umask,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
    // Of Python itself, once: the programs that it could start see the same filter.
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Those that only x86-64 has, by number: open, stat, lstat, poll, access, pipe, select, dup2,
/// rename, mkdir, rmdir, unlink, readlink, getrlimit, time, arch_prctl.
const ALLOWED_X86_64: &[i64] = &[2, 4, 6, 7, 21, 22, 23, 33, 82, 83, 84, 87, 89, 97, 201, 158];

/// The filter for this machine.
///
/// # Errors
///
/// In words, on a processor that it isn't known for.
pub(super) fn programs() -> Result<[BpfProgram; 2], String> {
    let target: TargetArch =
        std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let more = if target == TargetArch::x86_64 { ALLOWED_X86_64 } else { &[] };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(more).map(|&call| (call, Vec::new())).collect();
    let thread = u64::try_from(libc::CLONE_THREAD).expect("a flag is positive");
    let is = |argument, length, comparison, value| {
        let condition = SeccompCondition::new(argument, length, comparison, value);
        condition.and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let build = || {
        let only_threads = is(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)?;
        rules.insert(libc::SYS_clone, vec![only_threads]);
        // Its own limits, which can't grow: those of process 0, itself.
        let own = is(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?;
        rules.insert(libc::SYS_prlimit64, vec![own]);
        // Of a file's switches: whether it's a terminal, and closing on exec.
        let ioctls = [libc::TCGETS, libc::FIOCLEX, libc::FIONCLEX, libc::FIONBIO];
        let ioctls =
            ioctls.iter().map(|&request| is(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request));
        rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
        rules.insert(libc::SYS_clone3, Vec::new());
        let errno = |code: i32| SeccompAction::Errno(code.unsigned_abs());
        let allowed = SeccompFilter::new(rules, errno(libc::EPERM), SeccompAction::Allow, target)?;
        // Of two filters the stricter verdict counts, so this one only takes clone3 away.
        let refused = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let refused =
            SeccompFilter::new(refused, SeccompAction::Allow, errno(libc::ENOSYS), target)?;
        Ok::<_, seccompiler::BackendError>([refused.try_into()?, allowed.try_into()?])
    };
    build().map_err(|error| error.to_string())
}
