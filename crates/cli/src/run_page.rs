//! The page of a training run, as flags and a run's file ask for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use server::{RunPage, StartError};
use train::config::LogSection;

use crate::args::Usage;
use crate::terminal::notice;

/// Where a page is looked for if nobody says.
const PORT: u16 = 8090;

/// Whether a run has a page, and where.
#[derive(clap::Args)]
pub(crate) struct PageArgs {
    /// Serve the run's page at a port of this machine, or at an address.
    #[arg(long, value_name = "PORT|ADDRESS:PORT", value_parser = address)]
    page: Option<SocketAddr>,
    /// Let that be an address that other machines reach: whoever comes sees the run.
    #[arg(long)]
    page_open: bool,
}

impl PageArgs {
    /// Serves the page of the run in `folder`, if flags or the run's file ask for one.
    pub(crate) fn serve(&self, folder: &Path, log: &LogSection) -> anyhow::Result<Option<RunPage>> {
        let Some(address) = self.page.or(log.page) else { return Ok(None) };
        serve(address, self.page_open || log.page_open, folder).map(Some)
    }

    /// The same whatever is asked for.
    pub(crate) fn serve_always(&self, folder: &Path) -> anyhow::Result<RunPage> {
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        serve(self.page.unwrap_or(usual), self.page_open, folder)
    }
}

fn serve(address: SocketAddr, open: bool, folder: &Path) -> anyhow::Result<RunPage> {
    let listener = match server::listen(address, false, open) {
        Err(StartError::Open { .. }) => {
            let words = format!(
                "{address} can be reached from other machines: say --page-open, or page_open = \
                 true in [log], to show the run to whoever comes"
            );
            return Err(Usage(words).into());
        }
        listener => listener?,
    };
    let page = RunPage::start(listener, folder).context("cannot serve the run's page")?;
    notice(&format!("the run's page is at http://{}", page.address()));
    Ok(page)
}

/// Reads an address, or a port of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "expected a port, or an address such as 127.0.0.1:8090".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        assert_eq!(address("8090"), Ok(SocketAddr::from(([127, 0, 0, 1], 8090))));
        assert_eq!(address("0.0.0.0:1"), Ok(SocketAddr::from(([0, 0, 0, 0], 1))));
        assert!(address("[::1]:80").unwrap().ip().is_loopback());
        for wrong in ["", "99999", "localhost", "1.2.3.4"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
