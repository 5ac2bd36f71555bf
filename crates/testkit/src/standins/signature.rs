//! The signatures that providers put on webhooks, each over the raw body.

use std::fmt::Write as _;

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

fn hex(secret: &str, parts: &[&[u8]]) -> Result<String, Error> {
    if secret.is_empty() {
        return Err(Error::EmptySecret);
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Error::EmptySecret)?;
    for part in parts {
        mac.update(part);
    }
    let mut text = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
