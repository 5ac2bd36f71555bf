//! What the fuzz targets of ingress share: how an input is read, and a second opinion on signatures.
//!
//! An input is a line that chooses among the variants of a target, by name or else by its first byte, then
//! headers as `name: value` lines, an empty line, and the body. In the value of a header `{mac}`, `{other}` and `{ed25519}` stand for right
//! signatures of the input: no fuzzer guesses one, and what surrounds them is what it shall try.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use std::time::Duration;
use tocsin_wire::scheme::Encoding;

/// Our clock, in seconds since 1970: that of the fixtures' deliveries.
pub const NOW: i64 = 1_767_323_045;
/// How far a signed time may be off.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// The first one is of no use to any scheme: nothing may ever verify under it.
pub const SECRETS: [&str; 3] = ["", "the first secret", "the second secret"];
/// Headers beyond these are dropped: hyper takes 100.
const MAX_HEADERS: usize = 100;

/// One input, read.
#[derive(Debug)]
pub struct Input<'a> {
    choice: &'a [u8],
    headers: Vec<(HeaderName, &'a [u8])>,
    pub body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Any bytes are an input; lines that are no headers are left out.
    #[must_use]
    pub fn read(data: &'a [u8]) -> Self {
        let end = data.iter().position(|byte| *byte == b'\n');
        let (choice, mut rest) = match end {
            Some(end) => (&data[..end], &data[end + 1..]),
            None => (data, &data[data.len()..]),
        };
        let mut headers = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let value = line[colon + 1..].trim_ascii();
            if let Ok(name) = HeaderName::from_bytes(&line[..colon])
                && headers.len() < MAX_HEADERS
            {
                headers.push((name, value));
            }
        }
        Self {
            choice,
            headers,
            body: rest,
        }
    }

    /// The variant that the input names; by name, so that an input stays what it is when variants are added.
    ///
    /// # Panics
    /// When there is nothing to choose from: a mistake in a target.
    #[must_use]
    pub fn choose<T>(&self, variants: Vec<T>, name: impl Fn(&T) -> String) -> T {
        let named = variants
            .iter()
            .position(|variant| name(variant).as_bytes() == self.choice);
        let first = usize::from(self.choice.first().copied().unwrap_or_default());
        let at = named.unwrap_or(first % variants.len());
        variants.into_iter().nth(at).expect("a variant")
    }

    /// The first value of a header, empty when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &'a [u8] {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        named.next().map_or(&[], |(_, value)| value)
    }

    /// The headers, with each of `pairs` put in for its word.
    #[must_use]
    pub fn headers(&self, pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let mut value = value.to_vec();
            for (word, text) in pairs {
                value = replaced(&value, word.as_bytes(), text.as_bytes());
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        headers
    }
}

fn replaced(value: &[u8], word: &[u8], text: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        all.extend_from_slice(&rest[..at]);
        all.extend_from_slice(text);
        rest = &rest[at + word.len()..];
    }
    all.extend_from_slice(rest);
    all
}

/// The time that verifiers are given.
///
/// # Panics
/// Never: the constant is in range.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("in range")
}

/// Whether a signed time is one, and within the tolerance.
#[must_use]
pub fn is_now(time: &[u8]) -> bool {
    let text = std::str::from_utf8(time).unwrap_or_default();
    let seconds = text.parse::<i64>();
    seconds.is_ok_and(|seconds| NOW.abs_diff(seconds) <= TOLERANCE.as_secs())
}

/// HMAC-SHA256, by another library than that of the verifiers.
#[must_use]
pub fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    ring::hmac::sign(&key, &parts.concat()).as_ref().to_vec()
}

/// As a scheme writes a MAC.
#[must_use]
pub fn encoded(encoding: Encoding, mac: &[u8]) -> String {
    match encoding {
        Encoding::Hex => tocsin_wire::signing::hex(mac),
        Encoding::Base64 => STANDARD.encode(mac),
    }
}

/// Whether a value of the header holds that MAC, in either case of hex and with or without padding.
#[must_use]
pub fn shows(headers: &HeaderMap, name: &str, encoding: Encoding, mac: &[u8]) -> bool {
    let text = encoded(encoding, mac);
    let text = text.trim_end_matches('=').as_bytes();
    headers.get_all(name).iter().any(|value| {
        let value = match encoding {
            Encoding::Hex => value.as_bytes().to_ascii_lowercase(),
            Encoding::Base64 => value.as_bytes().to_vec(),
        };
        value.windows(text.len()).any(|window| window == text)
    })
}

/// Headers of a delivery that nobody tampered with.
///
/// # Panics
/// When a name or a value cannot be a header: a mistake in a target.
#[must_use]
pub fn genuine(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    pairs.collect()
}
