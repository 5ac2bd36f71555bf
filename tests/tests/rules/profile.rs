//! The wrapper of the compiler: release builds get the profile, others pass through.

use std::process::Command;

use crate::workspace::root;

const DEBUG: [&str; 2] = ["--out-dir", "/target/debug/deps"];
/// A checkout may lie below a folder of that name.
const BELOW_RELEASE: [&str; 2] = ["--out-dir", "/release/tocsin/target/debug/deps"];
const RELEASE: [&str; 2] = ["--out-dir", "/target/release/deps"];

#[test]
fn only_release_builds_use_the_profile() {
    for debug in [DEBUG, BELOW_RELEASE] {
        assert_eq!(compiler_gets(&debug, ""), debug.join(" "));
    }
    let profile = root().join("deploy/profile/tocsin.profdata");
    assert!(profile.is_file(), "{} is missing", profile.display());
    let expected = format!(
        "{} -Cprofile-use={} -Cllvm-args=-no-pgo-warn-mismatch",
        RELEASE.join(" "),
        profile.display()
    );
    assert_eq!(compiler_gets(&RELEASE, ""), expected);
}

#[test]
fn the_profile_is_switched_off_or_recorded_anew() {
    assert_eq!(compiler_gets(&RELEASE, "off"), RELEASE.join(" "));
    let recorded = format!("{} -Cprofile-generate=/counts", RELEASE.join(" "));
    assert_eq!(compiler_gets(&RELEASE, "/counts"), recorded);
    assert_eq!(compiler_gets(&DEBUG, "/counts"), DEBUG.join(" "));
}

#[test]
fn what_cargo_says_by_environment_arrives() {
    let output = Command::new(root().join("deploy/profile/rustc"))
        .arg("env")
        .env("CARGO_BIN_EXE_a-program", "its path")
        .output()
        .expect("the wrapper runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("CARGO_BIN_EXE_a-program=its path"), "{text}");
}

/// What the wrapper passes on, where `echo` takes the compiler's place.
fn compiler_gets(arguments: &[&str], profile: &str) -> String {
    let output = Command::new(root().join("deploy/profile/rustc"))
        .arg("echo")
        .args(arguments)
        .env("TOCSIN_PROFILE", profile)
        .output()
        .expect("the wrapper runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
