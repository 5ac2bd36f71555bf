//! Config as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "config",
        "Tenants, their configuration, tokens and routing: the source of truth.",
        tocsin_config::CORES,
        |settings, context| Box::pin(tocsin_config::run(settings, context)),
    )
}
