//! JetStream as Tocsin uses it. The only crate that imports the NATS client.
//!
//! * Every message is signed on the way out ([`Bus::publish`], [`Bucket`]) and verified on the way
//!   in ([`Bus::consume`], [`Bucket::watch`], [`Bus::replay`]), so no service can forget.
//! * Streams, consumers and buckets come from [`tocsin_wire::streams`]; a service verifies them and
//!   never changes one silently.
//! * A handler says `Done`, `Retry` or `Reject`; acknowledgements, heartbeats, backoff and dead
//!   letters happen here.
//!
//! Delivery is at least once: a handler may run twice for any message.

mod acknowledgement;
mod admin_keys;
mod backlog;
mod batches;
mod bucket;
mod connect;
mod consume;
mod dead_letter;
mod declare;
mod direct;
mod error;
mod identity;
mod key_directory;
mod keys;
mod message;
mod object_store;
mod place;
mod publish;
mod queue;
mod read_back;
mod request;
mod revoked;
mod sealing_keys;
mod secrets;
mod service;
mod settings;
mod state;
mod watch;

pub use admin_keys::{list_keys, publish_keys};
pub use backlog::Moved;
pub use batches::BatchLimits;
pub use bucket::{Bucket, Entry, KeyValueError};
pub use connect::Bus;
pub use consume::Outcome;
pub use declare::{Declared, declare};
pub use error::BusError;
pub use identity::{IdentityError, UserKey};
pub use key_directory::{KeyDirectory, KeyDirectoryError};
pub use message::{Delivery, Raw, Stored};
pub use object_store::{Kept, ObjectError, ObjectStore};
pub use publish::{Fence, Outgoing, PublishError, Published};
pub use queue::{Counted, QueueBook, Queued};
pub use read_back::{Page, ReadFrom};
pub use revoked::Revoked;
pub use sealing_keys::{list_sealing_keys, publish_sealing_keys};
pub use secrets::{SecretError, SecretReader};
pub use service::{Answer, AskError};
pub use settings::BusSettings;
pub use state::{BusState, follow_state};
pub use watch::Change;
