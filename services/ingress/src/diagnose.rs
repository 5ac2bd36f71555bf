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
pub(crate) const ANY_TIME: Duration = Duration::from_secs(u64::MAX / 4);

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

/// When a delivery came, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// At this time.
    At(Timestamp),
    /// Some time before this: it was captured, and nobody said when.
    Before(Timestamp),
}

impl Receipt {
    /// By what clock and which secrets the delivery is judged.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        match self {
            Self::At(time) | Self::Before(time) => time,
        }
    }
}

/// What is to be said of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why it is not believed. `None` also for a captured one that has only grown old since.
    pub refusal: Option<Refusal>,
    /// The likeliest cause first; empty when it verifies.
    pub findings: Vec<Finding>,
    /// The sender's clock minus ours, where it alone is why the delivery was refused.
    pub skew_seconds: Option<i64>,
}

/// Tries the usual mistakes, whatever the time of the delivery, and says what that time means.
#[must_use]
pub fn diagnose(case: Case<'_>, headers: &HeaderMap, body: &[u8], receipt: Receipt) -> Diagnosis {
    let at = receipt.time();
    let Err(refusal) = case.verify(case.secrets, headers, body, at, case.tolerance) else {
        return Diagnosis::default();
    };
    let is_about_time = matches!(refusal, Refusal::StaleTimestamp | Refusal::FutureTimestamp);
    let lasting = if is_about_time {
        let at_any_time = case.verify(case.secrets, headers, body, at, ANY_TIME);
        at_any_time.err()
    } else {
        Some(refusal)
    };
    let mut findings = case.causes(lasting, headers, body, at);
    let is_old = refusal == Refusal::StaleTimestamp && matches!(receipt, Receipt::Before(_));
    let refusal = if is_old { lasting } else { Some(refusal) };
    let skew = case.skew(headers, at);
    if is_about_time {
        let holds = lasting.is_none();
        findings.push(if is_old {
            old_capture(skew, holds)
        } else {
            clock_skew(skew, holds)
        });
    }
    findings.extend(refusal.map(|refusal| finding(refusal.code(), refusal.to_string())));
    let only_the_clock = is_about_time && !is_old && lasting.is_none();
    Diagnosis {
        refusal,
        findings,
        skew_seconds: skew.filter(|_| only_the_clock),
    }
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

    /// What usually lies behind a refusal that no clock would mend.
    fn causes(
        &self,
        refusal: Option<Refusal>,
        headers: &HeaderMap,
        body: &[u8],
        at: Timestamp,
    ) -> Vec<Finding> {
        let found = match refusal {
            Some(
                Refusal::MissingSignature
                | Refusal::MissingId
                | Refusal::MissingTimestamp
                | Refusal::MissingToken,
            ) => other_headers(headers),
            Some(Refusal::BadSignature | Refusal::WrongToken | Refusal::MissingSecret) => {
                let secret = self.other_secret(headers, body, at);
                secret.or_else(|| self.other_body(headers, body, at))
            }
            _ => None,
        };
        let unknown = || {
            (refusal == Some(Refusal::BadSignature)).then(|| {
                let text = "No secret of this source signs this delivery, in any of the forms in which bodies \
                            and secrets are usually changed on the way. Copy the secret from the sender once \
                            more, or rotate it.";
                finding("wrong_secret", text)
            })
        };
        found.or_else(unknown).into_iter().collect()
    }

    /// The sender's clock minus ours; not of SNS, whose time stands in the body.
    fn skew(&self, headers: &HeaderMap, at: Timestamp) -> Option<i64> {
        let verifier = Verifier::new(self.scheme, self.secrets).ok()?;
        let claimed = verifier.claimed_time(headers)?;
        Some(claimed.saturating_sub(at.as_second()))
    }

    fn other_secret(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Option<Finding> {
        for (position, secret) in self.secrets.iter().enumerate() {
            let any_time = [LiveSecret::always(secret.text)];
            if secret.validity != Validity::default() && self.holds(&any_time, headers, body, now) {
                let id = self.secret_ids.get(position).map_or("?", String::as_str);
                let text = format!(
                    "It is signed with secret {id}, which did not count when this came; give the sender the one that does."
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

/// Of a time that is too far from the one at which the delivery came.
fn clock_skew(skew: Option<i64>, holds: bool) -> Finding {
    let distance = skew.map_or_else(
        || "too far from our clock".to_owned(),
        |skew| {
            let direction = if skew < 0 { "behind" } else { "ahead of" };
            format!("{} s {direction} our clock", skew.unsigned_abs())
        },
    );
    let rest = if holds {
        "else the signature is right: set the sender's clock, or raise tolerance_seconds"
    } else {
        "and the signature would not hold at any time"
    };
    finding(
        "clock_skew",
        format!("The signed time is {distance}; {rest}."),
    )
}

/// Of a delivery that lay somewhere before it was shown to us, for nobody knows how long.
fn old_capture(skew: Option<i64>, holds: bool) -> Finding {
    let age = skew.map_or_else(
        || "long".to_owned(),
        |skew| format!("{} s", skew.unsigned_abs()),
    );
    let signature = if holds {
        "The signature holds"
    } else {
        "The signature would not hold at any time"
    };
    let text = format!(
        "It was signed {age} ago, which is usual for a delivery that was captured; sent again now it would be \
         refused as too old. {signature}. Say when it came (received_at) to learn whether the sender's clock \
         was right."
    );
    finding("old_capture", text)
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
        Some(format!("{named}, which {} sends", provider.title()))
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
mod tests;
