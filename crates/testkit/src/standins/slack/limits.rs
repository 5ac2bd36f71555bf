//! Rate limits as Slack has them, and failures on demand.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// Which limits the Web API enforces. An exceeded limit answers 429 with `Retry-After`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct RateLimits {
    /// `chat.postMessage` and `chat.postEphemeral`, per channel.
    pub posts: Option<Bucket>,
    /// The published tier of every other method, per workspace: 20, 50 or 100 calls a minute.
    pub tiers: bool,
}

/// A token bucket: `burst` calls at once, then `per_second`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Bucket {
    pub per_second: f64,
    pub burst: u32,
}

impl RateLimits {
    /// None: for load.
    pub fn off() -> RateLimits {
        RateLimits::default()
    }

    /// One post a second in each channel after `burst` at once, nothing else limited.
    pub fn posts(burst: u32) -> RateLimits {
        RateLimits {
            posts: Some(Bucket {
                per_second: 1.0,
                burst,
            }),
            tiers: false,
        }
    }

    /// As Slack documents them: posts as above with a burst of three, and every method's tier.
    pub fn like_slack() -> RateLimits {
        RateLimits {
            tiers: true,
            ..RateLimits::posts(3)
        }
    }
}

/// How the next call of a method fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// This HTTP status and no JSON: 500, 503.
    Status(u16),
    /// `{"ok":false,"error":…}` under HTTP 200: `internal_error`, `ratelimited`, `fatal_error`.
    Error(String),
    /// HTTP 429 with this many seconds in `Retry-After`.
    RateLimited(u64),
    /// Never answers.
    Timeout,
    /// Closes the connection without doing anything.
    Refuse,
    /// Does what was asked, then closes the connection instead of answering: the caller cannot
    /// know whether it happened, and must look.
    DropResponse,
}

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    pub(crate) limits: RateLimits,
    buckets: HashMap<String, Level>,
    faults: HashMap<String, VecDeque<Fault>>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(crate) fn set(&mut self, limits: RateLimits) {
        self.limits = limits;
        self.buckets.clear();
    }

    pub(crate) fn fail_next(&mut self, method: &str, calls: usize, fault: &Fault) {
        let queue = self.faults.entry(method.to_owned()).or_default();
        queue.extend(std::iter::repeat_n(fault.clone(), calls));
    }

    pub(crate) fn take_fault(&mut self, method: &str) -> Option<Fault> {
        self.faults.get_mut(method).and_then(VecDeque::pop_front)
    }

    /// Counts a call; the time to wait when the limit is exceeded.
    pub(crate) fn admit(&mut self, method: &str, channel: &str, now: Instant) -> Option<Duration> {
        let posting = matches!(method, "chat.postMessage" | "chat.postEphemeral");
        let (key, bucket) = if posting {
            (format!("{method} {channel}"), self.limits.posts?)
        } else if self.limits.tiers {
            let per_minute = tier(method);
            let bucket = Bucket {
                per_second: f64::from(per_minute) / 60.0,
                burst: per_minute,
            };
            (method.to_owned(), bucket)
        } else {
            return None;
        };
        let burst = f64::from(bucket.burst.max(1));
        let level = self.buckets.entry(key).or_insert(Level {
            tokens: burst,
            at: now,
        });
        let gained = now.duration_since(level.at).as_secs_f64() * bucket.per_second;
        level.tokens = (level.tokens + gained).min(burst);
        level.at = now;
        if level.tokens >= 1.0 {
            level.tokens -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64(
            (1.0 - level.tokens) / bucket.per_second.max(0.001),
        ))
    }
}

/// Calls a minute, from each method's page.
fn tier(method: &str) -> u32 {
    match method {
        "chat.update"
        | "chat.delete"
        | "conversations.history"
        | "conversations.replies"
        | "reactions.add" => 50,
        "users.info" | "views.open" => 100,
        "auth.test" => 600,
        _ => 20,
    }
}
