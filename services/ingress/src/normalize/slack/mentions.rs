//! Who is mentioned in a Slack text: `<@U123>` and `<@U123|name>`.

use crate::normalize::draft::MAX_MENTIONS;

/// User ids in order of appearance.
pub(super) fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    text.split("<@")
        .skip(1)
        .filter_map(|rest| rest.split(['>', '|']).next())
        .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .take(MAX_MENTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_and_nothing_else() {
        for (text, expected) in [
            ("<@U111> look at <@W222|jane>", vec!["U111", "W222"]),
            ("mail <a@b.example> and <#C1|x> <!here>", vec![]),
            ("<@> <@U 1> <@U9", vec!["U9"]),
            ("", vec![]),
        ] {
            assert_eq!(mentioned(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
