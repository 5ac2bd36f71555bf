//! What a signed token must say besides carrying a good signature. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The body of a signed token.
pub(crate) type Claims = Map<String, Value>;

/// What is asked of the standard claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// `iss` must be it.
    pub(crate) issuer: &'a str,
    /// `aud` must be or hold one of them.
    pub(crate) audiences: &'a [&'a str],
    /// How far the issuer's clock may be from ours, in seconds.
    pub(crate) leeway_seconds: i64,
}

/// Why a signed token is no good. The texts name claims, never values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadClaims {
    #[error("the claim {0} is missing or not of the expected type")]
    Missing(&'static str),
    #[error("it was issued by somebody else")]
    Issuer,
    #[error("it was issued for somebody else")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
}

/// Checks `iss`, `aud`, `exp`, and where they are present `nbf` and `iat`.
pub(crate) fn check(
    claims: &Claims,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<(), BadClaims> {
    if text(claims, "iss") != Some(expected.issuer) {
        return Err(BadClaims::Issuer);
    }
    let is_meant = |audience: &str| expected.audiences.contains(&audience);
    let meant = match claims.get("aud") {
        Some(Value::String(one)) => is_meant(one),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).any(is_meant),
        _ => false,
    };
    if !meant {
        return Err(BadClaims::Audience);
    }
    let now = now.as_second();
    let leeway = expected.leeway_seconds;
    let end = seconds(claims, "exp")?.ok_or(BadClaims::Missing("exp"))?;
    if end.saturating_add(leeway) <= now {
        return Err(BadClaims::Expired);
    }
    for name in ["nbf", "iat"] {
        let begin = seconds(claims, name)?;
        if begin.is_some_and(|begin| begin.saturating_sub(leeway) > now) {
            return Err(BadClaims::NotYet);
        }
    }
    Ok(())
}

/// A time as RFC 7519 writes it: seconds, possibly with a fraction.
fn seconds(claims: &Claims, name: &'static str) -> Result<Option<i64>, BadClaims> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .or_else(|| value.as_f64().and_then(whole_seconds))
            .map(Some)
            .ok_or(BadClaims::Missing(name)),
    }
}

/// Within the years that a token may name.
fn whole_seconds(value: f64) -> Option<i64> {
    const LATEST: f64 = 253_402_300_799.0; // 9999-12-31
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fraction is meant to go, and the range was checked"
    )]
    (0.0..=LATEST).contains(&value).then_some(value as i64)
}

/// A text that is not empty.
pub(crate) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    find(claims, name)
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// A list of texts; one text counts as a list of one.
pub(crate) fn texts(claims: &Claims, name: &str) -> Vec<String> {
    match find(claims, name) {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// The claim called `name`, else the one that `name` leads to as a dotted path: providers put groups
/// into objects (`realm_access.roles`), and some name claims by URLs, which have dots themselves.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.')
        .try_fold(claims.get(first)?, |value, step| value.get(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> Claims {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn issuer_audience_and_times_are_asked_for() {
        let now = Timestamp::from_second(1_000).expect("time");
        let expected = Expected {
            issuer: "us",
            audiences: &["here", "old"],
            leeway_seconds: 30,
        };
        let good = json!({"iss":"us","aud":"here","exp":1001});
        for (change, outcome) in [
            (json!({}), Ok(())),
            (json!({"aud":["else","old"]}), Ok(())),
            (json!({"exp":971}), Ok(())),
            (json!({"exp":1000.5}), Ok(())),
            (json!({"nbf":1030,"iat":1030}), Ok(())),
            (json!({"exp":970}), Err(BadClaims::Expired)),
            (json!({"exp":null}), Err(BadClaims::Missing("exp"))),
            (json!({"exp":"1001"}), Err(BadClaims::Missing("exp"))),
            (json!({"exp":-5}), Err(BadClaims::Expired)),
            (json!({"exp":1e300}), Err(BadClaims::Missing("exp"))),
            (json!({"nbf":1031}), Err(BadClaims::NotYet)),
            (json!({"iat":1031}), Err(BadClaims::NotYet)),
            (json!({"iss":"them"}), Err(BadClaims::Issuer)),
            (json!({"iss":null}), Err(BadClaims::Issuer)),
            (json!({"aud":"there"}), Err(BadClaims::Audience)),
            (json!({"aud":[]}), Err(BadClaims::Audience)),
            (json!({"aud":null}), Err(BadClaims::Audience)),
        ] {
            let mut given = claims(&good);
            given.extend(claims(&change));
            assert_eq!(check(&given, &expected, now), outcome, "{change}");
        }
        let without = claims(&json!({"iss":"us","aud":"here"}));
        assert_eq!(
            check(&without, &expected, now),
            Err(BadClaims::Missing("exp"))
        );
    }

    #[test]
    fn a_claim_is_found_by_name_or_by_path() {
        let given = claims(
            &json!({"a":{"b":["x",1,"y"]},"https://x.example/team":"sre","one":"z","e":" "}),
        );
        assert_eq!(texts(&given, "a.b"), ["x", "y"]);
        assert_eq!(texts(&given, "one"), ["z"]);
        assert!(texts(&given, "a.c").is_empty() && texts(&given, "a").is_empty());
        assert_eq!(text(&given, "https://x.example/team"), Some("sre"));
        assert_eq!(text(&given, "e"), None);
    }
}
