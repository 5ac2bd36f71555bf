//! What a stack is made of.

use std::time::Duration;

use tocsin_testkit::standins::slack::RateLimits;

/// How a stack starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names the folder of the logs.
    pub name: String,
    /// Worker processes.
    pub workers: usize,
    /// Runs at a time in each worker.
    pub worker_slots: u16,
    /// What the stand-in Slack enforces.
    pub slack_limits: RateLimits,
    /// Pause of the workers between two posts in a channel and two updates of a message.
    pub slack_pace: (Duration, Duration),
    /// How long the model thinks before each answer.
    pub model_delay: Duration,
    /// Between the death of a process and its next start, as a supervisor pauses.
    pub restart_pause: Duration,
    /// Whether secrets can be stored, sealed and opened, as after `./dev up`: config has a master key,
    /// ingress and the workers have the private sealing keys.
    pub sealing: bool,
    /// Further environment of every service.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "stack".to_owned(),
            workers: 2,
            worker_slots: 10,
            slack_limits: RateLimits::off(),
            slack_pace: (Duration::ZERO, Duration::from_millis(200)),
            model_delay: Duration::ZERO,
            restart_pause: Duration::from_millis(300),
            sealing: false,
            environment: Vec::new(),
        }
    }
}
