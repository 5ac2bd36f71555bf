//! What the sources may contain.

use crate::assert_none;
use crate::workspace::{files, package_of};

/// Longest file, its inline tests not counted.
const MAX_LINES: usize = 600;
/// A `main.rs` parses, hands over, and returns an exit code.
const MAX_MAIN_LINES: usize = 40;
/// Word, the packages that may contain it, and why.
const WORDS: [(&str, &[&str], &str); 4] = [
    (
        "async_nats",
        &["crates/bus"],
        "speak to the broker through tocsin-bus: it signs and verifies",
    ),
    (
        "sqlx::",
        &[
            "crates/store",
            "crates/testkit",
            "services/config",
            "services/audit",
            "tests",
        ],
        "only the owners of tables speak SQL",
    ),
    (
        "std::env::",
        &["crates/kit", "crates/testkit", "tests"],
        "settings come in through kit",
    ),
    ("static ref", &[], "no process-wide state"),
];

#[test]
fn files_are_short() {
    assert_none("long files", &violations(too_long));
}

#[test]
fn reserved_words_stay_in_their_rooms() {
    assert_none("words in the wrong room", &violations(wrong_words));
}

#[test]
fn there_is_no_process_wide_state() {
    assert_none("statics outside kit", &violations(statics));
}

#[test]
fn mains_only_hand_over() {
    assert_none("long mains", &violations(long_main));
}

#[test]
fn planted_sources_are_seen() {
    let long = "x\n".repeat(MAX_LINES + 1);
    let tested = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    for (rule, path, text, broken) in [
        (too_long as Rule, "crates/bus/src/a.rs", long.as_str(), true),
        (too_long, "crates/bus/src/a.rs", tested.as_str(), false),
        (
            wrong_words,
            "services/router/src/a.rs",
            "use async_nats::Client;",
            true,
        ),
        (
            wrong_words,
            "services/router/src/a.rs",
            "// not async_nats",
            false,
        ),
        (
            wrong_words,
            "crates/bus/src/a.rs",
            "use async_nats::Client;",
            false,
        ),
        (
            wrong_words,
            "crates/bus/src/a.rs",
            "let x = std::env::var(\"X\");",
            true,
        ),
        (
            wrong_words,
            "crates/wire/build.rs",
            "let x = std::env::var(\"X\");",
            false,
        ),
        (
            statics,
            "crates/bus/src/a.rs",
            "pub static COUNT: AtomicU64 = x;",
            true,
        ),
        (
            statics,
            "crates/bus/src/a.rs",
            "fn f() -> &'static str",
            false,
        ),
        (long_main, "services/x/src/main.rs", long.as_str(), true),
    ] {
        assert_eq!(
            !rule(path, text).is_empty(),
            broken,
            "{path}: {}",
            text.lines().next().unwrap_or("")
        );
    }
}

type Rule = fn(&str, &str) -> Vec<String>;

fn violations(rule: Rule) -> Vec<String> {
    let sources = files(".rs");
    // These files hold the words that they look for.
    let others = sources
        .iter()
        .filter(|(path, _)| !path.starts_with("tests/tests/rules"));
    others.flat_map(|(path, text)| rule(path, text)).collect()
}

fn too_long(path: &str, text: &str) -> Vec<String> {
    let production = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let lines = production.lines().count();
    if lines <= MAX_LINES {
        return Vec::new();
    }
    vec![format!(
        "{path} has {lines} lines; split it by idea, {MAX_LINES} at most"
    )]
}

fn wrong_words(path: &str, text: &str) -> Vec<String> {
    // What fuzzes config is told by the environment where its program is.
    if path.ends_with("/build.rs") || path == "services/config/tests/it/fuzz.rs" {
        return Vec::new();
    }
    let package = package_of(path);
    let package = if package.starts_with("tests/") {
        "tests"
    } else {
        package
    };
    let mut found = Vec::new();
    for (number, line) in code(text) {
        for (word, allowed, why) in WORDS {
            if line.contains(word) && !allowed.contains(&package) {
                found.push(format!("{path}:{number}: `{word}`: {why}"));
            }
        }
    }
    found
}

fn statics(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("crates/kit/") || path.starts_with("tests/") || path.contains("/tests/") {
        return Vec::new();
    }
    let is_static = |line: &str| {
        let line = line
            .trim_start()
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        // A program's allocator has to be one, and holds nothing.
        let is_allocator = line.starts_with("static ALLOCATOR: ");
        (line.starts_with("static ") && !is_allocator) || line.starts_with("thread_local!")
    };
    let found = code(text).filter(|(_, line)| is_static(line));
    found
        .map(|(number, line)| format!("{path}:{number}: {}", line.trim()))
        .collect()
}

fn long_main(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let is_main = path.starts_with("services/") && path.ends_with("src/main.rs");
    if is_main && lines > MAX_MAIN_LINES {
        return vec![format!(
            "{path} has {lines} lines; {MAX_MAIN_LINES} at most"
        )];
    }
    Vec::new()
}

/// Numbered lines without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or(line)))
}
