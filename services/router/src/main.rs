//! The router as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin_kit::service_main(
        "router",
        "Decides whose an event is and what is to be done with it.",
        tocsin_router::CORES,
        |settings, context| Box::pin(tocsin_router::run(settings, context)),
    )
}
