//! Audit as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "audit",
        "Records every message, append-only, and tells the whole life of an event.",
        tocsin_audit::CORES,
        |settings, context| Box::pin(tocsin_audit::run(settings, context)),
    )
}
