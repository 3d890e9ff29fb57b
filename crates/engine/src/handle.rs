//! The engine's thread, and the way to reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use model::ExpertStatistics;
use schedule::Micros;

use crate::contain::contain;
use crate::request::{Refusal, Request, Sink, refuse};
use crate::step::{Core, Progress, Statistics};

/// Requests and cancellations that may be on their way to the engine.
const INBOX_MAX: usize = 1024;

/// A request, for its cancellation. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

enum Command {
    Submit(RequestId, Box<Request>, Vec<Sink>),
    Warm(Vec<u32>, u64),
    Cancel(RequestId),
    Statistics(SyncSender<Statistics>),
    Experts(SyncSender<Option<ExpertStatistics>>),
    Look(Box<dyn FnOnce(&Core) + Send>),
}

/// A running engine. Dropping it ends the thread once its step is done.
///
/// A panic in a step ends it before: then every sink is dropped, and what is asked for is refused.
pub struct Engine {
    inbox: Option<SyncSender<Command>>,
    next_id: AtomicU64,
    is_gone: Arc<AtomicBool>,
    started: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Gives `core` a thread of its own.
    pub fn start(core: Core) -> Engine {
        let (inbox, commands) = sync_channel(INBOX_MAX);
        let started = Instant::now();
        let is_gone = Arc::new(AtomicBool::new(false));
        let told = is_gone.clone();
        let thread = thread::Builder::new()
            .name("ruminate-engine".into())
            .spawn(move || {
                let mut core = core;
                if contain(|| run(&mut core, &commands, started)).is_none() {
                    // Known before the sinks are dropped: who waited asks why.
                    told.store(true, Ordering::SeqCst);
                }
            })
            .expect("the system starts a thread");
        let next_id = AtomicU64::new(0);
        Engine { inbox: Some(inbox), next_id, is_gone, started, thread: Some(thread) }
    }

    /// The engine's clock, by which requests expire.
    pub fn now(&self) -> Micros {
        micros(self.started)
    }

    /// Hands in a request. Its events go to `sink`, on the engine's thread: a sink must not wait.
    pub fn submit(&self, request: Request, sink: Sink) -> RequestId {
        self.submit_choices(request, vec![sink])
    }

    /// Hands in a request for as many answers as there are sinks. They share the pages of the
    /// prompt; answer i is drawn with the seed that [`choice_seed`](crate::choice_seed) gives. Does
    /// not wait: where the inbox is full, they are refused as they are where the queue is.
    pub fn submit_choices(&self, request: Request, sinks: Vec<Sink>) -> RequestId {
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let full = schedule::Error::QueueFull { queued: INBOX_MAX, queue_max: INBOX_MAX };
        match self.inbox().try_send(Command::Submit(id, Box::new(request), sinks)) {
            Err(TrySendError::Full(Command::Submit(_, _, sinks))) => refuse(sinks, &full.into()),
            Err(TrySendError::Disconnected(Command::Submit(_, _, sinks))) => {
                refuse(sinks, &Refusal::Stopped);
            }
            _ => {}
        }
        id
    }

    /// Asks for the prefix `tokens` to be computed when there is nothing else to do: prompt and
    /// answer as the next turn will see them, its thinking left out.
    pub fn warm(&self, tokens: Vec<u32>, salt: u64) {
        // An engine that is gone has no next turn, one that is behind has no idle time.
        let _ = self.inbox().try_send(Command::Warm(tokens, salt));
    }

    /// Ends a request within a step; its sink is told. A sink that says false ends it too, which
    /// is what is left where the inbox is full.
    pub fn cancel(&self, id: RequestId) {
        // An engine that is gone has no requests.
        let _ = self.inbox().try_send(Command::Cancel(id));
    }

    /// Where the scheduler stands; `None` if the engine has stopped.
    pub fn statistics(&self) -> Option<Statistics> {
        let (reply, statistics) = sync_channel(1);
        self.inbox().send(Command::Statistics(reply)).ok()?;
        statistics.recv().ok()
    }

    /// How experts came from their files; `None` if all are in memory, or the engine has stopped.
    pub fn expert_statistics(&self) -> Option<ExpertStatistics> {
        let (reply, statistics) = sync_channel(1);
        self.inbox().send(Command::Experts(reply)).ok()?;
        statistics.recv().ok()?
    }

    /// Has `look` called between two steps, on the engine's thread: it must not wait. An engine
    /// that has stopped, or whose inbox is full, drops it.
    pub fn look(&self, look: impl FnOnce(&Core) + Send + 'static) {
        let _ = self.inbox().try_send(Command::Look(Box::new(look)));
    }

    /// Whether it makes steps. Before it is dropped only a panic ends that.
    pub fn is_alive(&self) -> bool {
        !self.is_gone.load(Ordering::SeqCst)
    }

    fn inbox(&self) -> &SyncSender<Command> {
        self.inbox.as_ref().expect("only drop takes the inbox")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a step has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

fn micros(started: Instant) -> Micros {
    Micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Steps while there is work, and waits for commands otherwise; ends when nobody can send any.
fn run(core: &mut Core, commands: &Receiver<Command>, started: Instant) {
    loop {
        loop {
            match commands.try_recv() {
                Ok(command) => obey(core, command, micros(started)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        if core.step(|| micros(started)) == Progress::Idle {
            match commands.recv() {
                Ok(command) => obey(core, command, micros(started)),
                Err(_) => return,
            }
        }
    }
}

fn obey(core: &mut Core, command: Command, now: Micros) {
    match command {
        Command::Submit(id, request, sinks) => core.submit(id, *request, sinks, now),
        Command::Warm(tokens, salt) => core.warm(tokens, salt),
        Command::Cancel(id) => core.cancel(id),
        // Whoever asked may have gone.
        Command::Statistics(reply) => drop(reply.send(core.statistics())),
        Command::Look(look) => look(core),
        Command::Experts(reply) => drop(reply.send(core.expert_statistics())),
    }
}
