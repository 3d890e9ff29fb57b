//! What memory a model needs, and what the machine has.

use std::fmt;
use std::fs;

/// Bytes that a model takes once it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Packed weights; without routed experts where these stay in their files.
    pub weights: u64,
    /// The cache of experts that stay in their files; 0 where all weights are in memory.
    pub experts: u64,
    /// Cached keys and values.
    pub kv: u64,
    /// Buffers of a step, and what the program takes besides a model.
    pub scratch: u64,
}

impl Need {
    pub fn total(&self) -> u64 {
        let Need { weights, experts, kv, scratch } = *self;
        [experts, kv, scratch].into_iter().fold(weights, u64::saturating_add)
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
        let Need { weights, experts, kv, scratch } = self.need;
        write!(f, "the model needs ")?;
        let total = bytes(self.need.total());
        match experts {
            0 => write!(f, "{total} (weights {}, ", bytes(weights))?,
            // What is here is the least of it.
            _ => {
                let (weights, experts) = (bytes(weights), bytes(experts));
                write!(f, "at least {total} (weights {weights}, experts {experts}, ")?;
            }
        }
        let (kv, scratch, available) = (bytes(kv), bytes(scratch), bytes(self.available));
        write!(f, "cache {kv}, buffers {scratch}), and {available} is available")
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

/// Bytes of this process's own memory, which no file backs. 0 where nothing says.
pub(crate) fn held() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&status, "RssAnon:").unwrap_or(0)
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
    fn a_shortage_names_every_number() {
        let need = Need { weights: 3 << 20, experts: 0, kv: 1 << 20, scratch: 512 << 10 };
        let shortage = Shortage { need, available: 4 << 20 }.to_string();
        let numbers = "(weights 3.0 MiB, cache 1.0 MiB, buffers 512.0 KiB)";
        assert_eq!(
            shortage,
            format!("the model needs 4.5 MiB {numbers}, and 4.0 MiB is available")
        );
        let need = Need { experts: 1 << 20, ..need };
        let shortage = Shortage { need, available: 4 << 20 }.to_string();
        let numbers = "(weights 3.0 MiB, experts 1.0 MiB, cache 1.0 MiB, buffers 512.0 KiB)";
        assert_eq!(
            shortage,
            format!("the model needs at least 5.5 MiB {numbers}, and 4.0 MiB is available")
        );
    }

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
