//! What the documents say is so.

use std::process::Command;

use tocsin_wire::streams::{BUCKETS, CONSUMERS, OBJECT_STORES, STREAMS};

use crate::assert_none;
use crate::workspace::{read, root};

#[test]
fn every_stream_consumer_and_bucket_stands_in_the_architecture() {
    let text = read("ARCHITECTURE.md");
    let table = text
        .split_once("<!-- table:begin -->")
        .and_then(|(_, rest)| rest.split_once("<!-- table:end -->"))
        .map(|(table, _)| table)
        .expect("the markers of the table in ARCHITECTURE.md");
    let streams = STREAMS
        .iter()
        .flat_map(|stream| std::iter::once(stream.name).chain(stream.subjects.iter().copied()));
    let names = streams
        .chain(CONSUMERS.iter().map(|consumer| consumer.name))
        .chain(BUCKETS.iter().map(|bucket| bucket.name))
        .chain(OBJECT_STORES.iter().map(|store| store.name));
    let missing: Vec<String> = names
        .filter(|name| !table.contains(&format!("`{name}`")))
        .map(str::to_owned)
        .collect();
    assert_none(
        "not in the table of ARCHITECTURE.md; `tocsin bus table` prints it",
        &missing,
    );
}

#[test]
fn every_command_of_the_readme_exists() {
    let readme = read("README.md");
    let commands = commands(&readme);
    assert!(
        commands.len() > 5,
        "the README shows hardly any command: {commands:?}"
    );
    let verbs = verbs();
    let wrong: Vec<String> = commands
        .iter()
        .filter_map(|words| unknown(words, &verbs).map(|why| format!("{}: {why}", words.join(" "))))
        .collect();
    assert_none("README.md shows commands that do not exist", &wrong);
}

#[test]
fn planted_commands_are_seen() {
    let text = "```console\n$ A=b ./dev up   # remark\n$ ./dev fly\n```\nas `tocsin keys lose` or `./dev`\n";
    let found = commands(text);
    assert_eq!(
        found,
        [
            vec!["./dev", "up"],
            vec!["./dev", "fly"],
            vec!["tocsin", "keys", "lose"],
            vec!["./dev"]
        ]
    );
    let verbs = ["up".to_owned(), "tocsin".to_owned()];
    let broken = |line: &str| unknown(&line.split(' ').collect::<Vec<_>>(), &verbs).is_some();
    for (line, expected) in [
        ("./dev up", false),
        ("./dev fly", true),
        ("tocsin keys lose", true),
        ("tocsin keys publish", false),
        ("tocsin events show <id> --wait", false),
        ("tocsin events show <id> --hurry", true),
        ("./dev tocsin keys lose", true),
    ] {
        assert_eq!(broken(line), expected, "{line}");
    }
}

/// The words of every command in console blocks (lines with `$`) and in inline code.
fn commands(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.extend(line.strip_prefix("$ "));
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let is_ours = |word: &&str| *word == "./dev" || *word == "tocsin";
    found
        .into_iter()
        .map(|line| line.split(" #").next().unwrap_or(line).split_whitespace())
        // Settings before the command, as in `A=b ./dev up`.
        .map(|words| {
            words
                .skip_while(|word| word.contains('='))
                .collect::<Vec<_>>()
        })
        .filter(|words| words.first().is_some_and(is_ours))
        .collect()
}

/// What `./dev` prints as its verbs.
fn verbs() -> Vec<String> {
    let output = Command::new("python3")
        .arg(root().join("dev"))
        .output()
        .expect("python3 runs ./dev");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verbs: Vec<String> = text
        .lines()
        .filter_map(|line| {
            line.trim_start()
                .strip_prefix("./dev ")?
                .split_whitespace()
                .next()
                .map(str::to_owned)
        })
        .collect();
    assert!(verbs.len() > 5, "./dev prints no verbs: {text}");
    verbs
}

/// Why the command cannot be given.
fn unknown(words: &[&str], verbs: &[String]) -> Option<String> {
    match words {
        ["./dev", "tocsin", rest @ ..] | ["tocsin", rest @ ..] => unknown_to_tocsin(rest),
        ["./dev", "…" | "...", ..] => None,
        ["./dev", verb, ..] if !verbs.iter().any(|known| known == verb) => {
            Some(format!("no verb {verb}"))
        }
        _ => None,
    }
}

fn unknown_to_tocsin(words: &[&str]) -> Option<String> {
    let mut command = tocsin::cli::command();
    for word in words {
        // `…` and `<service>` stand for whatever fits.
        let placeholder = word.contains(['…', '<', '|']);
        if let Some(flag) = word.strip_prefix("--") {
            let name = flag.split('=').next().unwrap_or(flag);
            let known = command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(name));
            if !known && name != "help" && name != "version" {
                return Some(format!("no flag --{name}"));
            }
        } else if command.has_subcommands() && !placeholder {
            match command.find_subcommand(word) {
                Some(found) => command = found.clone(),
                None => return Some(format!("no command {word}")),
            }
        } else if command.has_subcommands() {
            return None;
        }
    }
    None
}
