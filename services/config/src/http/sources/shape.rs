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
    /// What is taken out of a body of any JSON; only of provider `generic`.
    #[schema(inline)]
    pick: Option<PickShape>,
}

/// Expressions over `body`, such as `body.check.name`, by what they pick; at most 4 KiB together. What is
/// not picked is read as without them.
#[derive(Serialize, ToSchema)]
struct PickShape {
    /// By type of identifier, one of those that route.
    #[schema(example = json!({"service": "body.labels.service"}))]
    identifiers: Option<BTreeMap<String, String>>,
    /// One line for people.
    #[schema(example = "body.check.name ~ ' on ' ~ body.host")]
    title: Option<String>,
    /// What is to be said beyond it.
    #[schema(example = "body.check.output")]
    text: Option<String>,
    /// The sender's word: `critical`, `P2`, `warning` …
    #[schema(example = "body.check.level")]
    severity: Option<String>,
    /// The sender's word: `firing`, `resolved`, `ok` … It decides the kind.
    #[schema(example = "'resolved' if body.ok else 'firing'")]
    status: Option<String>,
    /// Where to read more.
    #[schema(example = "body.links[0]")]
    url: Option<String>,
    /// The sender's name for what happened: `alert.firing`, `deploy.finished`.
    #[schema(example = "body.event")]
    r#type: Option<String>,
    /// What an alert's begin, its repeats and its end have in common.
    #[schema(example = "body.check.id")]
    dedupe_key: Option<String>,
    /// A date and time, or a number since 1970.
    #[schema(example = "body.at")]
    occurred_at: Option<String>,
    /// The same when the sender tries again, and another for every other delivery.
    #[schema(example = "body.id")]
    delivery_id: Option<String>,
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
    /// Said by the sender to be another try, or found to be one since it was stored before.
    retries: u64,
    /// Deliveries on which an expression of the source failed.
    not_picked: u64,
    /// By code: `bad_signature`, `body_too_large`, `rate_limited` …
    refused: BTreeMap<String, u64>,
    /// Those of `refused` that were our trouble, not the sender's.
    refused_by_us: BTreeMap<String, u64>,
    /// How many these are.
    unavailable: u64,
    last_accepted: Option<i64>,
    last_refused: Option<i64>,
    last_refusal: Option<String>,
    /// What is known about the cause of a refusal of late; absent: nothing.
    #[schema(inline)]
    last_findings: Option<Vec<FindingShape>>,
    /// The sender's clock minus ours, of the last signed time that proved to be the sender's.
    clock_skew_seconds: Option<i64>,
    /// When that was.
    clock_skew_at: Option<i64>,
    mean_ack_micros: u64,
    /// When each secret was last used, by its id.
    secret_last_used: BTreeMap<String, i64>,
    #[schema(inline)]
    of_late: Option<OfLateShape>,
    /// When these figures were written.
    at: i64,
}

/// What became of the last deliveries, 32 at most.
#[derive(Serialize, ToSchema)]
struct OfLateShape {
    /// How many these are.
    deliveries: u64,
    /// The longest time to the answer of one that was taken.
    slowest_ack_micros: u64,
    /// By whose turn it is: `sender`, `limit` (more than it may send) or `us`.
    #[schema(inline)]
    refused: BTreeMap<String, RefusedOfLateShape>,
}

/// Those refused for one side's sake.
#[derive(Serialize, ToSchema)]
struct RefusedOfLateShape {
    count: u64,
    /// Those that came after the last one that was taken.
    since_taken: u64,
    last_code: String,
    last_at: i64,
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
    use tocsin_wire::source::{Finding, SourceFigures, SourcePick, SourceSettings};
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
        let figures = serde_json::to_value(figures.summarized()).expect("JSON");
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
        let names = described::<PickShape>();
        let pick: serde_json::Map<_, _> = names
            .iter()
            .map(|name| match name.as_str() {
                "identifiers" => (name.clone(), serde_json::json!({"service": "a"})),
                _ => (name.clone(), "a".into()),
            })
            .collect();
        let read: SourcePick = serde_json::from_value(Value::Object(pick)).expect("a pick");
        assert_eq!(read.expressions().count(), names.len());
        let whole = Settings::schema();
        assert_ne!(serde_json::to_value(whole).expect("JSON"), Value::Null);
    }
}
