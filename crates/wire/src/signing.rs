//! Ed25519 over a fixed text, so that who can only verify cannot forge.
//!
//! The signed text has one line per field, in this order, each ending in `\n`:
//!
//! ```text
//! tocsin-signature-v1
//! ce-specversion:1.0
//! ce-id:…
//! ce-source:…
//! ce-type:…
//! ce-time:…
//! ce-subject:…
//! ce-datacontenttype:…
//! ce-dataschema:…
//! correlationid:…
//! causationid:…
//! tenant:<org>/<team>
//! subject:<NATS subject on which the message is consumed>
//! body-sha256:<64 hex digits>
//! ```
//!
//! Values are as they stand in the headers (percent-encoded, so no value holds a line feed); a
//! missing header is an empty value. `crates/wire/vectors/signature.json` holds examples, and
//! `crates/wire/vectors/verify.py` checks them without any of this code.

mod signer;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Verifier as _, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::service::Service;
use signer::Signer;

/// Version of the text and of the header.
pub const SIGNATURE_VERSION: &str = "v1";

/// The CloudEvents attributes that are signed, borrowed from the envelope or the headers where they stand there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `ce-id`
    pub id: Cow<'a, str>,
    /// `ce-source`
    pub source: Cow<'a, str>,
    /// `ce-type`
    pub kind: Cow<'a, str>,
    /// `ce-time`, RFC 3339.
    pub time: Cow<'a, str>,
    /// `ce-subject`: what it is about.
    pub about: Cow<'a, str>,
    /// `correlationid`
    pub correlation_id: Cow<'a, str>,
    /// `causationid`
    pub causation_id: Cow<'a, str>,
    /// `tenant`: `org/team`, or empty.
    pub tenant: Cow<'a, str>,
}

/// `ce-datacontenttype` of every message.
pub const CONTENT_TYPE: &str = "application/protobuf";
/// `ce-dataschema` of every message.
pub const DATA_SCHEMA: &str = "tocsin.v1.Envelope";

/// SHA-256 of a message's body.
pub type Digest = [u8; 32];

/// What is signed of a body.
pub fn digest(body: &[u8]) -> Digest {
    Sha256::digest(body).into()
}

/// The text that is signed.
pub fn signed_text(attributes: &Attributes<'_>, subject: &str, body: &Digest) -> String {
    let Attributes {
        id,
        source,
        kind,
        time,
        about,
        correlation_id,
        causation_id,
        tenant,
    } = attributes;
    let lines = [
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", source),
        ("ce-type", kind),
        ("ce-time", time),
        ("ce-subject", about),
        ("ce-datacontenttype", CONTENT_TYPE),
        ("ce-dataschema", DATA_SCHEMA),
        ("correlationid", correlation_id),
        ("causationid", causation_id),
        ("tenant", tenant),
        ("subject", subject),
        ("body-sha256", &hex(body)),
    ];
    let mut text = String::with_capacity(USUAL_TEXT_BYTES);
    text.push_str("tocsin-signature-v1\n");
    for (name, value) in lines {
        for part in [name, ":", value, "\n"] {
            text.push_str(part);
        }
    }
    text
}

/// A text of this size is rarely outgrown.
const USUAL_TEXT_BYTES: usize = 768;

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| {
        DIGITS
            .get(usize::from(nibble))
            .copied()
            .map_or('0', char::from)
    };
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// First 16 hex digits of the SHA-256 of a public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A key that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64, or not 32 bytes.
    #[error("a public key is 32 bytes in base64 (44 characters)")]
    PublicKey,
    /// The file is not a signing key.
    #[error(
        "a signing key file is JSON with \"service\", \"public_key\" and \"private_key\"; make one with `tocsin keys generate`"
    )]
    SigningKey,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The id that signatures name.
    pub fn id(&self) -> KeyId {
        KeyId(
            hex(&Sha256::digest(self.0.as_bytes()))
                .chars()
                .take(16)
                .collect(),
        )
    }

    /// The check of `signature` (64 bytes) over `text`; `None` when that is no signature at all.
    pub fn check(&self, text: String, signature: &[u8]) -> Option<Check> {
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        Some(Check {
            key: self.0,
            text,
            signature,
        })
    }

    /// Whether `signature` (64 bytes) is this key's over `text`. The strict variant would only add a
    /// defence against weak public keys, and every key here is signed by the root.
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify(text, &signature).is_ok())
    }
}

/// A signature that is to be checked.
#[derive(Debug, Clone)]
pub struct Check {
    key: VerifyingKey,
    text: String,
    signature: ed25519_dalek::Signature,
}

impl Check {
    /// Whether the signature is the key's over the text.
    pub fn holds(&self) -> bool {
        self.key
            .verify(self.text.as_bytes(), &self.signature)
            .is_ok()
    }

