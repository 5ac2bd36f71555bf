//! Standard Webhooks: `webhook-signature: v1,<base64>[ v1a,<base64>]` over
//! `<webhook-id>.<webhook-timestamp>.<body>`. Under a secret (`whsec_…`) it is an HMAC, v1; under a public
//! key (`whpk_…`) it is Ed25519, v1a. Svix's own names for the headers (`svix-id`, …) are taken as well.
//! Entries of other versions are skipped.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use tocsin_wire::PublicKey;

use super::mac::{self, MAC_BYTES};
use super::secret::{LiveSecret, Validity};
use super::{Keys, MAX_SIGNATURES, Refusal, single, timestamp};

/// The message, the same on every retry; it is signed, so nobody can replay under another.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// Seconds since 1970, of this attempt.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The list of signatures.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// As Svix calls [`ID`].
pub const SVIX_ID: HeaderName = HeaderName::from_static("svix-id");
/// As Svix calls [`TIMESTAMP`].
pub const SVIX_TIMESTAMP: HeaderName = HeaderName::from_static("svix-timestamp");
/// As Svix calls [`SIGNATURE`].
pub const SVIX_SIGNATURE: HeaderName = HeaderName::from_static("svix-signature");

/// All of them.
pub(super) const HEADERS: [HeaderName; 6] = [
    ID,
    TIMESTAMP,
    SIGNATURE,
    SVIX_ID,
    SVIX_TIMESTAMP,
    SVIX_SIGNATURE,
];

/// What secrets are shown with.
const SECRET_PREFIX: &str = "whsec_";
/// What public keys are shown with.
const PUBLIC_PREFIX: &str = "whpk_";
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Secrets as `whsec_<base64>` (or without the prefix) and public keys as `whpk_<base64>`. Whatever is
/// neither is left out, as an empty secret is: nothing verifies under it.
#[derive(Clone, Debug)]
pub(super) struct StandardKeys {
    secrets: Keys,
    public: Vec<PublicEntry>,
}

#[derive(Clone, Debug)]
struct PublicEntry {
    key: PublicKey,
    position: usize,
    validity: Validity,
}

impl StandardKeys {
    pub(super) fn new(secrets: &[LiveSecret<'_>]) -> Self {
        let public = secrets.iter().enumerate().filter_map(|(position, secret)| {
            let key = secret.text.strip_prefix(PUBLIC_PREFIX)?.parse().ok()?;
            Some(PublicEntry {
                key,
                position,
                validity: secret.validity,
            })
        });
        Self {
            public: public.collect(),
            secrets: Keys::of(secrets, |text| {
                let secret = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
                mac::BASE64.decode(secret).ok()
            }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.secrets.len() + self.public.len()
    }

    /// Verifies one delivery; gives the position of the secret that matched. One right signature in any
    /// position suffices.
    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<usize, Refusal> {
        let mut public = self.public.iter().filter(|entry| entry.validity.holds(now));
        if public.next().is_none() {
            self.secrets.check_any(now)?;
        }
        let presented = Presented::of(headers)?;
        timestamp::check(presented.timestamp, now, tolerance)?;
        let signatures = Signatures::read(headers, &presented.signature)?;
        let (id, time) = (presented.id.as_bytes(), presented.timestamp.as_bytes());
        let parts = [id, b".", time, b".", body];
        let secret = self.secrets.matching(now, &parts, &signatures.macs);
        secret.or_else(|refusal| {
            self.public_match(now, &parts, &signatures.ed25519)
                .ok_or(refusal)
        })
    }

    /// Nothing about it is secret, so it may take as long as it takes.
    fn public_match(
        &self,
        now: Timestamp,
        parts: &[&[u8]],
        signatures: &[[u8; SIGNATURE_BYTES]],
    ) -> Option<usize> {
        if signatures.is_empty() || self.public.is_empty() {
            return None;
        }
        let text = parts.concat();
        let mut live = self.public.iter().filter(|entry| entry.validity.holds(now));
        let matching = live.find(|entry| {
            let mut signatures = signatures.iter();
            signatures.any(|signature| entry.key.verifies(&text, signature))
        });
        matching.map(|entry| entry.position)
    }
}

/// The id of a delivery, under either name; empty when it has none.
#[must_use]
pub fn delivery_id(headers: &HeaderMap) -> &str {
    let id = headers.get(ID).or_else(|| headers.get(SVIX_ID));
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// The signed time, under either name.
pub(super) fn time(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers
        .get(TIMESTAMP)
        .or_else(|| headers.get(SVIX_TIMESTAMP))
}

struct Presented<'a> {
    id: &'a HeaderValue,
    timestamp: &'a HeaderValue,
    signature: HeaderName,
}

impl<'a> Presented<'a> {
    /// One set of names or the other; a mixture would let a proxy and us read different values.
    fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let names = if headers.contains_key(SIGNATURE) || headers.contains_key(ID) {
            (ID, TIMESTAMP, SIGNATURE)
        } else {
            (SVIX_ID, SVIX_TIMESTAMP, SVIX_SIGNATURE)
        };
        let (id, timestamp, signature) = names;
        if !headers.contains_key(&signature) {
            return Err(Refusal::MissingSignature);
        }
        Ok(Self {
            id: single(headers, &id)?.ok_or(Refusal::MissingId)?,
            timestamp: single(headers, &timestamp)?.ok_or(Refusal::MissingTimestamp)?,
            signature,
        })
    }
}

#[derive(Default)]
struct Signatures {
    macs: Vec<[u8; MAC_BYTES]>,
    ed25519: Vec<[u8; SIGNATURE_BYTES]>,
}

impl Signatures {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Self, Refusal> {
        let values = headers.get_all(name).iter();
        let entries = values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b' '))
            .filter(|entry| !entry.is_empty());
        let mut signatures = Self::default();
        for (index, entry) in entries.enumerate() {
            if index >= MAX_SIGNATURES {
                return Err(Refusal::InvalidSignatureFormat);
            }
            signatures.take(entry);
        }
        if signatures.macs.is_empty() && signatures.ed25519.is_empty() {
            return Err(Refusal::InvalidSignatureFormat);
        }
        Ok(signatures)
    }

    fn take(&mut self, entry: &[u8]) {
        if let Some(mac) = entry.strip_prefix(b"v1,") {
            self.macs.extend(decoded::<MAC_BYTES>(mac));
        } else if let Some(signature) = entry.strip_prefix(b"v1a,") {
            self.ed25519.extend(decoded::<SIGNATURE_BYTES>(signature));
        }
    }
}

fn decoded<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
