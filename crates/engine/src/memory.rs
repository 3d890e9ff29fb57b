//! What memory a model needs, and what the machine has.

use std::fmt;
use std::fs;

/// Bytes that a model takes once it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Packed weights.
    pub weights: u64,
    /// Cached keys and values.
    pub kv: u64,
    /// Buffers of a step.
    pub scratch: u64,
}

impl Need {
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.scratch)
    }
}

/// A need that the machine cannot meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub need: Need,
    pub available: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Need { weights, kv, scratch } = self.need;
        write!(
            f,
            "the model needs {} (weights {}, cache {}, buffers {}), and {} is available",
            bytes(self.need.total()),
            bytes(weights),
            bytes(kv),
            bytes(scratch),
            bytes(self.available)
        )
    }
}

/// A number of bytes as people read it: `1.5 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Bytes that this process may still take: the least of what the machine has free, what its
/// control groups leave, and what its address-space limit leaves. `None` where nothing says.
pub fn available() -> Option<u64> {
    [machine(), control_group(), address_space()].into_iter().flatten().min()
}

/// `MemAvailable` of the machine.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(&text, "MemAvailable:")
}

/// The number of a line `NAME 123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the tightest of this process's control groups (version 2) leaves: its limit less what it
/// holds, page cache apart, which gives way.
fn control_group() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_string();
    let mut least = None;
    loop {
        let folder = format!("/sys/fs/cgroup{path}");
        let number = |file: &str| -> Option<u64> {
            fs::read_to_string(format!("{folder}/{file}")).ok()?.trim().parse().ok()
        };
        if let (Some(max), Some(current)) = (number("memory.max"), number("memory.current")) {
            let stat = fs::read_to_string(format!("{folder}/memory.stat")).unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix("file "));
            let cache: u64 = cache.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
            let left = max.saturating_sub(current.saturating_sub(cache));
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        match path.rfind('/') {
            Some(at) if path.len() > 1 => path.truncate(at.max(1)),
            _ => return least,
        }
    }
}

/// What `RLIMIT_AS` leaves.
fn address_space() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(limit.saturating_sub(kibibytes(&status, "VmSize:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(
            kibibytes("MemFree: 1 kB\nMemAvailable:   12 kB\n", "MemAvailable:"),
            Some(12288)
        );
        assert_eq!(kibibytes("MemAvailable: many kB", "MemAvailable:"), None);
    }
}
