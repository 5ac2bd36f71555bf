//! The agent worker as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "agent-worker",
        "Takes runs from the work queue, investigates with a model and tools, and tells people in Slack",
        tocsin_agent_worker::CORES,
        tocsin_agent_worker::run,
    )
}
