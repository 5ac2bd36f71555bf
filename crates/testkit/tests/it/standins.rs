//! The stand-ins speak their protocols right, so that what passes against them is worth something.

mod model;
mod page;
mod prometheus;
mod receiver;
mod slack;
mod webhooks;

use std::time::Duration;

/// Longer than anything here takes on a loaded machine; a failing wait ends with its own message.
const LIMIT: Duration = Duration::from_secs(20);
