//! Where guesses come from: the words before, or the model's own layer for it.

use model::PAGE;

use super::Core;
use crate::speculate::{DRAFT_ROWS_MAX, DRAFTS_MAX, Speculate};

impl Core {
    /// Lets answers guess what follows, while there are few: a full batch gains nothing by it.
    pub(super) fn draft(&mut self) {
        if self.speculate == Speculate::Off || self.scheduler.statistics(&self.cache).n_queued > 0 {
            return;
        }
        let rows = self.answers.len() + self.trials.len();
        let rows = rows + DRAFT_ROWS_MAX.min(DRAFTS_MAX * self.answers.len());
        if rows > self.decoder.limits().logits_per_step {
            return;
        }
        for (id, answer) in &mut self.answers {
            let Some(sequence) = self.scheduler.sequence(*id) else { continue };
            let known = sequence.known();
            // Only an answer that waits for its next token: one token behind.
            if !sequence.is_running() || sequence.behind() != 1 || !answer.is_answering() {
                continue;
            }
            let room = sequence.len_max().saturating_sub(known.len() + 1);
            match self.speculate {
                Speculate::Off => {}
                Speculate::Ngram => {
                    let share = DRAFT_ROWS_MAX / self.requests.len().max(1);
                    answer.drafter.guess(known, room.min(share), &mut self.drafts);
                }
                Speculate::Mtp => {
                    self.drafts.clear();
                    if let Some(guess) = self.guesses.remove(id).filter(|_| room > 0) {
                        self.drafts.push(guess);
                    }
                }
            }
            if !self.drafts.is_empty() {
                self.scheduler.propose(*id, &self.drafts).expect("the guesses leave room");
            }
        }
    }

    /// Lets the model's own layer see what the step brought, and guess what follows each answer.
    pub(super) fn guess(&mut self) {
        self.guess_batch.clear();
        self.guess_hidden.clear();
        let mut asked = Vec::new();
        let mut first_row = 0;
        for row in &self.step.rows {
            let rows = first_row..first_row + row.n_tokens;
            first_row = rows.end;
            let Some(sequence) = self.scheduler.sequence(row.sequence) else { continue };
            // Token j is joined with the hidden state of the one before, which this step left.
            let known = sequence.known();
            let to = (row.from + row.n_tokens + 1).min(known.len());
            let tokens = &known[(row.from + 1).min(to)..to];
            if tokens.is_empty() || sequence.pages().len() * PAGE < row.from + tokens.len() {
                continue;
            }
            let answer = self.answers.get_mut(&row.sequence);
            let wants = to == known.len()
                && answer.is_some_and(|answer| answer.is_answering() && !answer.drafter.rests());
            if wants {
                asked.push(row.sequence);
            }
            let pages = sequence.pages().iter().map(|page| page.0);
            self.guess_batch.push(tokens, row.from, pages, usize::from(wants));
            self.guess_hidden.extend(rows.take(tokens.len()).map(|row| row as u32));
        }
        if self.guess_batch.n_tokens() == 0 {
            return;
        }
        let (batch, hidden) = (&self.guess_batch, &self.guess_hidden);
        // A guess that cannot be made is a guess that is not made.
        let Ok(logits) = self.decoder.guess(&self.pool, batch, hidden) else { return };
        let vocab = logits.len() / asked.len().max(1);
        for (id, logits) in asked.iter().zip(logits.chunks_exact(vocab.max(1))) {
            let known = self.scheduler.sequence(*id).expect("looked at above").known();
            if let Some(token) = self.answers[id].guess(&mut self.scratch, logits, known) {
                self.guesses.insert(*id, token);
            }
        }
    }
}
