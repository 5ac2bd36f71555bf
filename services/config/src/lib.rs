//! The config room.

mod decide;
mod defaults;
mod diff;
mod merge;
mod node;
mod routing;
mod token;
