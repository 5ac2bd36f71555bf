//! Sources as people read them in a terminal. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{SecretState, Source, SourceSecret, title};

/// One line per source.
pub(super) fn table(sources: &[Source], now: Timestamp) -> String {
    let width = |of: fn(&Source) -> usize, least: usize| {
        let widest = sources.iter().map(of).max();
        widest.unwrap_or_default().max(least)
    };
    let provider = width(|source| source.provider.len(), 8);
    let name = width(|source| source.name.chars().count(), 4);
    let path = width(|source| source.path.len(), 8);
    let mut text = format!(
        "{:<provider$}  {:<name$}  {:<path$}  {:<5}  SECRETS\n",
        "PROVIDER", "NAME", "URL PATH", "STATE"
    );
    for source in sources {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "{:<provider$}  {:<name$}  {:<path$}  {:<5}  {}",
            source.provider,
            source.name,
            source.path,
            state(source),
            secrets(source, now)
        );
    }
    if sources.iter().any(|source| !source.usage_known) {
        text.push_str("ingress does not answer: when secrets were last used is not known now\n");
    }
    text
}

/// All of one source.
pub(super) fn page(source: &Source, now: Timestamp) -> String {
    let mut page = format!(
        "{} of {}, {}\n",
        source.label(),
        source.org_id,
        state(source)
    );
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(page, "  {name:<18} {value}");
    };
    line("id", &source.id);
    line("provider", title(&source.provider));
    line("URL path", &source.path);
    line("version", &source.version.to_string());
    for (name, value) in &source.settings {
        line(name, &value.to_string());
    }
    line("secrets", &secrets(source, now));
    for secret in &source.secrets {
        let made = format!(
            "made {} ago by {}",
            since(secret.created_at, now),
            secret.created_by
        );
        let parts = [
            Some(word(secret, now)),
            used(source, &[secret], now),
            Some(made),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        line(&format!("  {}", secret.id), &parts.join(", "));
    }
    if !source.usage_known {
        line(
            "",
            "ingress does not answer: when they were last used is not known now",
        );
    }
    page
}

/// After a rotation; `secret` is the new one, where Tocsin made it.
pub(super) fn rotated(source: &Source, secret: Option<&str>, now: Timestamp) -> String {
    let mut text = page(source, now);
    match secret {
        Some(secret) => {
            let sender = title(&source.provider);
            let _infallible = write!(
                text,
                "\nnew secret, shown this once; set it at {sender} before the old ones end:\n  {secret}\n"
            );
        }
        None => text.push_str("\nthe new secret is taken\n"),
    }
    text
}

const fn state(source: &Source) -> &'static str {
    if source.disabled { "off" } else { "on" }
}

/// How the secrets stand: `2 live, old one last used 3 days ago, expires in 4 h`.
pub(super) fn secrets(source: &Source, now: Timestamp) -> String {
    let those = |state: SecretState| -> Vec<&SourceSecret> {
        let secrets = source.secrets.iter();
        secrets.filter(|secret| secret.state == state).collect()
    };
    let (live, waiting) = (those(SecretState::Live), those(SecretState::Waiting));
    let mut parts = vec![match live.len() {
        0 => "none live".to_owned(),
        count => format!("{count} live"),
    }];
    // By id, so that the last is the newest.
    match live.as_slice() {
        [] => {}
        [only] => {
            parts.extend(used(source, &[only], now));
            parts.extend(ends(&[only], now));
        }
        [old @ .., newest] => {
            if source.usage_known && newest.last_used.is_none() {
                parts.push("new one not used yet".to_owned());
            }
            let name = if old.len() == 1 {
                "old one"
            } else {
                "old ones"
            };
            let used = used(source, old, now).map(|used| format!("{name} {used}"));
            parts.extend(used.or_else(|| Some(name.to_owned()).filter(|_| !source.usage_known)));
            parts.extend(ends(old, now).or_else(|| Some("never expires".to_owned())));
        }
    }
    let next = waiting.iter().filter_map(|secret| secret.not_before).min();
    parts.extend(next.map(|at| format!("another counts in {}", since(now, at))));
    parts.join(", ")
}

fn word(secret: &SourceSecret, now: Timestamp) -> String {
    match secret.state {
        SecretState::Live => match ends(&[secret], now) {
            Some(ends) => format!("live, {ends}"),
            None => "live".to_owned(),
        },
        SecretState::Expired => "expired".to_owned(),
        SecretState::Waiting => match secret.not_before {
            Some(from) => format!("counts in {}", since(now, from)),
            None => "waiting".to_owned(),
        },
    }
}

