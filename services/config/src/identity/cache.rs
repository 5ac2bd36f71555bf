//! Tokens in memory, so that checking one costs no query.
//!
//! What is here is trusted for a minute, and only while revocations reach us; while Postgres does
//! not answer, for a quarter of an hour. A revoked token is refused by [`tocsin_bus::Revoked`],
//! whatever is here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use uuid::Uuid;

use crate::token::Token;

/// Tokens in use at once in a large installation; one takes half a kilobyte.
const MAX_TOKENS: u64 = 50_000;
/// How long a token counts without asking Postgres.
const FRESH: Duration = Duration::from_secs(60);
/// How long it counts while Postgres does not answer.
const USABLE: Duration = Duration::from_secs(15 * 60);
/// How long after a failed question Postgres is asked again about the same token.
const RETRY: Duration = Duration::from_secs(5);

/// A token as Postgres had it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) token: Token,
    pub(crate) hash: Vec<u8>,
    read_at: Timestamp,
    ask_at: Timestamp,
}

impl Known {
    /// Whether it counts without a question.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing fresh.
        now < self.ask_at && now >= self.read_at
    }

    /// Whether it counts when Postgres does not answer.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        now.duration_since(self.read_at).unsigned_abs() < USABLE
    }
}

/// Bounded; the least used go first.
#[derive(Debug)]
pub(crate) struct TokenCache(Cache<Uuid, Arc<Known>>);

impl TokenCache {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_TOKENS)
            .time_to_live(USABLE);
        Self(cache.build())
    }

    pub(crate) async fn get(&self, id: Uuid) -> Option<Arc<Known>> {
        self.0.get(&id).await
    }

    /// Keeps what Postgres just said.
    pub(crate) async fn put(&self, token: Token, hash: Vec<u8>, now: Timestamp) -> Arc<Known> {
        let id = token.id;
        let known = Arc::new(Known {
            token,
            hash,
            read_at: now,
            ask_at: now.saturating_add(FRESH).unwrap_or(now),
        });
        self.0.insert(id, Arc::clone(&known)).await;
        known
    }

    /// Postgres did not answer: spare it the next questions.
    pub(crate) async fn postpone(&self, known: &Known, now: Timestamp) {
        let postponed = Known {
            token: known.token.clone(),
            hash: known.hash.clone(),
            read_at: known.read_at,
            ask_at: now.saturating_add(RETRY).unwrap_or(now),
        };
        self.0.insert(known.token.id, Arc::new(postponed)).await;
    }

    pub(crate) fn forget_all(&self) {
        self.0.invalidate_all();
    }

    pub(crate) async fn forget(&self, id: Uuid) {
        self.0.invalidate(&id).await;
    }
}
