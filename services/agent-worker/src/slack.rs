//! Slack: what a run looks like there, and a thin client that keeps to Slack's limits.

pub mod blocks;
pub mod client;
pub mod mrkdwn;
pub mod pacing;

pub use blocks::{Rendered, dashboard, final_message, notice_message};
pub use client::{SlackClient, SlackError, SlackLimits, Target};
