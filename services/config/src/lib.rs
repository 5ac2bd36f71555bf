//! The config room.

mod change;
mod decide;
mod defaults;
mod diff;
mod error;
mod merge;
mod node;
mod pg;
mod routing;
mod token;
