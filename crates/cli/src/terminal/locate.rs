//! From what a user typed to a model on this machine.

use std::path::PathBuf;

use hub::{Hub, Name, Options, Snapshot, Source};

use super::{bars, notice, remark};

/// The path of the model that `text` means; a name on the hub is pulled.
pub(crate) fn path_of(text: &str) -> anyhow::Result<PathBuf> {
    match Source::parse(text)? {
        Source::Path(path) => Ok(path),
        Source::Hub(name) => Ok(pull(&name)?.model_path()),
    }
}

/// Brings a model here, and says what a user should know of it.
pub(crate) fn pull(name: &Name) -> anyhow::Result<Snapshot> {
    let hub = Hub::new(Options::from_env()?)?;
    let snapshot = hub.pull(name, &mut bars::Files::new("pulling"))?;
    if let (Some(quant), None) = (&snapshot.quant, name.quant()) {
        remark(&format!("{name}: took {quant}; write {}:QUANT for another", name.repo()));
    }
    if !snapshot.is_current {
        let commit = snapshot.commit.get(..12).unwrap_or(&snapshot.commit);
        notice(&format!(
            "{name}: using the copy of commit {commit}, which may be old: the hub was not asked"
        ));
    }
    Ok(snapshot)
}
