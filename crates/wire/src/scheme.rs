//! How a sender proves that a delivery is its own: what a source is configured with, and what ingress
//! verifies by.
//!
//! As JSON: `{"type": "hmac", "header": "X-Signature", "encoding": "hex", "prefix": "sha256="}`,
//! `{"type": "standard_webhooks"}`, `{"type": "token", "header": "X-Gitlab-Token"}`, `{"type": "bearer"}` …

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A header's name or a piece of what is signed; fixed for providers we know, owned for sources.
pub type Piece = Cow<'static, str>;

/// One way to authenticate a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheme {
    /// HMAC-SHA256 over the body, perhaps with a time before it.
    Hmac(HmacScheme),
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`: secrets `whsec_…` (HMAC, v1) or public
    /// keys `whpk_…` (Ed25519, v1a). <https://www.standardwebhooks.com>
    StandardWebhooks,
    /// `t=<seconds>,v1=<hex>[,v1=<hex>]` in one header, over `<t>.<body>`.
    Stripe {
        /// `Stripe-Signature` for Stripe itself.
        header: Piece,
    },
    /// The secret itself in a header.
    Token { header: Piece },
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// `Authorization: Basic …`; the secret is `user:password`.
    Basic,
    /// Amazon SNS: RSA under a certificate of AWS, over fields of the body. The secrets are the topics'
    /// ARNs: everybody's messages verify under the same certificate.
    Sns,
}

/// HMAC-SHA256 of `[before]<time>[after]<body>`, or of the body alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// Where the signature stands.
    pub header: Piece,
    /// Before each signature: `sha256=`, `v1=`; a signature without it is skipped or refused.
    #[serde(default)]
    pub prefix: Piece,
    #[serde(default)]
    pub encoding: Encoding,
    /// Between several signatures in the header; without one there must be exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The signed time; without one a captured delivery can be sent again at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<SignedTime>,
}

/// How 32 bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// 64 digits of either case.
    #[default]
    Hex,
    /// The standard alphabet; padding may be missing.
    Base64,
}

/// Seconds since 1970 in a header of their own, and where they stand in what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTime {
    pub header: Piece,
    /// Before the time: `v0:` for Slack.
    #[serde(default)]
    pub before: Piece,
    /// Between the time and the body: `:` or `.`
    pub after: Piece,
}

impl HmacScheme {
    /// One signature over the body: `<header>: <prefix><hex>`.
    #[must_use]
    pub const fn over_body(header: &'static str, prefix: &'static str) -> Self {
        Self {
            header: Cow::Borrowed(header),
            prefix: Cow::Borrowed(prefix),
            encoding: Encoding::Hex,
            separator: None,
            timestamp: None,
        }
    }

    /// Several signatures over the body: `<header>: <prefix><hex><separator><prefix><hex>`.
    #[must_use]
    pub const fn list(header: &'static str, prefix: &'static str, separator: char) -> Self {
        Self {
            header: Cow::Borrowed(header),
            prefix: Cow::Borrowed(prefix),
            encoding: Encoding::Hex,
            separator: Some(separator),
            timestamp: None,
        }
    }

    /// One signature over a time and the body.
    #[must_use]
    pub const fn timed(header: &'static str, prefix: &'static str, timestamp: SignedTime) -> Self {
        Self {
            header: Cow::Borrowed(header),
            prefix: Cow::Borrowed(prefix),
            encoding: Encoding::Hex,
            separator: None,
            timestamp: Some(timestamp),
        }
    }
}

impl Scheme {
    /// The secret itself in a header of this name.
    #[must_use]
    pub const fn token(header: &'static str) -> Self {
        Self::Token {
            header: Cow::Borrowed(header),
        }
    }

    /// Whether a delivery that somebody copied is refused some minutes later.
    #[must_use]
    pub const fn is_replay_safe(&self) -> bool {
        match self {
            Self::Hmac(hmac) => hmac.timestamp.is_some(),
            Self::StandardWebhooks | Self::Stripe { .. } | Self::Sns => true,
            Self::Token { .. } | Self::Bearer | Self::Basic => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_read_as_people_write_them() {
        let slack = Scheme::Hmac(HmacScheme {
            timestamp: Some(SignedTime {
                header: "X-Time".into(),
                before: "v0:".into(),
                after: ":".into(),
            }),
            ..HmacScheme::over_body("X-Signature", "v0=")
        });
        for (json, expected) in [
            (
                r#"{"type":"hmac","header":"X-Hub-Signature","prefix":"sha256="}"#,
                Scheme::Hmac(HmacScheme::over_body("X-Hub-Signature", "sha256=")),
            ),
            (
                r#"{"type":"hmac","header":"X-Signature","prefix":"v0=",
                    "timestamp":{"header":"X-Time","before":"v0:","after":":"}}"#,
                slack,
            ),
            (r#"{"type":"bearer"}"#, Scheme::Bearer),
            (
                r#"{"type":"token","header":"X-Token"}"#,
                Scheme::token("X-Token"),
            ),
        ] {
            let read: Scheme = serde_json::from_str(json).expect(json);
            assert_eq!(read, expected);
            let written = serde_json::to_string(&read).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Scheme>(&written).expect("JSON"),
                read
            );
        }
        for json in [
            r#"{"type":"none"}"#,
            r#"{"type":"hmac"}"#,
            r#"{"type":"hmac","header":"X","algorithm":"sha1"}"#,
        ] {
            assert!(serde_json::from_str::<Scheme>(json).is_err(), "{json}");
        }
    }
}
