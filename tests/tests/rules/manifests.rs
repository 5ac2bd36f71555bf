//! What every Cargo.toml takes from the workspace.

use crate::assert_none;
use crate::workspace::files;

const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

#[test]
fn packages_inherit_lints_versions_and_dependencies() {
    let manifests = files("Cargo.toml");
    let violations: Vec<String> = manifests
        .iter()
        .flat_map(|(path, text)| {
            broken(text)
                .into_iter()
                .map(move |what| format!("{path}: {what}"))
        })
        .collect();
    assert_none("manifests", &violations);
}

#[test]
fn a_planted_manifest_is_seen() {
    let good = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                license.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n\
                [dependencies]\nbytes.workspace = true\nsqlx = { workspace = true, features = [\"x\"] }\n";
    assert_eq!(broken(good), Vec::<String>::new());
    for (from, to) in [
        ("[lints]\nworkspace = true\n", ""),
        ("edition.workspace = true", "edition = \"2021\""),
        ("bytes.workspace = true", "bytes = \"1\""),
    ] {
        assert_eq!(
            broken(&good.replace(from, to)).len(),
            1,
            "{from:?} became {to:?}"
        );
    }
}

fn broken(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !manifest.contains("[lints]\nworkspace = true") {
        found.push("does not inherit the workspace's lints".to_owned());
    }
    for field in INHERITED {
        if !manifest.contains(&format!("{field}.workspace = true")) {
            found.push(format!("does not inherit `{field}`"));
        }
    }
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
            let inherits = line.contains(".workspace = true") || line.contains("workspace = true,");
            if !inherits && !line.contains("workspace = true }") {
                found.push(format!("declares a version of its own: {line}"));
            }
        }
    }
    found
}
