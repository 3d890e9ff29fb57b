//! The child's side: two stages of the caller's program, the second of which becomes Python.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, exit};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::{Limits, NO_SANDBOX, Order, filter, root};

/// Runs the stage of the sandbox that `arguments` name, for a hidden subcommand of the caller's
/// program. It never returns, and it must be called before any thread is started.
pub fn child_main(arguments: impl IntoIterator<Item = OsString>) -> ! {
    let mut arguments = arguments.into_iter();
    let stage = arguments.next();
    let ended = match stage.as_ref().and_then(|stage| stage.to_str()) {
        Some("outer") => outer(arguments.collect()),
        Some("inner") => inner(),
        _ => Err("a stage of the sandbox, which starts it itself".into()),
    };
    let status = ended.unwrap_or_else(|why| {
        let _ = writeln!(io::stderr(), "{why}");
        NO_SANDBOX
    });
    exit(status)
}

type Staged<T> = Result<T, String>;

/// Says what was being done when it failed.
trait Doing<T> {
    fn doing(self, what: &str) -> Staged<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Staged<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Makes the namespaces, and starts inner as the first process in them.
fn outer(launcher: Vec<OsString>) -> Staged<i32> {
    die_with_parent()?;
    let mut flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    // Root needs no user namespace to make the others; inner gives root up before it enters one.
    if !uid.is_root() {
        flags |= UnshareFlags::NEWUSER;
    }
    unshare(flags).doing("new namespaces")?;
    if !uid.is_root() {
        fs::write("/proc/self/setgroups", "deny").doing("dropping groups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).doing("mapping the user")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).doing("mapping the group")?;
    }
    let role = if uid.is_root() { "root" } else { "user" };
    let status = Command::new("/proc/self/exe")
        .args(launcher)
        .args(["inner", role])
        .status()
        .doing("starting the inner stage")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the table of open files, not unshared here"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

fn die_with_parent() -> Staged<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing("outliving nobody")
}

/// Builds the walls from the outside in, and becomes Python.
fn inner() -> Staged<i32> {
    let order = read_order().doing("reading the order")?;
    root::enter(&order.interpreter.readable, order.limits.disk_bytes).doing("the root folder")?;
    let runner = match &order.expression {
        Some(expression) => {
            write_work("expression.py", expression)?;
            VALUE_RUNNER
        }
        None => MAIN_RUNNER,
    };
    write_work("solution.py", &order.source)?;
    write_work("runner.py", runner)?;
    std::env::set_current_dir(root::WORK).doing("the work folder")?;
    if rustix::process::geteuid().is_root() && is_true_root()? {
        become_nobody().doing("giving up root")?;
    }
    unshare(UnshareFlags::NEWUSER).doing("a user namespace")?;
    limit(order.limits).doing("limits")?;
    drop_capabilities().doing("capabilities")?;
    die_with_parent()?;
    confine(&order).doing("Landlock")?;
    for program in filter::programs()? {
        seccompiler::apply_filter(&program).doing("the list of system calls")?;
    }
    let error = Command::new(&order.interpreter.program)
        .args(["-s", "-S", "-B", "-u", "runner.py"])
        .env_clear()
        .envs([("PYTHONHASHSEED", "0"), ("PYTHONUTF8", "1"), ("HOME", root::WORK)])
        .exec();
    Err(format!("starting {}: {error}", order.interpreter.program.display()))
}

/// Whether this process was started by root itself, not by a user who is root in a namespace.
fn is_true_root() -> Staged<bool> {
    match std::env::args_os().next_back().as_ref().and_then(|role| role.to_str()) {
        Some("root") => Ok(true),
        Some("user") => Ok(false),
        _ => Err("the inner stage is started by the outer".into()),
    }
}

/// The order, and not a byte of the program's own input that follows it.
fn read_order() -> io::Result<Order> {
    let mut length = [0; 8];
    read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?;
    // The parent is ours; a length beyond this is a bug, not an order.
    if length > 1 << 28 {
        return Err(io::Error::other("the order is too long"));
    }
    let mut order = vec![0; length];
    read_exact(&mut order)?;
    Ok(serde_json::from_slice(&order)?)
}

fn read_exact(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buffer = &mut buffer[n..],
        }
    }
    Ok(())
}

fn write_work(name: &str, text: &str) -> Staged<()> {
    fs::write(Path::new(root::WORK).join(name), text).doing("writing the program")
}

fn become_nobody() -> rustix::io::Result<()> {
    const NOBODY: u32 = 65534;
    let (uid, gid) =
        (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn limit(limits: Limits) -> rustix::io::Result<()> {
    let values = [
        (Resource::Cpu, limits.cpu_s),
        (Resource::As, limits.memory_bytes),
        (Resource::Fsize, limits.disk_bytes),
        (Resource::Nproc, limits.threads),
        (Resource::Nofile, 64),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    for (resource, most) in values {
        let most = Some(most);
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

fn drop_capabilities() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        // A kernel that is older than a capability doesn't know it.
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}

/// Reading and executing where the interpreter lies, writing in the work folder, nothing else.
fn confine(order: &Order) -> Result<(), landlock::RulesetError> {
    // Files as of Linux 6.2 must be guarded; ports and signals are where the kernel can, since the
    // namespaces guard them as well.
    let abi = ABI::V3;
    let all = AccessFs::from_all(abi);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let readable = order.interpreter.readable.iter().map(|path| (path.as_path(), read));
    let devices = ["/dev/null", "/dev/zero", "/dev/urandom"].map(|path| (Path::new(path), device));
    let work = (Path::new(root::WORK), all);
    for (path, access) in readable.chain(devices).chain([work]) {
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
    }
    ruleset.restrict_self()?;
    Ok(())
}

/// Closes what was inherited before a line of the solution runs. The program's own lines are
/// compiled under a name of their own, so that a traceback is about them.
const MAIN_RUNNER: &str = r#"
import os, sys
os.closerange(3, 1 << 16)
sys.argv = ["solution.py"]
with open("solution.py", encoding="utf-8") as file:
    program = compile(file.read(), "solution.py", "exec")
names = sys.modules["__main__"].__dict__
for name in ("os", "file"):
    names.pop(name)
exec(names.pop("program"), names)
"#;

/// As the other, but standard output is for the value alone. A value is one of Python's own types
/// through and through: an object that equals everything is none.
const VALUE_RUNNER: &str = r#"
import os, sys
os.closerange(3, 1 << 16)
answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

def literal(value, depth=0):
    kind = type(value)
    if depth > 50:
        raise ValueError("nested too deep")
    if value is None or kind in (bool, int, float, str):
        return repr(value)
    if kind is dict:
        pairs = (literal(k, depth + 1) + ": " + literal(v, depth + 1) for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if kind not in (list, tuple, set, frozenset):
        raise TypeError("no plain value: " + kind.__name__)
    items = [literal(item, depth + 1) for item in value]
    if kind is list:
        return "[" + ", ".join(items) + "]"
    if kind is tuple:
        return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
    return "{" + ", ".join(items) + "}" if items else "set()"

names = {"__name__": "solution"}
with open("solution.py", encoding="utf-8") as file:
    exec(compile(file.read(), "solution.py", "exec"), names)
with open("expression.py", encoding="utf-8") as file:
    value = eval(compile(file.read().strip(), "test", "eval"), names)
answer.write(literal(value))
answer.close()
"#;
