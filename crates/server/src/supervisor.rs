//! Whoever started the server and watches over it, as systemd does: told that the server is ready,
//! that it is well, and that it is about to stop (`sd_notify`).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::drain::Phase;
use crate::state::{Server, Shared};

/// The other end of the socket.
#[derive(Clone, Debug)]
pub struct Supervisor {
    address: SocketAddr,
    /// How long it waits for a sign of life, if it waits for any.
    patience: Option<Duration>,
}

impl Supervisor {
    /// The one that listens at `socket`, a path or an abstract name that begins with @. It ends a
    /// server that gives no sign of life for `patience`.
    ///
    /// # Errors
    /// `socket` names no socket.
    pub fn at(socket: &OsStr, patience: Option<Duration>) -> io::Result<Supervisor> {
        Ok(Supervisor { address: address(socket)?, patience })
    }

    fn tell(&self, words: &str) {
        // It may have gone: that is for whoever started both.
        let _ = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(words.as_bytes(), &self.address));
    }
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(socket),
    }
}

/// Says that requests are taken, and gives signs of life while the engine makes steps: one that is
/// stuck gives none.
pub(crate) async fn accompany(server: Shared) {
    let Some(supervisor) = server.supervisor.clone() else { return };
    supervisor.tell(&format!("READY=1\nSTATUS=serving {}\n", server.name()));
    let Some(patience) = supervisor.patience else { return };
    loop {
        if server.is_well() {
            supervisor.tell("WATCHDOG=1\n");
        }
        tokio::select! {
            // Twice in that time, as systemd asks for.
            () = tokio::time::sleep(patience / 2) => {}
            () = server.drain.reached(Phase::Aborting) => return,
        }
    }
}

/// Says that the end has begun.
pub(crate) fn stops(server: &Server) {
    let Some(supervisor) = &server.supervisor else { return };
    let status = match server.engine.is_alive() {
        true => "running requests may end",
        false => "the engine has failed",
    };
    supervisor.tell(&format!("STOPPING=1\nSTATUS={status}\n"));
}
