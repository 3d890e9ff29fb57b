//! A root folder that holds the interpreter, a few devices and an empty folder to work in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::mount::{mount, mount_bind_recursive, mount_change, mount_remount, unmount};

/// Where the program runs, the only place it can write to.
pub(super) const WORK: &str = "/work";
/// Where the old root lies until it is let go.
const OLD: &str = "/old";
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// Makes the new root this process's own. The process has a mount namespace to itself, and may
/// mount in it.
pub(super) fn enter(readable: &[PathBuf], disk_bytes: u64) -> io::Result<()> {
    let none = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", none)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    // A folder that exists everywhere; what lies in it stays reachable below the old root.
    mount("tmpfs", "/tmp", "tmpfs", flags, c"size=1m,nr_inodes=1024,mode=755")?;
    fs::create_dir("/tmp/old")?;
    rustix::process::pivot_root("/tmp", "/tmp/old")?;
    std::env::set_current_dir("/")?;
    for path in readable.iter().map(PathBuf::as_path).chain(DEVICES.iter().map(Path::new)) {
        show(path)?;
    }
    let mounts = fs::read_to_string(Path::new(OLD).join("proc/self/mountinfo"))?;
    for line in mounts.lines() {
        make_read_only(line)?;
    }
    fs::create_dir(WORK)?;
    let options = format!("size={disk_bytes},nr_inodes=4096,mode=777");
    let options = std::ffi::CString::new(options).expect("digits hold no zero byte");
    mount("tmpfs", WORK, "tmpfs", flags, options.as_c_str())?;
    unmount(OLD, UnmountFlags::DETACH)?;
    fs::remove_dir(OLD)?;
    mount_remount("/", flags | MountFlags::RDONLY, "")?;
    Ok(())
}

/// Makes `path` of the old root appear in the new one.
fn show(path: &Path) -> io::Result<()> {
    let relative = path.strip_prefix("/").map_err(|_| io::Error::other("a path is relative"))?;
    let old = Path::new(OLD).join(relative);
    let Ok(kind) = fs::symlink_metadata(&old).map(|metadata| metadata.file_type()) else {
        return Ok(());
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(&old)?, path);
    }
    if kind.is_dir() {
        fs::create_dir_all(path)?;
    } else {
        fs::write(path, "")?;
    }
    Ok(mount_bind_recursive(&old, path)?)
}

/// Remounts what a line of mountinfo names, if it was bound into the new root. A flag that the
/// mount has can't be dropped, so they are repeated.
fn make_read_only(line: &str) -> io::Result<()> {
    let mut fields = line.split(' ').skip(4);
    let (Some(at), Some(options)) = (fields.next(), fields.next()) else {
        return Err(io::Error::other("mountinfo has a line that is too short"));
    };
    if at == "/" || at == OLD || at.starts_with("/old/") {
        return Ok(());
    }
    let kept = options.split(',').map(|option| match option {
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID, |a, b| a | b);
    // Spaces in paths are written in octal.
    Ok(mount_remount(at.replace("\\040", " "), flags, "")?)
}
