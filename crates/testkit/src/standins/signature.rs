//! The signatures that providers put on webhooks, each over the raw body.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Error;

/// `X-Slack-Signature` of `body` sent at `timestamp` (seconds): `v0=<hex>`.
pub fn slack(secret: &str, timestamp: i64, body: &[u8]) -> Result<String, Error> {
    let prefix = format!("v0:{timestamp}:");
    Ok(format!("v0={}", hex(secret, &[prefix.as_bytes(), body])?))
}

/// `X-PagerDuty-Signature`: `v1=<hex>`.
pub fn pagerduty(secret: &str, body: &[u8]) -> Result<String, Error> {
    Ok(format!("v1={}", hex(secret, &[body])?))
}

/// `X-Hub-Signature-256`: `sha256=<hex>`.
pub fn github(secret: &str, body: &[u8]) -> Result<String, Error> {
    Ok(format!("sha256={}", hex(secret, &[body])?))
}

/// `webhook-signature` of a Standard Webhooks message sent at `timestamp` (seconds): `v1,<base64>`. The
/// secret is text here; it is configured as [`standard_webhooks_secret`] shows it.
pub fn standard_webhooks(
    secret: &str,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, Error> {
    let prefix = format!("{id}.{timestamp}.");
    let mac = mac(secret, &[prefix.as_bytes(), body])?;
    Ok(format!("v1,{}", STANDARD.encode(mac)))
}

/// A secret as a sender of Standard Webhooks shows it: `whsec_<base64>`.
#[must_use]
pub fn standard_webhooks_secret(secret: &str) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

fn hex(secret: &str, parts: &[&[u8]]) -> Result<String, Error> {
    let mut text = String::with_capacity(64);
    for byte in mac(secret, parts)? {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

fn mac(secret: &str, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    if secret.is_empty() {
        return Err(Error::EmptySecret);
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Error::EmptySecret)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}
