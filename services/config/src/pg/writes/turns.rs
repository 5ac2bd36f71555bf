//! Writers of one org wait here for their turn, and not with a connection in hand: however many there
//! are, they keep none of the pool from readers and from other orgs.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use tocsin_wire::OrgId;
use tokio::sync::{Mutex, MutexGuard};

/// Orgs are told apart by so many turns. Two that share one wait for each other, no more.
const TURNS: usize = 256;

/// One turn per org, within this process; the database does the same between processes.
#[derive(Debug)]
pub(in crate::pg) struct Turns(Box<[Mutex<()>]>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    /// In the order of arrival; over when what is returned is dropped.
    pub(in crate::pg) async fn take(&self, org: &OrgId) -> Option<MutexGuard<'_, ()>> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let hash = hasher.hash_one(org.as_str());
        let slot = usize::try_from(hash % TURNS as u64).ok()?;
        match self.0.get(slot) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}
