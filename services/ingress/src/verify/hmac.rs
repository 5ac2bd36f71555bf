//! HMAC-SHA256 in a header of any name: Slack, GitHub, PagerDuty, Jira, Sentry, Grafana, and whatever
//! signs like them.

use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use tocsin_wire::scheme::{Encoding, HmacScheme};

use super::mac::{self, MAC_BYTES};
use super::secret::LiveSecret;
use super::{InvalidScheme, Keys, MAX_SIGNATURES, Refusal, header_name, single, timestamp};

/// A scheme ready to use, with its keys.
#[derive(Clone, Debug)]
pub(super) struct HmacVerifier {
    keys: Keys,
    header: HeaderName,
    prefix: Vec<u8>,
    encoding: Encoding,
    separator: Option<u8>,
    time: Option<Time>,
}

#[derive(Clone, Debug)]
struct Time {
    header: HeaderName,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl HmacVerifier {
    /// With these secrets, as text; empty ones are left out.
    ///
    /// # Errors
    /// When a header cannot have such a name, or the separator is no ASCII character.
    pub(super) fn new(
        scheme: &HmacScheme,
        secrets: &[LiveSecret<'_>],
    ) -> Result<Self, InvalidScheme> {
        let separator = scheme.separator.map(u8::try_from).transpose();
        let time = scheme.timestamp.as_ref().map(|time| {
            Ok(Time {
                header: header_name(&time.header)?,
                before: time.before.as_bytes().to_vec(),
                after: time.after.as_bytes().to_vec(),
            })
        });
        Ok(Self {
            keys: Keys::of_text(secrets),
            header: header_name(&scheme.header)?,
            prefix: scheme.prefix.as_bytes().to_vec(),
            encoding: scheme.encoding,
            separator: separator.map_err(|_not_ascii| InvalidScheme::Separator)?,
            time: time.transpose()?,
        })
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn time_header(&self) -> Option<&HeaderName> {
        self.time.as_ref().map(|time| &time.header)
    }

    /// Where what is signed stands: enough to verify a delivery again.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let time = self.time.as_ref().map(|time| &time.header);
        std::iter::once(&self.header).chain(time)
    }

    pub(super) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<usize, Refusal> {
        self.keys.check_any(now)?;
        let Some(time) = &self.time else {
            return self.keys.matching(now, &[body], &self.signatures(headers)?);
        };
        let sent = single(headers, &time.header)?.ok_or(Refusal::MissingTimestamp)?;
        let signatures = self.signatures(headers)?;
        timestamp::check(sent, now, tolerance)?;
        let parts = [&time.before, sent.as_bytes(), &time.after, body];
        self.keys.matching(now, &parts, &signatures)
    }

    /// Every signature that is well-formed. Where the header is a list, entries of other versions are
    /// skipped, and a repeated header continues it.
    fn signatures(&self, headers: &HeaderMap) -> Result<Vec<[u8; MAC_BYTES]>, Refusal> {
        let Some(separator) = self.separator else {
            let value = single(headers, &self.header)?.ok_or(Refusal::MissingSignature)?;
            let signature = self.signature(value.as_bytes());
            return Ok(vec![signature.ok_or(Refusal::InvalidSignatureFormat)?]);
        };
        let mut values = headers.get_all(&self.header).iter().peekable();
        if values.peek().is_none() {
            return Err(Refusal::MissingSignature);
        }
        let entries = values.flat_map(|value| value.as_bytes().split(move |at| *at == separator));
        let mut signatures = Vec::with_capacity(2);
        for (index, entry) in entries.enumerate() {
            if index >= MAX_SIGNATURES {
                return Err(Refusal::InvalidSignatureFormat);
            }
            signatures.extend(self.signature(entry.trim_ascii()));
        }
        if signatures.is_empty() {
            return Err(Refusal::InvalidSignatureFormat);
        }
        Ok(signatures)
    }

    fn signature(&self, entry: &[u8]) -> Option<[u8; MAC_BYTES]> {
        let digits = entry.strip_prefix(self.prefix.as_slice())?;
        match self.encoding {
            Encoding::Hex => mac::from_hex(digits),
            Encoding::Base64 => mac::BASE64.decode(digits).ok()?.try_into().ok(),
        }
    }
}
