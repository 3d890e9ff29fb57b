//! Who waits, and who of them is next.
//!
//! Higher classes first; within a class, whoever was preempted first, then the client that was
//! served the fewest tokens, then first come first served. One admission in four goes to the
//! sequence that is longest overdue, so nothing starves and a flood cannot buy the whole queue by
//! being old. Counting tokens per client is the virtual token counter of Sheng et al. (2024).

use crate::Micros;
use crate::sequence::{ClientId, Priority, SequenceId, Ticket};
use std::collections::{BTreeMap, BTreeSet};

/// Of this many admissions, one goes to the longest overdue.
const OVERDUE_EVERY: u64 = 4;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    classes: [Class; Priority::COUNT],
    /// Everybody who waits, by when they are overdue.
    dues: BTreeSet<(Micros, SequenceId)>,
    clients: BTreeMap<ClientId, Client>,
    /// What the client that was admitted last had been served: where a newcomer starts.
    floor: u64,
    n_admitted: u64,
}

#[derive(Debug, Default)]
struct Class {
    /// Sequences that had started, in order of arrival.
    returned: BTreeSet<(Micros, SequenceId)>,
    waiting: BTreeMap<ClientId, BTreeSet<SequenceId>>,
    /// The clients in `waiting` by tokens served.
    order: BTreeSet<(u64, ClientId)>,
}

#[derive(Debug, Default)]
struct Client {
    served: u64,
    /// Sequences in the scheduler, waiting or not. The client is forgotten with the last.
    n_sequences: usize,
    /// Of them, in a `waiting`.
    n_waiting: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.dues.len()
    }

    /// Counts a new sequence of a client.
    pub(crate) fn join(&mut self, client: ClientId) {
        self.clients.entry(client).or_default().n_sequences += 1;
    }

    /// Forgets a sequence of a client, which does not wait any more.
    pub(crate) fn leave(&mut self, client: ClientId) {
        let entry = self.clients.get_mut(&client).expect("a sequence's client is known");
        entry.n_sequences -= 1;
        if entry.n_sequences == 0 {
            self.clients.remove(&client);
        }
    }

    /// Adds a sequence that has not started.
    pub(crate) fn push(&mut self, ticket: Ticket) {
        let level = self.level();
        let client = self.clients.get_mut(&ticket.client).expect("a sequence's client is known");
        let before = client.served;
        if client.n_waiting == 0 {
            // Who was away has saved nothing up.
            client.served = before.max(level);
        }
        client.n_waiting += 1;
        let class = &mut self.classes[ticket.priority as usize];
        class.waiting.entry(ticket.client).or_default().insert(ticket.id);
        class.order.insert((client.served, ticket.client));
        self.dues.insert((ticket.due, ticket.id));
    }

    /// Adds a sequence that had started, at the head of its class.
    pub(crate) fn push_returned(&mut self, ticket: Ticket) {
        self.classes[ticket.priority as usize].returned.insert((ticket.due, ticket.id));
        self.dues.insert((ticket.due, ticket.id));
    }

    /// Takes a sequence out of the queue.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let Ticket { id, priority, client, due } = ticket;
        assert!(self.dues.remove(&(due, id)), "{id:?} does not wait");
        let class = &mut self.classes[priority as usize];
        if class.returned.remove(&(due, id)) {
            return;
        }
        let waiting = class.waiting.get_mut(&client).expect("it waits under its client");
        waiting.remove(&id);
        let entry = self.clients.get_mut(&client).expect("a sequence's client is known");
        entry.n_waiting -= 1;
        if waiting.is_empty() {
            class.waiting.remove(&client);
            class.order.remove(&(entry.served, client));
        }
    }

    /// Who is to be admitted next. The same until somebody comes, goes or is served.
    pub(crate) fn next(&self, now: Micros) -> Option<SequenceId> {
        let &(due, oldest) = self.dues.first()?;
        if due <= now && self.n_admitted.is_multiple_of(OVERDUE_EVERY) {
            return Some(oldest);
        }
        self.classes.iter().find_map(|class| {
            let returned = class.returned.first().map(|&(_, id)| id);
            returned.or_else(|| {
                let (_, client) = class.order.first()?;
                class.waiting[client].first().copied()
            })
        })
    }

    /// Takes out a sequence that got its pages.
    pub(crate) fn admit(&mut self, ticket: Ticket) {
        self.remove(ticket);
        self.n_admitted += 1;
        let served = self.clients[&ticket.client].served;
        self.floor = self.floor.max(served);
    }

    /// Counts tokens that are computed for a client.
    pub(crate) fn charge(&mut self, client: ClientId, n_tokens: usize) {
        let entry = self.clients.get_mut(&client).expect("a sequence's client is known");
        let before = entry.served;
        entry.served += n_tokens as u64;
        for class in &mut self.classes {
            if class.order.remove(&(before, client)) {
                class.order.insert((entry.served, client));
            }
        }
    }

    /// What the least served of the waiting clients was served.
    fn level(&self) -> u64 {
        let firsts = self.classes.iter().filter_map(|class| class.order.first());
        firsts.map(|&(served, _)| served).min().unwrap_or(self.floor)
    }
}
