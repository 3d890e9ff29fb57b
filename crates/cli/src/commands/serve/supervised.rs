//! What systemd tells a service by its environment.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use server::Supervisor;

/// The supervisor that the environment names, if it does.
///
/// # Errors
/// It names one that cannot be.
pub(super) fn supervisor(
    environment: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Option<Supervisor>> {
    let Some(socket) = environment("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return Ok(None);
    };
    let number = |name: &str| environment(name)?.to_str()?.parse::<u64>().ok();
    // Set for one process, and handed on to its children all the same.
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let patience = number("WATCHDOG_USEC").filter(|&us| is_ours && us > 0);
    let patience = patience.map(Duration::from_micros);
    Supervisor::at(&socket, patience).context("NOTIFY_SOCKET names no socket").map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let found = |pairs: &'static [(&'static str, &'static str)]| {
            let value = |name: &str| pairs.iter().find(|pair| pair.0 == name);
            let found = supervisor(|name| value(name).map(|pair| pair.1.into())).unwrap();
            found.map(|supervisor| format!("{supervisor:?}"))
        };
        assert!(found(&[]).is_none() && found(&[("NOTIFY_SOCKET", "")]).is_none());
        let plain = found(&[("NOTIFY_SOCKET", "/run/notify")]).unwrap();
        assert!(plain.contains("/run/notify") && plain.contains("patience: None"), "{plain}");
        let watched = found(&[("NOTIFY_SOCKET", "@bus"), ("WATCHDOG_USEC", "3000000")]).unwrap();
        assert!(watched.contains("patience: Some(3s)"), "{watched}");
        let other =
            [("NOTIFY_SOCKET", "@bus"), ("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")];
        let other =
            supervisor(|name| other.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into()));
        assert!(format!("{other:?}").contains("patience: None"));
    }
}
