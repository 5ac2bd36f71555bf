//! What somebody may have meant by an identifier that nobody claims. Pure.

use std::cmp::Ordering;

use serde::Serialize;
use tocsin_wire::TeamId;

use super::{Asked, Identifier};

/// Candidates named in an answer.
const MAX_NEAR: usize = 5;
/// Letters that two texts must share at the beginning before one counts as the longer form of the other.
const MIN_PREFIX: usize = 3;
/// Slips in longer values; short values allow fewer, or everything would be near everything.
const MAX_SLIPS: usize = 3;
const LETTERS_PER_SLIP: usize = 4;

/// An identifier of the same org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) identifier: Identifier,
    pub(crate) team: TeamId,
}

/// In which way two values are near each other, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[schema(as = LookupNearWhy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The same but for upper and lower case.
    Case,
    /// The same value, listed under another type.
    OtherType,
    /// A few letters differ.
    Spelling,
    /// One begins with the other.
    Prefix,
}

/// A candidate worth naming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = LookupNear)]
pub(crate) struct Near {
    /// As it is listed.
    #[serde(flatten)]
    pub(crate) identifier: Identifier,
    /// Whose it is.
    #[schema(value_type = String)]
    pub(crate) team_node_id: TeamId,
    /// Why it is named.
    pub(crate) why: Why,
    /// Letters that differ.
    pub(crate) distance: usize,
}

/// The candidates nearest to what was asked, at most five, nearest first.
pub(crate) fn nearest(asked: &[Asked], candidates: &[Candidate]) -> Vec<Near> {
    let mut near: Vec<Near> = Vec::new();
    for question in asked {
        for candidate in candidates {
            let Some((why, distance)) = likeness(&question.identifier, &candidate.identifier)
            else {
                continue;
            };
            near.push(Near {
                identifier: candidate.identifier.clone(),
                team_node_id: candidate.team.clone(),
                why,
                distance,
            });
        }
    }
    near.sort_by(|one, other| {
        by_nearness(one, other).then_with(|| one.identifier.cmp(&other.identifier))
    });
    near.dedup_by(|one, other| one.identifier == other.identifier);
    near.truncate(MAX_NEAR);
    near
}

fn by_nearness(one: &Near, other: &Near) -> Ordering {
    (one.why, one.distance).cmp(&(other.why, other.distance))
}

fn likeness(asked: &Identifier, known: &Identifier) -> Option<(Why, usize)> {
    if asked.kind != known.kind {
        return (asked.value == known.value).then_some((Why::OtherType, 0));
    }
    let one: Vec<char> = asked.value.to_lowercase().chars().collect();
    let other: Vec<char> = known.value.to_lowercase().chars().collect();
    if one == other {
        return Some((Why::Case, 0));
    }
    let shorter = one.len().min(other.len());
    let slips = (shorter / LETTERS_PER_SLIP).clamp(1, MAX_SLIPS);
    if shorter > 1 && one.len().abs_diff(other.len()) <= slips {
        let distance = distance(&one, &other);
        if distance <= slips {
            return Some((Why::Spelling, distance));
        }
    }
    let is_prefix = shorter >= MIN_PREFIX && (one.starts_with(&other) || other.starts_with(&one));
    is_prefix.then(|| (Why::Prefix, one.len().abs_diff(other.len())))
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    let mut last = None;
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut left = row + 1;
        for (column, with) in other.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&above, column) + usize::from(letter != with);
            let mut best = replaced.min(at(&above, column + 1) + 1).min(left + 1);
            let swapped = column
                .checked_sub(1)
                .filter(|previous| last == Some(with) && other.get(*previous) == Some(letter));
            if let Some(previous) = swapped {
                best = best.min(at(&before, previous) + 1);
            }
            current.push(best);
            left = best;
        }
        before = std::mem::replace(&mut above, current);
        last = Some(letter);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(kind: &str, value: &str) -> Identifier {
        Identifier {
            kind: kind.to_owned(),
            value: value.to_owned(),
        }
    }

    fn named(asked: (&str, &str), known: &[(&str, &str)]) -> Vec<String> {
        let asked = [Asked {
            identifier: identifier(asked.0, asked.1),
            sent: asked.1.to_owned(),
        }];
        let candidate = |(kind, value): &(&str, &str)| Candidate {
            identifier: identifier(kind, value),
            team: TeamId::new("sre").expect("id"),
        };
        let candidates: Vec<Candidate> = known.iter().map(candidate).collect();
        let near = nearest(&asked, &candidates);
        near.iter()
            .map(|near| format!("{}:{:?}:{}", near.identifier.value, near.why, near.distance))
            .collect()
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        for (asked, known, expected) in [
            ("c0a4967krbm", "C0A4967KRBM", &["C0A4967KRBM:Case:0"][..]),
            (
                "acme/chekcout",
                "acme/checkout",
                &["acme/checkout:Spelling:1"],
            ),
            (
                "acme/checkout",
                "acme/checkuot-",
                &["acme/checkuot-:Spelling:2"],
            ),
            ("ayments-api", "payments-api", &["payments-api:Spelling:1"]),
            ("payments", "payments-api", &["payments-api:Prefix:4"]),
            ("payments-api-canary", "payments", &["payments:Prefix:11"]),
            ("C0B", "C0C", &["C0C:Spelling:1"]),
            ("a", "b", &[]),
            ("C0AAAA", "C0ZZZZ", &[]),
            ("web", "worker", &[]),
        ] {
            assert_eq!(
                named(("service", asked), &[("service", known)]),
                expected,
                "{asked} {known}"
            );
        }
    }

    #[test]
    fn the_nearest_come_first_and_few_are_named() {
        let known = [
            ("service", "payments-api-canary"),
            ("github_repo", "payments-api"),
            ("service", "payment-api"),
            ("service", "Payments-API"),
            ("github_repo", "payments-apis"),
        ];
        assert_eq!(
            named(("service", "payments-api"), &known),
            [
                "Payments-API:Case:0",
                "payments-api:OtherType:0",
                "payment-api:Spelling:1",
                "payments-api-canary:Prefix:7"
            ]
        );
        let many: Vec<String> = (0..9).map(|number| format!("svc-{number}")).collect();
        let many: Vec<(&str, &str)> = many
            .iter()
            .map(|value| ("service", value.as_str()))
            .collect();
        assert_eq!(named(("service", "svc-x"), &many).len(), MAX_NEAR);
    }

    #[test]
    fn letters_are_counted() {
        let count = |one: &str, other: &str| {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            distance(&letters(one), &letters(other))
        };
        for (one, other, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
            ("größe", "grösse", 2),
            ("abc", "abc", 0),
        ] {
            assert_eq!(count(one, other), expected, "{one} {other}");
            assert_eq!(count(other, one), expected, "{other} {one}");
        }
    }
}
