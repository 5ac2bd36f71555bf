//! Every reason by table, the worked examples of routing, and what holds for all events.

mod properties;
mod routing;
mod samples;
mod table;
