//! Starting services: one alone, or several in one process.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::Args;
use tocsin_kit::{BoxError, Context, Cores, run_process, settings};
use tocsin_wire::Service;

use crate::cli::{One, Up};

/// Every service that `tocsin up` starts, in the order in which a reader meets them.
const ALL: [Service; 5] = [
    Service::Ingress,
    Service::Router,
    Service::Config,
    Service::AgentWorker,
    Service::Audit,
];

pub(crate) fn ingress(one: One<tocsin_ingress::Settings>) -> ExitCode {
    alone(
        Service::Ingress,
        one,
        tocsin_ingress::CORES,
        tocsin_ingress::run,
    )
}

pub(crate) fn router(one: One<tocsin_router::Settings>) -> ExitCode {
    alone(
        Service::Router,
        one,
        tocsin_router::CORES,
        tocsin_router::run,
    )
}

pub(crate) fn config(one: One<tocsin_config::Settings>) -> ExitCode {
    alone(
        Service::Config,
        one,
        tocsin_config::CORES,
        tocsin_config::run,
    )
}

pub(crate) fn agent_worker(one: One<tocsin_agent_worker::Settings>) -> ExitCode {
    alone(
        Service::AgentWorker,
        one,
        tocsin_agent_worker::CORES,
        tocsin_agent_worker::run,
    )
}

pub(crate) fn audit(one: One<tocsin_audit::Settings>) -> ExitCode {
    alone(Service::Audit, one, tocsin_audit::CORES, tocsin_audit::run)
}

fn alone<S, F, E>(
    service: Service,
    one: One<S>,
    cores: Cores,
    run: impl FnOnce(S, Context) -> F,
) -> ExitCode
where
    S: Args,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let One { process, settings } = one;
    run_process(service.name(), &process, cores, |context| {
        run(settings, context)
    })
}

/// Each service takes its settings from the environment; the first that fails ends the process.
pub(crate) fn up(up: &Up) -> ExitCode {
    let wanted: Vec<Service> = ALL
        .into_iter()
        .filter(|service| up.only.is_empty() || up.only.contains(service))
        .collect();
    run_process(
        "tocsin",
        &up.process,
        Cores::All,
        move |context| async move {
            for service in wanted {
                start(service, &context)?;
            }
            context.stop.soft().await;
            Ok::<(), BoxError>(())
        },
    )
}

fn start(service: Service, context: &Context) -> Result<(), BoxError> {
    match service {
        Service::Ingress => one_of(service, context, tocsin_ingress::run),
        Service::Router => one_of(service, context, tocsin_router::run),
        Service::Config => one_of(service, context, tocsin_config::run),
        Service::AgentWorker => one_of(service, context, tocsin_agent_worker::run),
        Service::Audit => one_of(service, context, tocsin_audit::run),
        // Not a service but a person.
        Service::Operator => Ok(()),
    }
}

fn one_of<S, F, E>(
    service: Service,
    context: &Context,
    run: impl FnOnce(S, Context) -> F,
) -> Result<(), BoxError>
where
    S: Args,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let settings: S = settings::parse_service(service.name(), Vec::<OsString>::new())
        .map_err(|error| format!("settings of {service}: {}", error.render()))?;
    context.start(service.name(), |context| run(settings, context));
    Ok(())
}
