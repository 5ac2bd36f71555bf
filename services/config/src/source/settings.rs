//! What a source may say beyond its name and its secrets, and the rules for it. Pure.

use http::HeaderName;
use serde_json::{Map, Value};
use tocsin_wire::rate::{RateTier, TIERS};
use tocsin_wire::scheme::{HmacScheme, Scheme};
use tocsin_wire::source::{
    MAX_ALLOWED_RANGES, MAX_FILTERED_KINDS, MAX_TOLERANCE_SECONDS, SourceProvider, SourceSettings,
};
use tocsin_wire::{TeamId, Token};

use super::Fault;
use super::pick::check_pick;
use crate::identity::Networks;

/// Longest name of a header, and longest text before or after what is signed: none that is in use has a
/// third of it.
const MAX_PIECE_BYTES: usize = 64;

/// Each setting with its shape, as a refusal tells it.
const SHAPES: [(&str, &str); 8] = [
    (
        "scheme",
        "must be an object such as {\"type\": \"hmac\", \"header\": \"X-Signature\", \"prefix\": \"sha256=\"}, \
         {\"type\": \"standard_webhooks\"}, {\"type\": \"stripe\", \"header\": …}, {\"type\": \"token\", \"header\": …}, \
         {\"type\": \"bearer\"} or {\"type\": \"basic\"}",
    ),
    (
        "allowed_addresses",
        "must be a list of addresses and ranges such as \"192.0.2.0/24\"",
    ),
    (
        "tolerance_seconds",
        "must be a whole number of seconds from 1 to 3600",
    ),
    ("max_body_bytes", "must be a whole number of bytes"),
    ("only_kinds", "must be a list of kinds"),
    ("rate_tier", "must be the name of a tier"),
    ("default_team", "must be the id of a team"),
    (
        "pick",
        "must be an object of expressions such as {\"title\": \"body.check.name\", \"identifiers\": {\"service\": \
         \"body.service\"}}; it may hold identifiers, title, text, severity, status, url, type, dedupe_key, \
         occurred_at and delivery_id",
    ),
];

/// Reads settings one by one, so that a fault names its place and repeats nothing of what was sent: it may
/// be a secret in the wrong field.
pub(crate) fn read_settings(given: &Map<String, Value>) -> Result<SourceSettings, Fault> {
    for (name, value) in given {
        let Some((name, shape)) = SHAPES.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
            return Err(Fault::new(
                "unknown_setting",
                "settings",
                format!("may hold {}, and nothing else", known.join(", ")),
            ));
        };
        let alone: Map<String, Value> = [((*name).to_owned(), value.clone())].into_iter().collect();
        let read = serde_json::from_value::<SourceSettings>(Value::Object(alone));
        if !read.is_ok_and(|read| is_whole(&read, value)) {
            return Err(Fault::new("invalid_setting", at(name), *shape));
        }
    }
    serde_json::from_value(Value::Object(given.clone())).map_err(|_each_alone_is_fine| {
        Fault::new("invalid_setting", "settings", "must be read as a whole")
    })
}

/// Whether nothing of a scheme was passed over: the reader lets a scheme without parts have any, and
/// `{"type": "bearer", "header": …}` would not do what it says.
fn is_whole(read: &SourceSettings, given: &Value) -> bool {
    let has_parts = |scheme: &Scheme| {
        matches!(
            scheme,
            Scheme::Hmac(_) | Scheme::Stripe { .. } | Scheme::Token { .. }
        )
    };
    read.scheme.as_ref().is_none_or(has_parts)
        || given.as_object().is_some_and(|given| given.len() == 1)
}

/// Whether ingress can do what the settings say. Whether the team exists, the database knows.
pub(crate) fn check_settings(
    provider: &SourceProvider,
    settings: &SourceSettings,
) -> Result<(), Fault> {
    if let Some(scheme) = &settings.scheme {
        check_scheme(scheme)?;
    }
    check_ranges(&settings.allowed_addresses)?;
    check_numbers(provider, settings)?;
    check_kinds(&settings.only_kinds)?;
    if let Some(tier) = &settings.rate_tier
        && RateTier::named(tier).is_none()
    {
        let names: Vec<&str> = TIERS.iter().map(|tier| tier.name).collect();
        let rule = format!("must be one of {}", names.join(", "));
        return Err(Fault::new("unknown_rate_tier", at("rate_tier"), rule));
    }
    if let Some(pick) = &settings.pick {
        check_pick(provider, pick)?;
    }
    match &settings.default_team {
        Some(team) if TeamId::new(team.as_str()).is_err() => Err(unknown_team()),
        _ => Ok(()),
    }
}

/// The default team is none of the org's.
pub(crate) fn unknown_team() -> Fault {
    let rule = "must be a team of the same org";
    Fault::new("unknown_default_team", at("default_team"), rule)
}

