//! The signatures that providers put on webhooks, each over the raw body.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tocsin_wire::scheme::{Encoding, HmacScheme, Scheme};

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

/// Headers with which `body`, sent at `timestamp` (seconds) as the message `id`, proves by any scheme that
/// it comes from who holds `secret`, as it is text here.
pub fn headers(
    scheme: &Scheme,
    secret: &str,
    timestamp: i64,
    id: &str,
    body: &[u8],
) -> Result<Vec<(String, String)>, Error> {
    let one = |name: &str, value: String| vec![(name.to_owned(), value)];
    Ok(match scheme {
        Scheme::Hmac(scheme) => hmac_headers(scheme, secret, timestamp, body)?,
        Scheme::StandardWebhooks => {
            let signed = standard_webhooks(secret, id, timestamp, body)?;
            let values = [id.to_owned(), timestamp.to_string(), signed];
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            names.map(str::to_owned).into_iter().zip(values).collect()
        }
        Scheme::Stripe { header } => {
            let signed = hex(secret, &[format!("{timestamp}.").as_bytes(), body])?;
            one(header, format!("t={timestamp},v1={signed}"))
        }
        Scheme::Token { header } => one(header, secret.to_owned()),
        Scheme::Bearer => one("authorization", format!("Bearer {secret}")),
        Scheme::Basic => one(
            "authorization",
            format!("Basic {}", STANDARD.encode(secret)),
        ),
        // Only AWS signs, in the body.
        Scheme::Sns => Vec::new(),
    })
}

fn hmac_headers(
    scheme: &HmacScheme,
    secret: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<Vec<(String, String)>, Error> {
    let mut headers = Vec::with_capacity(2);
    let mut before = String::new();
    if let Some(time) = &scheme.timestamp {
        before = format!("{}{timestamp}{}", time.before, time.after);
        headers.push((time.header.to_string(), timestamp.to_string()));
    }
    let parts = [before.as_bytes(), body];
    let signed = match scheme.encoding {
        Encoding::Hex => hex(secret, &parts)?,
        Encoding::Base64 => STANDARD.encode(mac(secret, &parts)?),
    };
    let signed = format!("{}{signed}", scheme.prefix);
    headers.push((scheme.header.to_string(), signed));
    Ok(headers)
}

/// A secret as a sender of this scheme shows it.
#[must_use]
pub fn shown(scheme: &Scheme, secret: &str) -> String {
    match scheme {
        Scheme::StandardWebhooks => standard_webhooks_secret(secret),
        _ => secret.to_owned(),
    }
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