/// When any of them was last used; nothing where nobody says.
fn used(source: &Source, secrets: &[&SourceSecret], now: Timestamp) -> Option<String> {
    let last = secrets.iter().filter_map(|secret| secret.last_used).max();
    match last {
        Some(at) => Some(format!("last used {} ago", since(at, now))),
        None => source.usage_known.then(|| "not used yet".to_owned()),
    }
}

/// When the last of them ends; nothing where one never does.
fn ends(secrets: &[&SourceSecret], now: Timestamp) -> Option<String> {
    let ends: Option<Vec<Timestamp>> = secrets.iter().map(|secret| secret.expires).collect();
    let last = ends?.into_iter().max()?;
    Some(format!("expires in {}", since(now, last)))
}

/// From one time to a later one, in the unit that people say: seconds, minutes, hours, then days.
pub(super) fn since(from: Timestamp, until: Timestamp) -> String {
    let seconds = until.as_second().saturating_sub(from.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-03-10T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn secret(id: &str, state: &str, more: Value) -> Value {
        let mut secret = json!({"id": id, "state": state, "not_before": null, "expires": null, "last_used": null,
            "created_at": "2026-03-01T12:00:00Z", "created_by": "ada@example.com"});
        for (name, value) in more.as_object().expect("an object") {
            secret[name] = value.clone();
        }
        secret
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn source(usage_known: bool, secrets: Value) -> Source {
        serde_json::from_value(json!({
            "id": "src_0123456789abcdef01234567", "org_id": "acme", "provider": "pagerduty", "name": "production",
            "path": "/webhooks/pagerduty/src_0123456789abcdef01234567", "disabled": false,
            "settings": {"rate_tier": "medium"}, "secrets": secrets, "usage_known": usage_known, "version": 3}))
        .expect("a source")
    }

    /// As while a secret is rotated.
    fn rotating() -> Source {
        let old = json!({"last_used": "2026-03-07T12:00:00Z", "expires": "2026-03-10T16:10:00Z"});
        let new = json!({"last_used": "2026-03-10T11:59:30Z"});
        source(
            true,
            json!([secret("1", "live", old), secret("2", "live", new)]),
        )
    }

    #[test]
    fn secrets_are_told_in_a_line() {
        let until = json!({"expires": "2026-03-10T16:00:00Z"});
        let used = json!({"last_used": "2026-03-10T11:00:00Z"});
        let later = json!({"not_before": "2026-03-10T12:05:00Z"});
        let none = json!({});
        for (known, given, expected) in [
            (
                true,
                json!([secret("1", "live", none.clone())]),
                "1 live, not used yet",
            ),
            (
                true,
                json!([secret("1", "live", used.clone())]),
                "1 live, last used 1 h ago",
            ),
            (
                false,
                json!([secret("1", "live", until.clone())]),
                "1 live, expires in 4 h",
            ),
            (
                true,
                json!([
                    secret("1", "live", used.clone()),
                    secret("2", "live", none.clone())
                ]),
                "2 live, new one not used yet, old one last used 1 h ago, never expires",
            ),
            (
                true,
                json!([
                    secret("1", "live", used.clone()),
                    secret("2", "live", until.clone()),
                    secret("3", "live", used)
                ]),
                "3 live, old ones last used 1 h ago, never expires",
            ),
            (
                false,
                json!([
                    secret("1", "live", until.clone()),
                    secret("2", "live", none)
                ]),
                "2 live, old one, expires in 4 h",
            ),
            (
                true,
                json!([secret("1", "expired", until), secret("2", "waiting", later)]),
                "none live, another counts in 5 min",
            ),
        ] {
            assert_eq!(secrets(&source(known, given), now()), expected);
        }
        assert_eq!(
            secrets(&rotating(), now()),
            "2 live, old one last used 3 days ago, expires in 4 h"
        );
    }

    #[test]
    fn sources_are_a_table_and_one_is_a_page() {
        let mut other = source(false, json!([secret("1", "live", json!({}))]));
        (other.provider, other.name, other.disabled) = ("github".to_owned(), "é".to_owned(), true);
        insta::assert_snapshot!("table", table(&[rotating(), other], now()));
        insta::assert_snapshot!("page", page(&rotating(), now()));
    }

    #[test]
    fn the_new_secret_is_printed_only_where_tocsin_made_it() {
        assert!(rotated(&rotating(), Some("s3"), now()).contains("\n  s3\n"));
        assert!(rotated(&rotating(), None, now()).ends_with("the new secret is taken\n"));
    }

    #[test]
    fn times_are_told_in_the_unit_that_people_say() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            let later = Timestamp::from_second(now().as_second() + seconds).expect("a time");
            assert_eq!(since(now(), later), expected);
        }
    }
}
