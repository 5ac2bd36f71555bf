//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tocsin::run(tocsin_kit::settings::parse())
}
