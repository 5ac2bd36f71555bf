//! Compiles `proto/` without a system protoc and keeps the descriptor set for `tocsin decode`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let descriptors = protox::compile(["tocsin/v1/envelope.proto"], [&root])?;
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells build scripts by environment"
    )]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.btree_map(["."]);
    // The large ones, or every other body would be moved with room for them.
    for body in ["event", "run_request"] {
        config.boxed(format!(".tocsin.v1.Envelope.body.{body}"));
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
