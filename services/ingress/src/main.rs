//! Ingress as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "ingress",
        "Receives webhooks and keeps every one that it acknowledges.",
        |settings, context| Box::pin(tocsin_ingress::run(settings, context)),
    )
}
