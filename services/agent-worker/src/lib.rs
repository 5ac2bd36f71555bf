//! Runs agents: takes runs from the work queue, investigates, and tells people.

pub mod decide;
pub mod model;
pub mod slack;
pub mod team;
pub mod tools;
