//! What is needed of an X.509 certificate: its key, its names, and when it holds.

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use jiff::Timestamp;
use pki_types::CertificateDer;
use pki_types::pem::PemObject as _;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};

/// The type of a common name, 2.5.4.3, as it is encoded.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A certificate that signs messages.
#[derive(Clone, Debug)]
pub struct Certificate {
    common_name: String,
    not_before: Timestamp,
    not_after: Timestamp,
    /// As PKCS#1 has it.
    public_key: Vec<u8>,
}

/// Not a certificate that we can use.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificate {
    #[error("there is no certificate in the PEM text")]
    Pem(#[source] pki_types::pem::Error),
    #[error("the certificate is not of the form of X.509")]
    Der(#[source] der::Error),
    #[error("the certificate lacks its {part}")]
    Missing { part: &'static str },
}

impl Certificate {
    /// The first certificate in a PEM text.
    ///
    /// # Errors
    /// When there is none, or none of X.509.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidCertificate> {
        let der = CertificateDer::from_pem_slice(pem).map_err(InvalidCertificate::Pem)?;
        Self::from_der(&der)
    }

    fn from_der(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let whole = elements(der)?;
        let signed = elements(part(&whole, 0, "body")?.value())?;
        let fields = elements(part(&signed, 0, "body")?.value())?;
        // The version is there in every certificate of this century, and tagged.
        let versions = usize::from(
            fields
                .first()
                .is_some_and(|first| first.tag().is_context_specific()),
        );
        let validity = elements(part(&fields, versions + 3, "validity")?.value())?;
        let subject = part(&fields, versions + 4, "subject")?;
        let key = elements(part(&fields, versions + 5, "public key")?.value())?;
        let key: BitStringRef<'_> = part(&key, 1, "public key")?
            .decode_as()
            .map_err(InvalidCertificate::Der)?;
        let public_key = key.as_bytes();
        let public_key = public_key.ok_or(InvalidCertificate::Missing { part: "public key" })?;
        Ok(Self {
            common_name: common_name(subject.value())?,
            not_before: time(part(&validity, 0, "validity")?)?,
            not_after: time(part(&validity, 1, "validity")?)?,
            public_key: public_key.to_vec(),
        })
    }

    /// Whom it names: `sns.amazonaws.com`. Empty when nobody.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Whether it holds at that time.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }

    /// RSA PKCS#1 v1.5 with SHA-256, of keys of 2048 bits and more.
    pub(super) fn signed_with_sha256(&self, text: &[u8], signature: &[u8]) -> bool {
        self.signed(&RSA_PKCS1_2048_8192_SHA256, text, signature)
    }

    /// With SHA-1, as topics have it that nobody switched to version 2: who could find two messages of one
    /// SHA-1 would still need AWS to sign one of them.
    pub(super) fn signed_with_sha1(&self, text: &[u8], signature: &[u8]) -> bool {
        self.signed(
            &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            text,
            signature,
        )
    }

    fn signed(&self, how: &'static RsaParameters, text: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(how, &self.public_key);
        key.verify(text, signature).is_ok()
    }
}

/// What stands one after the other in the content of an element.
fn elements(content: &[u8]) -> Result<Vec<AnyRef<'_>>, InvalidCertificate> {
    let mut reader = SliceReader::new(content).map_err(InvalidCertificate::Der)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader).map_err(InvalidCertificate::Der)?);
    }
    Ok(found)
}

fn part<'a>(
    elements: &[AnyRef<'a>],
    position: usize,
    part: &'static str,
) -> Result<AnyRef<'a>, InvalidCertificate> {
    let found = elements.get(position).copied();
    found.ok_or(InvalidCertificate::Missing { part })
}

fn time(element: AnyRef<'_>) -> Result<Timestamp, InvalidCertificate> {
    let since_1970 = if element.tag() == Tag::UtcTime {
        element
            .decode_as::<UtcTime>()
            .map(|time| time.to_unix_duration())
    } else {
        element
            .decode_as::<GeneralizedTime>()
            .map(|time| time.to_unix_duration())
    };
    let seconds = since_1970.map_err(InvalidCertificate::Der)?.as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// A name is a list of sets of pairs of type and value.
fn common_name(subject: &[u8]) -> Result<String, InvalidCertificate> {
    for set in elements(subject)? {
        for pair in elements(set.value())? {
            if let [kind, value] = elements(pair.value())?.as_slice()
                && kind.value() == COMMON_NAME
            {
                return Ok(String::from_utf8_lossy(value.value()).into_owned());
            }
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS: &[u8] = include_bytes!(
        "../../../../../tests/fixtures/webhooks/sns/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"
    );

    #[test]
    fn the_certificate_of_aws_is_read() {
        let certificate = Certificate::from_pem(AWS).expect("a certificate");
        assert_eq!(certificate.common_name(), "sns.amazonaws.com");
        for (at, expected) in [
            ("2025-11-09T23:59:59Z", false),
            ("2025-11-10T00:00:00Z", true),
            ("2026-10-14T23:59:59Z", true),
            ("2026-10-15T00:00:00Z", false),
        ] {
            assert_eq!(
                certificate.holds(at.parse().expect("a time")),
                expected,
                "{at}"
            );
        }
    }

    #[test]
    fn what_is_none_is_an_error_whatever_is_cut_off() {
        assert!(Certificate::from_pem(b"hello").is_err());
        let der = CertificateDer::from_pem_slice(AWS).expect("a certificate");
        for end in 0..der.len() {
            assert!(Certificate::from_der(&der[..end]).is_err(), "{end}");
        }
        for at in 0..der.len() {
            let mut damaged = der.to_vec();
            damaged[at] ^= 0xff;
            let _certificate_or_error = Certificate::from_der(&damaged);
        }
    }
}
