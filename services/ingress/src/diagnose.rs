//! What a sender got wrong, told to the person who sets it up: pure, and never told to the sender.
//!
//! A signature that does not hold says nothing by itself. So the usual mistakes are tried one by one: when
//! it would hold after one of them is undone, that was it.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use tocsin_wire::scheme::Scheme;
use tocsin_wire::source::Finding;

use crate::provider;
use crate::verify::sns::Certificate;
use crate::verify::{LiveSecret, Refusal, Validity, Verifier};

/// Wide enough for any clock: only whether the signature holds is asked.
const ANY_TIME: Duration = Duration::from_secs(u64::MAX / 4);

/// Bodies above it are not written anew in other forms.
const MAX_REWRITTEN: usize = 256 * 1024;

/// What is known about the source.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub scheme: &'a Scheme,
    /// All, also those that no longer or not yet hold.
    pub secrets: &'a [LiveSecret<'a>],
    /// As they are listed; by position.
    pub secret_ids: &'a [String],
    pub tolerance: Duration,
    /// The one that the delivery names, where the scheme has certificates; without it the topic, the time
    /// and the URLs are looked at.
    pub certificate: Option<&'a Certificate>,
}

/// What is to be said of a delivery, the likeliest cause first. Empty when it verifies.
#[must_use]
pub fn diagnose(case: Case<'_>, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Vec<Finding> {
    let refusal = match case.verify(case.secrets, headers, body, now, case.tolerance) {
        Ok(_) => return Vec::new(),
        Err(refusal) => refusal,
    };
    let mut findings = Vec::new();
    match refusal {
        Refusal::MissingSignature
        | Refusal::MissingId
        | Refusal::MissingTimestamp
        | Refusal::MissingToken => findings.extend(other_headers(headers)),
        Refusal::StaleTimestamp | Refusal::FutureTimestamp => {
            findings.extend(case.clock(headers, body, now));
        }
        Refusal::BadSignature | Refusal::WrongToken | Refusal::MissingSecret => {
            let secret = case.other_secret(headers, body, now);
            findings.extend(secret.or_else(|| case.other_body(headers, body, now)));
        }
        _ => {}
    }
    findings.push(finding(refusal.code(), refusal.to_string()));
    if refusal == Refusal::BadSignature && findings.len() == 1 {
        let text = "No secret of this source signs this delivery, in any of the forms in which bodies and \
                    secrets are usually changed on the way. Copy the secret from the sender once more, or \
                    rotate it.";
        findings.insert(0, finding("wrong_secret", text));
    }
    findings
}

