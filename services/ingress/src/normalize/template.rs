//! Bodies that a person's template makes: what the sender did not fill in is not there.

use crate::json::Text;

/// The value, unless it is a placeholder that stayed: `$ALERT_ID`, `*insert desired team name*`, or the
/// word for nothing.
pub(super) fn filled<'a>(value: &'a Text<'_>) -> Option<&'a str> {
    value
        .get()
        .filter(|text| !is_placeholder(text) && *text != "null")
}

/// Whether a value names the variable that was to be filled in.
pub(super) fn is_placeholder(value: &str) -> bool {
    let is_variable = value.strip_prefix('$').is_some_and(|name| {
        let of_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.bytes().all(of_name)
    });
    let is_request = value.starts_with("*insert ") && value.ends_with('*');
    is_variable || is_request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_value_is_a_placeholder() {
        for (value, expected) in [
            ("$TEAM_NAME", true),
            ("$GROUP_BY_FIELD_1", true),
            ("*insert desired application name*", true),
            ("$", false),
            ("$5", true),
            ("$5.00", false),
            ("$team", false),
            ("costs $TEAM", false),
            ("$TEAM_NAME paid", false),
            ("*important*", false),
            ("", false),
        ] {
            assert_eq!(is_placeholder(value), expected, "{value:?}");
        }
    }
}
