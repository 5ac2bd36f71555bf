//! What travels between Tocsin's rooms: messages, ids, subjects, the stream table, signatures.
//!
//! Pure: no IO, no clock, no randomness, no async. Everything here is a function of its arguments, so
//! every rule about the bus can be tested without one.
//!
//! * [`proto`]: the messages, generated from `proto/`.
//! * [`token`], [`key_token`]: the alphabet of subjects; ids are validated, foreign keys are encoded.
//! * [`ids`]: every derived id, in one place.
//! * [`subject`]: subjects as a type; parsing and printing are inverses.
//! * [`priority`]: the order in which a team's waiting runs move up.
//! * [`queue`]: how many runs of a team and an org go on and wait, and which team is next.
//! * [`streams`]: the table of streams, consumers and buckets, with who writes and who reads.
//! * [`permissions`]: the NATS users that follow from the table.
//! * [`message`]: an envelope with its CloudEvents headers, sealed and opened.
//! * [`source`], [`scheme`]: senders of an org, and how they sign. [`rate`]: what they may send.
//! * [`replay`]: what a request to replay events may ask for.
//! * [`catalogue`]: tools, models, agents and MCP servers, by name.
//! * [`cron`]: schedules, in a time zone.
//! * [`sealed`]: secrets on their way to the one room that may open them; references to them.
//! * [`signing`], [`keyring`]: Ed25519 over a fixed text; keys under the operator's root.

pub mod catalogue;
pub mod cron;
pub mod event_form;
pub mod identifier;
pub mod ids;
pub mod key_token;
pub mod keyring;
pub mod limits;
pub mod message;
pub mod permissions;
pub mod priority;
pub mod queue;
pub mod rate;
pub mod replay;
pub mod rule;
pub mod scheme;
pub mod sealed;
pub mod service;
pub mod signing;
pub mod source;
pub mod stored_body;
pub mod streams;
pub mod subject;
pub mod time;
pub mod token;

/// The messages of `proto/tocsin/v1`.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/tocsin.v1.rs"));

    /// Descriptor set of all messages, for decoders that do not know them at compile time.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

pub use key_token::KeyToken;
pub use keyring::{KeyRecord, KeyRing, VerifyError};
pub use message::{Headers, OpenError, Opened, Sealed};
pub use priority::Priority;
pub use queue::{OrgLimits, OrgLoad, QueueLimits};
pub use service::Service;
pub use signing::{KeyId, PublicKey, SigningKey};
pub use subject::{Subject, SubjectError};
pub use token::{InvalidToken, OrgId, Pool, SecretName, TeamId, Token};
