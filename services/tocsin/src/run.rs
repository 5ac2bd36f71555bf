//! Which command does what.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use tocsin_bus::{Bus, BusSettings, declare};
use tocsin_kit::telemetry::ErrorChain;
use tocsin_kit::{Clock, http_client};
use tocsin_wire::Service;
use tocsin_wire::permissions::accounts_conf;

use crate::cli::{self, BusCommand, Cli, Command, Demo};
use crate::error::CommandError;
use crate::{
    config, decode, demo, encode, events, keys, rules, runs, secrets, send, services, sign,
    sources, table,
};

/// Runs the command; what it prints goes to stdout, why it failed to stderr.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Up(up) => services::up(&up),
        Command::Ingress(one) => services::ingress(*one),
        Command::Router(one) => services::router(*one),
        Command::Config(cli::Config::Serve(one)) => services::config(*one),
        Command::Config(cli::Config::Ask(command)) => finish_with(ask_config(command)),
        Command::AgentWorker(one) => services::agent_worker(*one),
        Command::Audit(one) => services::audit(*one),
        other => finish(operator(other)),
    }
}

fn ask_config(command: cli::ConfigCommand) -> Result<ExitCode, CommandError> {
    match command {
        cli::ConfigCommand::Rebuild(settings) => {
            block_on(config::rebuild(*settings)).map(|()| ExitCode::SUCCESS)
        }
        command => block_on(config::run(command)),
    }
}

fn operator(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Decode => decode::decode(),
        Command::Encode => encode::encode(),
        Command::Sign(command) => sign::sign(&command),
        Command::Bus(BusCommand::Permissions) => print(&accounts_conf()),
        Command::Bus(BusCommand::Table) => print(&table::markdown()),
        Command::Bus(BusCommand::Declare { bus }) => block_on(declare_streams(*bus)),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Secrets(command) => block_on(secrets::run(command)),
        Command::Sources(command) => block_on(sources::run(*command)),
        Command::Send(command) => block_on(send::run(command)),
        Command::Events(command) => block_on(events::run(command)),
        Command::Rules(command) => block_on(rules::run(command)),
        Command::Runs(command) => block_on(runs::run(command)),
        Command::Demo(Demo::Seed(seed)) => block_on(demo::seed(*seed)),
        _ => Ok(()),
    }
}

async fn declare_streams(settings: BusSettings) -> Result<(), CommandError> {
    let declared = declare(&settings, now()).await?;
    let mut text = String::new();
    for name in &declared.created {
        text.push_str(&format!("created  {name}\n"));
    }
    text.push_str(&format!(
        "{} created, {} were there with the same settings\n",
        declared.created.len(),
        declared.present.len()
    ));
    print(&text)
}

/// A small runtime: operators' commands ask and wait.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    http_client::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| CommandError::Files {
        operation: "start the async runtime".to_owned(),
        source,
    })?;
    runtime.block_on(Box::pin(work))
}

fn finish(result: Result<(), CommandError>) -> ExitCode {
    finish_with(result.map(|()| ExitCode::SUCCESS))
}

#[expect(
    clippy::print_stderr,
    reason = "a command line tool says why it failed"
)]
fn finish_with(result: Result<ExitCode, CommandError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tocsin: {}", ErrorChain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout; a closed pipe (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    print_bytes(text.as_bytes())
}

/// Writes to stdout what need not be text.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    match std::io::stdout().lock().write_all(bytes) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::Files {
                operation: "write to stdout".to_owned(),
                source,
            })
        }
        _ => Ok(()),
    }
}

/// The system's time, as the bus takes it.
pub(crate) fn now() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let clock = Clock::system();
    Arc::new(move || clock.now())
}

/// A connection with the operator's identity.
pub(crate) async fn operator_bus(settings: &BusSettings) -> Result<Bus, CommandError> {
    Ok(Bus::connect(settings, Service::Operator, "cli", now()).await?)
}
