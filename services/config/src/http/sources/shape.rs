//! How the types that config shares with ingress look in the description. They are read and written as
//! `tocsin_wire` has them; a test holds the two together.
#![expect(dead_code, reason = "describes what tocsin_wire reads and writes")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// What a source may say; whatever is left out is as its provider's default.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceSettings)]
pub(super) struct Settings {
    /// How its deliveries prove themselves.
    #[schema(inline)]
    scheme: Option<SchemeShape>,
    /// Addresses that may deliver; empty: any.
    #[schema(max_items = 64, example = json!(["192.0.2.0/24"]))]
    allowed_addresses: Option<Vec<String>>,
    /// How far a signed time may be off, in both directions.
    #[schema(minimum = 1, maximum = 3600)]
    tolerance_seconds: Option<u32>,
    /// 413 over it. At most 25 MiB for GitHub and GitLab, and 1 MiB for the others.
    #[schema(minimum = 1, maximum = 26_214_400)]
    max_body_bytes: Option<u32>,
    /// Kinds that are taken; what else comes is acknowledged and dropped. Empty: all.
    #[schema(max_items = 100, example = json!(["incident_triggered"]))]
    only_kinds: Option<Vec<String>>,
    /// How much it may send in 10 s: `small` 100, `medium` 5,000, `large` 250,000.
    #[schema(example = "medium")]
    rate_tier: Option<String>,
    /// Owner of what no identifier routes: a team of the source's org.
    #[schema(example = "payments")]
    default_team: Option<String>,
}

/// How deliveries prove themselves.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SchemeShape {
    /// HMAC-SHA256 over the body, perhaps with a time before it.
    Hmac {
        /// Where the signature stands.
        header: String,
        /// Before each signature, such as `sha256=`.
        prefix: Option<String>,
        #[schema(inline)]
        encoding: Option<EncodingShape>,
        /// One character between several signatures.
        separator: Option<String>,
        #[schema(inline)]
        timestamp: Option<SignedTimeShape>,
    },
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    StandardWebhooks,
    /// `t=<seconds>,v1=<hex>` in one header.
    Stripe { header: String },
    /// The secret itself in a header.
    Token { header: String },
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// `Authorization: Basic …`; the secret is `user:password`.
    Basic,
}

/// How a signature is written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EncodingShape {
    Hex,
    Base64,
}

/// Seconds since 1970 in a header of their own, signed with the body.
#[derive(Serialize, ToSchema)]
struct SignedTimeShape {
    header: String,
    /// Before the time in what is signed.
    before: Option<String>,
    /// Between the time and the body.
    after: String,
}

/// What ingress saw of a source.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceFigures)]
pub(super) struct Figures {
    accepted: u64,
    duplicates: u64,
    /// Said by the sender to be another try.
    retries: u64,
    /// By code: `bad_signature`, `body_too_large`, `rate_limited` …
    refused: BTreeMap<String, u64>,
    /// 503: our trouble, not the sender's.
    unavailable: u64,
    last_accepted: Option<i64>,
    last_refused: Option<i64>,
    last_refusal: Option<String>,
    /// What is known about the cause of a refusal of late; absent: nothing.
    #[schema(inline)]
    last_findings: Option<Vec<FindingShape>>,
    /// The sender's clock minus ours.
    clock_skew_seconds: Option<i64>,
    mean_ack_micros: u64,
    /// When each secret was last used, by its id.
    secret_last_used: BTreeMap<String, i64>,
    /// When these figures were written.
    at: i64,
}

/// One thing that is or may be wrong with a delivery.
#[derive(Serialize, ToSchema)]
struct FindingShape {
    /// `wrong_secret`, `body_changed`, `clock_skew` …
    code: String,
    /// A sentence or two.
    text: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use tocsin_wire::source::{Finding, SourceFigures, SourceSettings};
    use utoipa::PartialSchema as _;

    use super::*;

    fn described<T: utoipa::PartialSchema>() -> BTreeSet<String> {
        let schema = serde_json::to_value(T::schema()).expect("JSON");
        let properties = schema["properties"].as_object().expect("properties");
        properties.keys().cloned().collect()
    }

    #[test]
    fn what_is_described_is_what_is_read_and_written() {
        let figures = SourceFigures {
            last_findings: vec![Finding::default()],
            ..SourceFigures::default()
        };
        let figures = serde_json::to_value(figures).expect("JSON");
        let written: BTreeSet<String> = figures
            .as_object()
            .expect("object")
            .keys()
            .cloned()
            .collect();
        assert_eq!(described::<Figures>(), written);
        // Nothing said reads as the default; a name that is not known is refused.
        for name in described::<Settings>() {
            let one = serde_json::json!({ name.clone(): null });
            let read = serde_json::from_value::<SourceSettings>(one);
            assert!(
                read.as_ref()
                    .err()
                    .is_none_or(|error| !error.to_string().contains("unknown field")),
                "{name}"
            );
        }
        let whole = Settings::schema();
        assert_ne!(serde_json::to_value(whole).expect("JSON"), Value::Null);
    }
}