pub(super) fn at(setting: &str) -> String {
    format!("settings.{setting}")
}

fn check_scheme(scheme: &Scheme) -> Result<(), Fault> {
    match scheme {
        Scheme::Hmac(hmac) => check_hmac(hmac),
        Scheme::Stripe { header } | Scheme::Token { header } => {
            check_header("scheme.header", header)
        }
        // The others have no parts.
        _ => Ok(()),
    }
}

fn check_hmac(hmac: &HmacScheme) -> Result<(), Fault> {
    check_header("scheme.header", &hmac.header)?;
    check_piece("scheme.prefix", &hmac.prefix)?;
    // Signatures are letters, digits, '+', '/' and '='.
    let cuts = |separator: &char| {
        !separator.is_ascii()
            || separator.is_ascii_control()
            || separator.is_ascii_alphanumeric()
            || matches!(separator, '+' | '/' | '=')
    };
    if hmac.separator.as_ref().is_some_and(cuts) {
        return Err(Fault::new(
            "invalid_separator",
            at("scheme.separator"),
            "must be an ASCII character that stands in no signature, such as , or a space",
        ));
    }
    let Some(time) = &hmac.timestamp else {
        return Ok(());
    };
    check_header("scheme.timestamp.header", &time.header)?;
    check_piece("scheme.timestamp.before", &time.before)?;
    check_piece("scheme.timestamp.after", &time.after)?;
    if time.header.eq_ignore_ascii_case(&hmac.header) {
        return Err(Fault::new(
            "invalid_header_name",
            at("scheme.timestamp.header"),
            "must be another header than the signature's",
        ));
    }
    Ok(())
}

fn check_header(place: &str, name: &str) -> Result<(), Fault> {
    if name.len() <= MAX_PIECE_BYTES && HeaderName::from_bytes(name.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(Fault::new(
        "invalid_header_name",
        at(place),
        format!("must be the name of an HTTP header of at most {MAX_PIECE_BYTES} characters"),
    ))
}

fn check_piece(place: &str, piece: &str) -> Result<(), Fault> {
    let is_visible = piece.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_visible && piece.len() <= MAX_PIECE_BYTES {
        return Ok(());
    }
    Err(Fault::new(
        "invalid_scheme_text",
        at(place),
        format!("must be at most {MAX_PIECE_BYTES} printable ASCII characters"),
    ))
}

fn check_ranges(ranges: &[String]) -> Result<(), Fault> {
    if ranges.len() > MAX_ALLOWED_RANGES {
        return Err(Fault::new(
            "too_many_address_ranges",
            at("allowed_addresses"),
            format!("may hold {MAX_ALLOWED_RANGES} ranges"),
        ));
    }
    for (index, range) in ranges.iter().enumerate() {
        let is_one = !range.contains(',') && range.trim() == range;
        let parsed = range.parse::<Networks>();
        if !is_one || !parsed.is_ok_and(|networks| !networks.is_empty()) {
            return Err(Fault::new(
                "invalid_address_range",
                at(&format!("allowed_addresses.{index}")),
                "must be an address or a range, such as 192.0.2.0/24 or 2001:db8::/32",
            ));
        }
    }
    Ok(())
}

fn check_numbers(provider: &SourceProvider, settings: &SourceSettings) -> Result<(), Fault> {
    if let Some(seconds) = settings.tolerance_seconds
        && !(1..=MAX_TOLERANCE_SECONDS).contains(&seconds)
    {
        let rule = format!("must be 1 to {MAX_TOLERANCE_SECONDS}");
        return Err(Fault::new(
            "invalid_tolerance",
            at("tolerance_seconds"),
            rule,
        ));
    }
    if let Some(bytes) = settings.max_body_bytes
        && !(1..=provider.max_body_bytes).contains(&bytes)
    {
        let rule = format!(
            "must be 1 to {} for {}",
            provider.max_body_bytes, provider.title
        );
        return Err(Fault::new("invalid_max_body", at("max_body_bytes"), rule));
    }
    Ok(())
}

fn check_kinds(kinds: &[String]) -> Result<(), Fault> {
    if kinds.len() > MAX_FILTERED_KINDS {
        let rule = format!("may hold {MAX_FILTERED_KINDS} kinds");
        return Err(Fault::new("too_many_kinds", at("only_kinds"), rule));
    }
    let wrong = kinds
        .iter()
        .position(|kind| Token::new(kind.as_str()).is_err());
    match wrong {
        None => Ok(()),
        Some(index) => Err(Fault::new(
            "invalid_kind",
            at(&format!("only_kinds.{index}")),
            "must be a kind as events have it, such as incident_triggered",
        )),
    }
}