impl Case<'_> {
    fn verify(
        &self,
        secrets: &[LiveSecret<'_>],
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<usize, Refusal> {
        // A scheme that is none was refused when it was saved.
        let verifier = Verifier::new(self.scheme, secrets);
        let verifier = verifier.map_err(|_invalid| Refusal::MissingSecret)?;
        if self.certificate.is_none() && verifier.certificate_url(body, now, tolerance)?.is_some() {
            return Ok(0);
        }
        verifier.verify_with(headers, body, now, tolerance, self.certificate)
    }

    /// Whether it would hold at any time.
    fn holds(
        &self,
        secrets: &[LiveSecret<'_>],
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> bool {
        self.verify(secrets, headers, body, now, ANY_TIME).is_ok()
    }

    fn clock(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Finding> {
        let verifier = Verifier::new(self.scheme, self.secrets).ok()?;
        let skew = verifier
            .claimed_time(headers)?
            .saturating_sub(now.as_second());
        let direction = if skew < 0 { "behind" } else { "ahead of" };
        let holds = self.holds(self.secrets, headers, body, now);
        let rest = if holds {
            "else the signature is right: set the sender's clock, or raise tolerance_seconds"
        } else {
            "and the signature would not hold at any time"
        };
        let seconds = skew.unsigned_abs();
        Some(finding(
            "clock_skew",
            format!("The signed time is {seconds} s {direction} our clock; {rest}."),
        ))
    }

    fn other_secret(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Finding> {
        for (position, secret) in self.secrets.iter().enumerate() {
            let any_time = [LiveSecret::always(secret.text)];
            if secret.validity != Validity::default() && self.holds(&any_time, headers, body, now) {
                let id = self.secret_ids.get(position).map_or("?", String::as_str);
                let text = format!(
                    "It is signed with secret {id}, which does not hold now; give the sender the new one."
                );
                return Some(finding("expired_secret", text));
            }
            for (code, text, mended) in mended_secrets(secret.text) {
                if self.holds(&[LiveSecret::always(&mended)], headers, body, now) {
                    return Some(finding(code, text));
                }
            }
        }
        None
    }

    fn other_body(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Finding> {
        let all: Vec<_> = self
            .secrets
            .iter()
            .map(|secret| LiveSecret::always(secret.text))
            .collect();
        rewritten(body).into_iter().find_map(|(how, body)| {
            self.holds(&all, headers, &body, now).then(|| {
                let text = format!(
                    "The secret is right, but the body was changed on the way: the signature holds for \
                     {how}. A proxy or gateway writes it anew; make it pass bodies through untouched."
                );
                finding("body_changed", text)
            })
        })
    }
}

fn finding(code: &str, text: impl Into<String>) -> Finding {
    Finding {
        code: code.to_owned(),
        text: text.into(),
    }
}

/// Whose headers these are, when they are not this source's.
fn other_headers(headers: &HeaderMap) -> Option<Finding> {
    let mut found = provider::ALL.iter().filter_map(|provider| {
        let mut schemes = provider.schemes.iter();
        let named = schemes.find_map(|scheme| {
            let verifier = Verifier::new(scheme, &[]).ok()?;
            let mut names = verifier.kept_headers().into_iter();
            names.find(|name| headers.contains_key(name))
        })?;
        Some(format!("{named}, which {} sends", provider.title))
    });
    let text = match found.next() {
        Some(found) => format!("The delivery has {found}: is this the right URL, and the right scheme?"),
        None => "The delivery has no signature header that we know: is a secret set at the sender, and do \
                 proxies on the way keep its headers?"
            .to_owned(),
    };
    Some(finding("other_headers", text))
}

/// How secrets are mangled when people copy them.
fn mended_secrets(secret: &str) -> Vec<(&'static str, &'static str, String)> {
    let mut mended = Vec::new();
    if secret.trim() != secret {
        let text = "The secret here has blanks or a line feed around it; set it without them.";
        mended.push(("secret_has_blanks", text, secret.trim().to_owned()));
    }
    let text =
        "The sender signs with a line feed at the end of the secret; set it there without one.";
    mended.push(("sender_secret_has_line_feed", text, format!("{secret}\n")));
    if let Some(bare) = secret.strip_prefix("whsec_") {
        let text =
            "The sender signs with the secret without its whsec_; choose the scheme of the sender.";
        mended.push(("secret_prefix", text, bare.to_owned()));
    }
    let quoted = secret.trim_matches(['"', '\'']);
    if quoted != secret {
        let text = "The secret here has quotes around it; set it without them.";
        mended.push(("secret_has_quotes", text, quoted.to_owned()));
    }
    mended
}

/// The forms into which bodies are written anew on the way.
fn rewritten(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        (
            "the body with a line feed at its end",
            [body, b"\n"].concat(),
        ),
        (
            "the body without the blanks at its ends",
            body.trim_ascii().to_vec(),
        ),
    ];
    let Ok(text) = std::str::from_utf8(body) else {
        return forms;
    };
    forms.push((
        "the body with LF for CR LF",
        text.replace("\r\n", "\n").into_bytes(),
    ));
    forms.push((
        "the body with CR LF for LF",
        text.replace('\n', "\r\n").into_bytes(),
    ));
    forms.push((
        "the body with / written as \\/",
        text.replace('/', "\\/").into_bytes(),
    ));
    forms.push((
        "the body with \\/ written as /",
        text.replace("\\/", "/").into_bytes(),
    ));
    forms.push((
        "the body with non-ASCII characters escaped",
        escaped(text).into_bytes(),
    ));
    if body.len() <= MAX_REWRITTEN && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        let compact = compacted(text);
        forms.push(("the same JSON without blanks", compact.clone().into_bytes()));
        forms.push((
            "the same JSON without blanks, non-ASCII escaped",
            escaped(&compact).into_bytes(),
        ));
        forms.push((
            "the same JSON with blanks after , and :",
            spaced(&compact).into_bytes(),
        ));
    }
    forms
}

/// As Python and PHP write JSON: `\uXXXX` for all that is not ASCII.
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            written.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                written.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    written
}

/// JSON without the blanks between its tokens; order and numbers stay as they are written.
fn compacted(json: &str) -> String {
    outside_of_texts(json, |character, written| {
        if !character.is_ascii_whitespace() {
            written.push(character);
        }
    })
}

/// As Python's `json.dumps` separates.
fn spaced(compact: &str) -> String {
    outside_of_texts(compact, |character, written| {
        written.push(character);
        if matches!(character, ',' | ':') {
            written.push(' ');
        }
    })
}

/// JSON with each character outside of its strings written by `write`.
fn outside_of_texts(json: &str, write: impl Fn(char, &mut String)) -> String {
    let mut written = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_text, mut escape) = (false, false);
    for character in json.chars() {
        if in_text {
            written.push(character);
            in_text = escape || character != '"';
            escape = !escape && character == '\\';
        } else {
            in_text = character == '"';
            write(character, &mut written);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{github, slack};
    use tocsin_testkit::standins::signature;

    const NOW: i64 = 1_700_000_000;
    const BODY: &str = "{\"b\":\"caf\u{e9} / x\",\"a\":[1,2]}";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    fn github_codes(secret: LiveSecret<'_>, signed_with: &str, signed: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        let signature = signature::github(signed_with, signed.as_bytes()).expect("signed");
        headers.insert("x-hub-signature-256", signature.parse().expect("a value"));
        let case = Case {
            scheme: &github::PROVIDER.schemes[0],
            secrets: &[secret],
            secret_ids: &["7".to_owned()],
            tolerance: Duration::from_secs(300),
            certificate: None,
        };
        let findings = diagnose(case, &headers, BODY.as_bytes(), at(NOW));
        for finding in &findings {
            assert!(
                !finding.text.contains(secret.text.trim()),
                "{}",
                finding.text
            );
        }
        findings.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn usual_mistakes_are_named() {
        let secret = LiveSecret::always("a secret");
        let expired = LiveSecret {
            text: "a secret",
            validity: Validity {
                not_before: None,
                expires: Some(at(NOW - 1)),
            },
        };
        for (case, secret, signed_with, signed, expected) in [
            ("right", secret, "a secret", BODY, &[][..]),
            (
                "another secret",
                secret,
                "other",
                BODY,
                &["wrong_secret", "bad_signature"],
            ),
            (
                "expired",
                expired,
                "a secret",
                BODY,
                &["expired_secret", "missing_secret"],
            ),
            (
                "pasted with a line feed",
                LiveSecret::always("a secret\n"),
                "a secret",
                BODY,
                &["secret_has_blanks", "bad_signature"],
            ),
            (
                "a proxy dropped the blanks",
                secret,
                "a secret",
                "{\"b\": \"caf\u{e9} / x\", \"a\": [1, 2]}",
                &["body_changed", "bad_signature"],
            ),
            (
                "a proxy unescaped",
                secret,
                "a secret",
                "{\"b\":\"caf\\u00e9 / x\",\"a\":[1,2]}",
                &["body_changed", "bad_signature"],
            ),
            (
                "a proxy took the line feed",
                secret,
                "a secret",
                &format!("{BODY}\n"),
                &["body_changed", "bad_signature"],
            ),
        ] {
            assert_eq!(
                github_codes(secret, signed_with, signed),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn clocks_and_foreign_headers_are_named() {
        let secrets = [LiveSecret::always("a secret")];
        let case = Case {
            scheme: &slack::PROVIDER.schemes[0],
            secrets: &secrets,
            secret_ids: &[],
            tolerance: Duration::from_secs(300),
            certificate: None,
        };
        let sent = NOW - 4_000;
        let signature = signature::slack("a secret", sent, BODY.as_bytes()).expect("signed");
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-signature", signature.parse().expect("a value"));
        headers.insert("x-slack-request-timestamp", sent.into());
        let findings = diagnose(case, &headers, BODY.as_bytes(), at(NOW));
        assert_eq!(findings[0].code, "clock_skew");
        assert!(
            findings[0].text.contains("4000 s behind"),
            "{}",
            findings[0].text
        );
        assert!(findings[0].text.contains("else the signature is right"));

        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", "sha256=00".parse().expect("a value"));
        let findings = diagnose(case, &headers, BODY.as_bytes(), at(NOW));
        assert_eq!(findings[0].code, "other_headers");
        assert!(findings[0].text.contains("GitHub"), "{}", findings[0].text);
    }
}
