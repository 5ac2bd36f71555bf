//! Stand-ins for the world outside, for `./dev up`; see `tocsin_testkit::standins`.

use clap::Parser as _;
use tocsin_testkit::standins::command::{self, Command};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    command::run(Command::parse()).await?;
    Ok(())
}