    /// Whether all of them hold, at about half the price of each by itself. Some tens at once are cheapest.
    ///
    /// It adds them up with factors that depend on all of them, so none can make up for another. Only who holds a key
    /// can make a signature that counts here and not by itself, and it could as well have signed.
    pub fn all_hold(checks: &[&Self]) -> bool {
        let texts: Vec<&[u8]> = checks.iter().map(|check| check.text.as_bytes()).collect();
        let signatures: Vec<_> = checks.iter().map(|check| check.signature).collect();
        let keys: Vec<_> = checks.iter().map(|check| check.key).collect();
        ed25519_dalek::verify_batch(&texts, &signatures, &keys).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64.encode(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64
            .decode(text.trim())
            .map_err(|_| KeyError::PublicKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::PublicKey)?;
        VerifyingKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| KeyError::PublicKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A service's private key. Debug and Display never show it.
pub struct SigningKey {
    service: Service,
    public: PublicKey,
    id: KeyId,
    signer: Signer,
}

/// The JSON of a signing key file.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    service: Service,
    public_key: PublicKey,
    private_key: String,
}

impl SigningKey {
    /// From 32 random bytes.
    pub fn from_seed(service: Service, seed: [u8; 32]) -> Self {
        let signer = Signer::new(&seed);
        let public = PublicKey(signer.verifying_key());
        Self {
            service,
            id: public.id(),
            public,
            signer,
        }
    }

    /// Reads what [`SigningKey::to_file`] wrote; public and private part must belong together.
    pub fn from_file(text: &str) -> Result<Self, KeyError> {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| KeyError::SigningKey)?;
        let seed = BASE64
            .decode(&file.private_key)
            .map_err(|_| KeyError::SigningKey)?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| KeyError::SigningKey)?;
        let key = Self::from_seed(file.service, seed);
        if key.public == file.public_key {
            Ok(key)
        } else {
            Err(KeyError::SigningKey)
        }
    }

    /// The text of a signing key file. Secret: write it with mode 0600.
    pub fn to_file(&self) -> String {
        let (service, public, private) =
            (self.service, self.public, BASE64.encode(self.signer.seed()));
        format!(
            "{{\n  \"service\": \"{service}\",\n  \"public_key\": \"{public}\",\n  \"private_key\": \"{private}\"\n}}\n"
        )
    }

    /// Who signs with it.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The id that signatures name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// 64 bytes over any text.
    pub fn sign_text(&self, text: &[u8]) -> Vec<u8> {
        self.signer.sign(text).to_vec()
    }

    /// The value of `Tocsin-Signature`.
    pub fn sign(&self, attributes: &Attributes<'_>, subject: &str, body: &Digest) -> String {
        let text = signed_text(attributes, subject, body);
        let signature = BASE64.encode(self.signer.sign(text.as_bytes()));
        format!("{SIGNATURE_VERSION};k={};s={signature}", self.id)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({} of {})", self.id, self.service)
    }
}

/// A parsed `Tocsin-Signature`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Key that is said to have signed.
    pub key: KeyId,
    /// 64 bytes.
    pub bytes: Vec<u8>,
}

impl FromStr for Signature {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(';');
        let (version, key, signature) = (parts.next(), parts.next(), parts.next());
        if version != Some(SIGNATURE_VERSION) || parts.next().is_some() {
            return Err("expected v1;k=<key id>;s=<base64>");
        }
        let key = key
            .and_then(|part| part.strip_prefix("k="))
            .ok_or("k= is missing")?;
        let signature = signature
            .and_then(|part| part.strip_prefix("s="))
            .ok_or("s= is missing")?;
        let bytes = BASE64.decode(signature).map_err(|_| "s= is not base64")?;
        Ok(Self {
            key: KeyId(key.to_owned()),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_never_shows_itself() {
        let key = SigningKey::from_seed(Service::Ingress, [7; 32]);
        let read = SigningKey::from_file(&key.to_file()).expect("file");
        assert_eq!(
            (read.public(), read.service()),
            (key.public(), Service::Ingress)
        );
        assert!(!format!("{key:?}").contains(&BASE64.encode([7; 32])));
        let other = SigningKey::from_seed(Service::Ingress, [8; 32]);
        let mixed = key
            .to_file()
            .replace(&BASE64.encode([7; 32]), &BASE64.encode([8; 32]));
        assert!(SigningKey::from_file(&mixed).is_err(), "{}", other.public());
    }

    #[test]
    fn every_signed_field_counts() {
        let key = SigningKey::from_seed(Service::Ingress, [7; 32]);
        let attributes = Attributes {
            id: "1".into(),
            ..Attributes::default()
        };
        let signature: Signature = key
            .sign(&attributes, "events.x", &digest(b"body"))
            .parse()
            .expect("own");
        let verifies = |attributes: &Attributes<'_>, subject: &str, body: &[u8]| {
            let text = signed_text(attributes, subject, &digest(body));
            key.public().verifies(text.as_bytes(), &signature.bytes)
        };
        assert!(verifies(&attributes, "events.x", b"body"));
        assert!(!verifies(&attributes, "events.y", b"body"));
        assert!(!verifies(&attributes, "events.x", b"Body"));
        let tenant = Attributes {
            tenant: "acme/pay".into(),
            ..attributes
        };
        assert!(!verifies(&tenant, "events.x", b"body"));
    }

    #[test]
    fn broken_signature_headers_are_refused() {
        for text in [
            "",
            "v1",
            "v2;k=a;s=AA==",
            "v1;s=AA==;k=a",
            "v1;k=a;s=%",
            "v1;k=a;s=AA==;x",
        ] {
            assert!(text.parse::<Signature>().is_err(), "{text}");
        }
    }
}
