//! Parse, run, exit code.

use std::process::ExitCode;

/// An eighth less CPU for each webhook than with the system's (`./dev bench ack`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tocsin_kit::memory::without_huge_pages();
    tocsin::run(tocsin_kit::settings::parse())
}
