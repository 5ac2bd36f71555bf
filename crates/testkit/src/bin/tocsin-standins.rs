//! Stand-ins for the world outside, for `./dev up`; see `tocsin_testkit::standins`.

use clap::Parser as _;
use tocsin_testkit::standins::command::{self, Command};

// One thread: a stand-in should take little of what is measured beside it.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> anyhow::Result<()> {
    command::run(Command::parse()).await?;
    Ok(())
}
