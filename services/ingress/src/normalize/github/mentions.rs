//! Who is mentioned in Markdown: `@login` and `@org/team`, as GitHub links them.

use crate::normalize::draft::MAX_MENTIONS;

/// Logins have at most 39 characters; a team adds its organisation's.
const MAX_LOGIN: usize = 80;

/// Mentioned names in order of appearance, without the `@`.
pub(super) fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('@')
        .filter(|(at, _)| {
            // "mail@host" mentions nobody.
            let before = text.get(..*at).unwrap_or_default().chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && before != '`' && before != '/')
        })
        .filter_map(|(at, _)| {
            let rest = text.get(at + 1..)?;
            let is_part = |character: char| {
                character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/')
            };
            let end = rest
                .find(|character| !is_part(character))
                .unwrap_or(rest.len());
            rest.get(..end)
                .map(|name| name.trim_end_matches(['-', '_', '/']))
        })
        .filter(|name| (1..=MAX_LOGIN).contains(&name.len()))
        .take(MAX_MENTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_teams_are_found_and_mail_is_not() {
        for (text, expected) in [
            ("@tocsin investigate", vec!["tocsin"]),
            (
                "ask @acme/sre-team, or (@jane-doe).",
                vec!["acme/sre-team", "jane-doe"],
            ),
            ("a@b.example `@code` /@x @ @-", vec![]),
            ("ü@umlaut", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(mentioned(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
