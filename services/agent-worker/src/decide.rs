//! The pure core: what a run's journal says, and what follows from it.
//!
//! A run is its journal. [`RunState`] is the fold of the entries, [`next_step`] says what to do now, and
//! everything that is shown or reported ([`conclusion`], [`conversation`], [`results`]) is a function of
//! the state. A worker that takes over therefore continues where the journal ends, whoever wrote it.

mod admission;
mod comparison;
mod conclusion;
mod conversation;
mod findings;
mod post;
mod results;
mod signals;
mod state;
mod step;

pub use admission::{Admission, admit, resumed};
pub use comparison::compare;
pub use conclusion::{Conclusion, conclude};
pub use conversation::{Message, conversation};
pub use findings::parse_findings;
pub use post::{Phase, Post, PostKey, Undelivered};
pub use results::{ResultMessage, results};
pub use signals::{Heard, Told, listen, times};
pub use state::{Answer, Call, FAILED, Limit, RunState, TRUNCATED, ToolResult, Turn};
pub(crate) use step::destination_name;
pub use step::{Assignment, Step, intent, next_step};

#[cfg(test)]
mod tests;
