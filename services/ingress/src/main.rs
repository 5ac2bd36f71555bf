//! Ingress as a process of its own.

use std::process::ExitCode;

/// An eighth less CPU for each webhook than with the system's (`./dev bench ack`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "ingress",
        "Receives webhooks and keeps every one that it acknowledges.",
        tocsin_ingress::CORES,
        |settings, context| Box::pin(tocsin_ingress::run(settings, context)),
    )
}
