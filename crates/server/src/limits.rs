//! What may not be exceeded at the door. Built once, printed at start, never changed.

use std::time::Duration;

/// Bounds of what clients send, of who waits and of how long anything may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// How deep the JSON of a body may nest.
    pub json_depth_max: usize,
    /// Headers of a request, and bytes of its head.
    pub headers_max: usize,
    pub head_bytes_max: usize,
    /// How long a head and a body may take to arrive.
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Answers to one prompt.
    pub n_max: usize,
    /// Prompts of one request, and answers to all of them.
    pub prompts_max: usize,
    pub choices_max: usize,
    /// Likeliest tokens that are told of each place.
    pub logprobs_max: usize,
    pub messages_max: usize,
    pub tools_max: usize,
    /// Requests that are taken and not over, their tokens (prompts and what answers may have), and
    /// the bytes of their bodies.
    pub queue_requests_max: usize,
    pub queue_tokens_max: usize,
    pub queue_bytes_max: usize,
    /// How long a request may wait for its first step.
    pub queue_timeout: Duration,
    /// How long it may take in all.
    pub request_timeout: Duration,
    /// How long running requests may go on once the server is to stop.
    pub shutdown_timeout: Duration,
    /// An engine that says nothing for so long while there is work is stuck.
    pub stuck_after: Duration,
    /// How long a server whose engine has failed says so before it ends.
    pub last_words: Duration,
}

impl Limits {
    /// The limits where nobody asks for others, for sequences of up to `context` tokens of which
    /// so many are computed together.
    pub fn of_context(context: usize, sequences_max: usize) -> Limits {
        Limits {
            body_bytes_max: 32 << 20,
            json_depth_max: 64,
            headers_max: 100,
            head_bytes_max: 64 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            connections_max: 1024,
            n_max: 16,
            prompts_max: 128,
            choices_max: 256,
            logprobs_max: 20,
            messages_max: 4096,
            tools_max: 128,
            // Below what the engine's queue and inbox hold: who is taken here is not refused there.
            queue_requests_max: 256,
            queue_tokens_max: context.saturating_mul(sequences_max.saturating_add(16)),
            queue_bytes_max: 256 << 20,
            queue_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(3600),
            shutdown_timeout: Duration::from_secs(30),
            stuck_after: Duration::from_secs(120),
            last_words: Duration::from_secs(5),
        }
    }
}
