//! Limits that several rooms share, each with its reason.

use std::time::Duration;

/// Largest payload that travels inside a message; NATS refuses above 1 MiB including headers.
pub const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// Largest raw body that travels inside its event: half a message, because what was read from the body
/// (256 KiB of text, attributes, headers) travels with it. A larger one goes to the object store.
pub const MAX_INLINE_BODY_BYTES: usize = 512 * 1024;

/// Bytes of one piece of an object: what NATS's own clients write, far below a server's `max_payload`.
pub const OBJECT_CHUNK_BYTES: usize = 128 * 1024;

/// Runs of one team that are admitted at once: the slots of the smallest deployment.
pub const TEAM_WINDOW: i64 = 10;

/// Runs of one team and severity that may wait behind the admitted ones: a flood of one severity takes
/// no room from what is worse.
pub const TEAM_BACKLOG: i64 = 1_000;

/// Runs of one org that are admitted at once unless its config says otherwise: ten teams in full use, on ten
/// workers of the smallest deployment.
pub const ORG_WINDOW: u64 = 100;

/// Runs of one org and severity that may wait unless its config says otherwise: five teams that flood.
pub const ORG_BACKLOG: u64 = 5_000;

/// Most that an org's config may say: what the workers' consumer hands out at once.
pub const MAX_ORG_WINDOW: u64 = 10_000;

/// Most that an org's config may say: with runs of some kilobytes, the size of the stream.
pub const MAX_ORG_BACKLOG: u64 = 100_000;

/// How long an unacknowledged message stays with a silent router or worker: most of the recovery
/// time, which is promised to be under five seconds (docs/adr/0004).
pub const WORK_ACK_WAIT: Duration = Duration::from_secs(3);

/// How often a busy consumer says that it is alive; four signs fit into [`WORK_ACK_WAIT`].
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(750);

/// How long the broker remembers message ids; longer costs 260 bytes an id.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Tries at a message whose handler panics before it is dead-lettered.
pub const MAX_PANICS: u64 = 3;

/// Deliveries of one message, for whatever reason, before it is dead-lettered: over an hour of a
/// process that it kills each time, or eight hours of retries at [`MAX_RETRY_DELAY`].
pub const MAX_DELIVERIES: u64 = 1_000;

/// Longest pause between two tries.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Commands on one subject that wait: somebody who gives more at once has a loop, not a wish.
pub const COMMANDS_WAITING: i64 = 100;

/// How long delivery and semantic keys are remembered: the longest retry horizon of any sender.
pub const SEEN_WINDOW: Duration = Duration::from_secs(72 * 60 * 60);

/// How long a revoked token is told: far longer than any process may go on trusting a token that it
/// has in memory (an hour at most) without asking Postgres, which remembers for ever.
pub const REVOKED_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
