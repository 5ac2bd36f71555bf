//! docker-compose.yml and the Dockerfile, as far as they can be read without Docker.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::workspace::read;

#[test]
fn compose_is_well_formed_and_pinned() {
    assert_none("docker-compose.yml", &compose(&read("docker-compose.yml")));
}

#[test]
fn every_stage_of_the_image_exists() {
    assert_none("deploy/Dockerfile", &stages(&read("deploy/Dockerfile")));
}

#[test]
fn planted_containers_are_seen() {
    let good = "services:\n  a:\n    image: nats:2.15.1-alpine\n    depends_on:\n      b:\n        condition: x\n  b:\n    build: .\n";
    assert_eq!(compose(good), Vec::<String>::new());
    for (from, to) in [
        ("nats:2.15.1-alpine", "nats:latest"),
        ("nats:2.15.1-alpine", "nats"),
        ("      b:\n", "      c:\n"),
        ("    build: .\n", "\tbuild: .\n"),
        ("    build: .\n", "    ports: []\n"),
        (
            "    build: .\n",
            "    build: .\n    environment:\n      A_SECRET: abc\n",
        ),
    ] {
        assert!(
            !compose(&good.replace(from, to)).is_empty(),
            "{from:?} became {to:?}"
        );
    }
    assert_eq!(
        stages("FROM rust:1.95 AS build\nFROM debian:12\nCOPY --from=build /a /b\n"),
        Vec::<String>::new()
    );
    assert_eq!(stages("FROM debian:12\nCOPY --from=build /a /b\n").len(), 1);
    assert_eq!(stages("FROM debian\n").len(), 1);
}

/// A service of the file: its name and its lines.
fn services(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let section = text.lines().skip_while(|line| *line != "services:").skip(1);
    for line in section.take_while(|line| line.is_empty() || line.starts_with([' ', '#'])) {
        let name = line
            .strip_prefix("  ")
            .and_then(|rest| rest.strip_suffix(':'));
        match (name.filter(|name| !name.starts_with(' ')), found.last_mut()) {
            (Some(name), _) => found.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

fn compose(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.contains('\t') || (line.len() - line.trim_start().len()) % 2 == 1 {
            wrong.push(format!("line {}: indent with pairs of spaces", index + 1));
        }
        let secret = line
            .trim()
            .split_once(": ")
            .filter(|(name, _)| is_secret(name));
        if let Some((name, value)) = secret.filter(|(_, value)| !value.contains("${")) {
            wrong.push(format!(
                "{name} is written down ({value}); use ${{{name}:?}}"
            ));
        }
    }
    let services = services(text);
    let names: BTreeSet<&str> = services.iter().map(|(name, _)| *name).collect();
    if names.is_empty() {
        wrong.push("there are no services".to_owned());
    }
    for (name, lines) in &services {
        let image = lines
            .iter()
            .find_map(|line| line.trim().strip_prefix("image: "));
        let is_built = lines
            .iter()
            .any(|line| line.trim().starts_with("build:") || line.contains("<<:"));
        match image {
            Some(image) if !is_built && !is_pinned(image) => {
                wrong.push(format!("{name}: {image} is not pinned"));
            }
            None if !is_built => wrong.push(format!("{name} has neither an image nor a build")),
            _ => {}
        }
        let waits = lines
            .iter()
            .skip_while(|line| line.trim() != "depends_on:")
            .skip(1);
        for line in waits.take_while(|line| line.starts_with("      ")) {
            let other = line
                .strip_prefix("      ")
                .and_then(|rest| rest.strip_suffix(':'));
            if let Some(other) =
                other.filter(|other| !other.starts_with(' ') && !names.contains(other))
            {
                wrong.push(format!("{name} waits for {other}, which does not exist"));
            }
        }
    }
    wrong
}

fn is_secret(name: &str) -> bool {
    ["SECRET", "TOKEN", "PASSWORD", "PEPPER"]
        .iter()
        .any(|word| name.ends_with(word))
}

/// A tag with a digit, or a digest.
fn is_pinned(image: &str) -> bool {
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    tag.is_some_and(|tag| tag.contains(|letter: char| letter.is_ascii_digit()))
}

fn stages(text: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["FROM", image, rest @ ..] => {
                if !names.contains(image) && !is_pinned(image) {
                    wrong.push(format!("{image} is neither pinned nor an earlier stage"));
                }
                names.extend(rest.last().copied());
            }
            ["COPY", from, ..] => {
                let stage = from.strip_prefix("--from=");
                if let Some(stage) = stage.filter(|stage| !names.contains(stage)) {
                    wrong.push(format!(
                        "`{line}` copies from {stage}, which is no earlier stage"
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}
