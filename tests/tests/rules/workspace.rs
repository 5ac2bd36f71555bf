//! The checkout as the rules see it.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with Rust of ours.
const SOURCES: [&str; 3] = ["crates", "services", "tests"];

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("tests/ lies in the checkout")
        .to_path_buf()
}

/// A file of the checkout.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path from the root with forward slashes, and text, of every file of ours whose name ends so.
pub(crate) fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in SOURCES {
        collect(&root().join(folder), ending, &mut found);
    }
    assert!(!found.is_empty(), "no file ends with {ending}");
    found.sort();
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("an entry of the folder").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, ending, found);
        } else if path.is_file() && name.ends_with(ending) {
            let shown = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy();
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
            found.push((shown.replace('\\', "/"), text));
        }
    }
}

/// `crates/bus/src/x.rs` is of `crates/bus`.
pub(crate) fn package_of(path: &str) -> &str {
    let end = path
        .match_indices('/')
        .nth(1)
        .map_or(path.len(), |(at, _)| at);
    path.get(..end).unwrap_or(path)
}
