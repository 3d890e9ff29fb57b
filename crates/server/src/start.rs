//! From a loaded model and what a user chose to a server that runs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use engine::grammar::Grammars;
use engine::{Core, Engine, Loaded};
use plan::Peaks;
use tokio::signal::unix::{SignalKind, signal};

use crate::admission::Admission;
use crate::anthropic::{Settings as MessagesSettings, SignatureKey};
use crate::auth::{Keys, Origins};
use crate::drain::{Drain, Phase};
use crate::figures::Money;
use crate::limits::Limits;
use crate::listen;
use crate::live::Observer;
use crate::metrics::Metrics;
use crate::state::{Defaults, Facts, Server, Shared, now_unix_s};
use crate::supervisor::Supervisor;
use crate::traces::Traces;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "{address} can be reached from other machines: give an API key (--api-key-file), or say \
         --insecure to serve whoever comes"
    )]
    Open { address: SocketAddr },
    #[error("{address}: cannot listen: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("cannot serve: {0}")]
    Run(#[from] io::Error),
    #[error("the engine has stopped")]
    EngineGone,
}

/// What a user chose.
#[derive(Clone)]
pub struct Options {
    /// What the model is called; at least one name.
    pub names: Vec<String>,
    pub limits: Limits,
    pub defaults: Defaults,
    pub messages: MessagesSettings,
    pub money: Money,
    pub keys: Keys,
    pub origins: Origins,
    /// What the machine reaches at best, if it was measured.
    pub peaks: Option<Peaks>,
    /// Where traces go, if anywhere.
    pub traces: Option<Traces>,
    /// Who watches over the server, if anybody does.
    pub supervisor: Option<Supervisor>,
    /// Writes one line of the log.
    pub log: fn(&str),
}

/// A server that is ready to run.
pub struct Service {
    server: Shared,
    listener: TcpListener,
}

/// Ends a server from elsewhere, or looks at its engine.
#[derive(Clone)]
pub struct Handle {
    server: Shared,
}

impl Handle {
    /// Has `look` called between two steps, on the engine's thread: it must not wait.
    pub fn look(&self, look: impl FnOnce(&Core) + Send + 'static) {
        self.server.engine.look(look);
    }

    /// Takes no new requests, lets the running ones end, and stops.
    pub fn drain(&self) {
        self.server.drain.advance(Phase::Draining);
    }

    /// Stops at once: running answers are told so.
    pub fn abort(&self) {
        self.server.drain.advance(Phase::Aborting);
    }
}

impl Service {
    /// Puts a model behind a listener of [`listen`](crate::listen).
    ///
    /// # Errors
    /// [`Error::Engine`] if its limits contradict each other.
    pub fn new(listener: TcpListener, loaded: Loaded, options: Options) -> Result<Service, Error> {
        let vocabulary = loaded.vocabulary.clone();
        let facts = Facts::of(&loaded);
        let mut core = Core::new(loaded)?;
        if let Some(peaks) = options.peaks {
            core.set_peaks(peaks);
        }
        let Options { names, limits, defaults, messages, money, keys, origins, .. } = options;
        let (peaks, traces, supervisor) = (options.peaks, options.traces, options.supervisor);
        let signature_key = match &messages.signature_key {
            Some(key) => key.clone(),
            None => SignatureKey::fresh()?,
        };
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let model = names.first().map_or("model", String::as_str);
        let server = Server {
            context: core.longest(),
            engine: Engine::start(core),
            grammars: Grammars::new(&vocabulary.tokenizer).ok(),
            vocabulary,
            admission: Admission::new(limits.clone()),
            drain: Drain::new(),
            metrics: Metrics::new(model),
            observer: Observer::new(),
            started: Instant::now(),
            started_unix_s: now_unix_s(),
            origins: Origins { is_loopback, ..origins },
            names,
            facts,
            limits,
            defaults,
            messages,
            signature_key,
            money,
            keys,
            peaks,
            traces,
            supervisor,
            log: options.log,
        };
        Ok(Service { server: Arc::new(server), listener })
    }

    #[cfg(test)]
    pub(crate) fn into_server(self) -> Shared {
        self.server
    }

    pub fn handle(&self) -> Handle {
        Handle { server: self.server.clone() }
    }

    /// Where it can be reached.
    ///
    /// # Errors
    /// If the system doesn't say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Tokens that prompt and answer may have together.
    pub fn context(&self) -> usize {
        self.server.context
    }

    /// Serves until it was drained, by its [`Handle`] or, if `signals`, by SIGTERM or Ctrl-C: the
    /// first drains, the second stops at once.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::EngineGone`].
    pub fn run(self, signals: bool) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let Service { server, listener } = self;
        let outcome = runtime.block_on(async {
            if signals {
                tokio::spawn(obey_signals(Handle { server: server.clone() })?);
            }
            listen::run(server.clone(), listener).await
        });
        // Whatever still renders a prompt is of no use any more.
        runtime.shutdown_background();
        if let Some(traces) = &server.traces {
            traces.end();
        }
        outcome?;
        if server.engine.is_alive() { Ok(()) } else { Err(Error::EngineGone) }
    }
}

/// Listens for signals from now on.
fn obey_signals(handle: Handle) -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for n in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if n == 0 {
                (handle.server.log)("stopping: running requests may end; again to stop at once");
                handle.drain();
            } else {
                handle.abort();
            }
        }
    })
}
