//! Envelope encryption at rest. Pure: randomness comes in.
//!
//! ```text
//! value       = nonce (24) ‖ XChaCha20-Poly1305(data key, nonce, value,    "tocsin-secret-value-v1\n" ‖ place)
//! wrapped_key = nonce (24) ‖ XChaCha20-Poly1305(master,   nonce, data key, "tocsin-secret-key-v1\nmaster:<id>\n" ‖ place)
//! ```
//!
//! where `place` is [`Place::text`]: owner, name, version, audience. So what is encrypted for one
//! place opens at no other, whoever moves rows about. Nonces are random: with 192 bits they never meet.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use tocsin_wire::sealed::{Place, Zeroizing};

use super::master::{MasterKeyError, MasterKeys};

const NONCE_BYTES: usize = 24;

/// An encrypted value, as its row holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AtRest {
    /// Under which the data key is wrapped.
    pub(crate) master_key_id: String,
    pub(crate) wrapped_key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Drawn for one value, and for nothing else.
pub(crate) struct Randomness {
    pub(crate) data_key: Zeroizing<[u8; 32]>,
    pub(crate) value_nonce: Zeroizing<[u8; NONCE_BYTES]>,
    pub(crate) key_nonce: Zeroizing<[u8; NONCE_BYTES]>,
}

/// Why a value does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// Its master key is not there.
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    /// Changed, or of another place.
    #[error("the ciphertext does not belong to this place, or was changed")]
    Broken,
}

/// Encrypts `value` for `place` under the current master key.
pub(crate) fn encrypt(
    keys: &MasterKeys,
    place: &Place,
    value: &[u8],
    random: &Randomness,
) -> Result<AtRest, EnvelopeError> {
    let master_key_id = keys.current_id().to_owned();
    let wrapped_key = lock(
        keys.current(),
        &random.key_nonce,
        random.data_key.as_slice(),
        &key_context(&master_key_id, place),
    )?;
    let value = lock(
        &random.data_key,
        &random.value_nonce,
        value,
        &value_context(place),
    )?;
    Ok(AtRest {
        master_key_id,
        wrapped_key,
        value,
    })
}

/// Undoes [`encrypt`], at the same place only.
pub(crate) fn decrypt(
    keys: &MasterKeys,
    place: &Place,
    stored: &AtRest,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let data_key = data_key(keys, place, stored)?;
    unlock(&data_key, &stored.value, &value_context(place))
}

/// The same value with its data key under the current master key; the value itself is not touched.
pub(crate) fn rewrap(
    keys: &MasterKeys,
    place: &Place,
    stored: &AtRest,
    key_nonce: &[u8; NONCE_BYTES],
) -> Result<AtRest, EnvelopeError> {
    let data_key = data_key(keys, place, stored)?;
    let master_key_id = keys.current_id().to_owned();
    let context = key_context(&master_key_id, place);
    Ok(AtRest {
        wrapped_key: lock(keys.current(), key_nonce, data_key.as_slice(), &context)?,
        master_key_id,
        value: stored.value.clone(),
    })
}

fn data_key(
    keys: &MasterKeys,
    place: &Place,
    stored: &AtRest,
) -> Result<Zeroizing<[u8; 32]>, EnvelopeError> {
    let master = keys.find(&stored.master_key_id)?;
    let context = key_context(&stored.master_key_id, place);
    let opened = unlock(master, &stored.wrapped_key, &context)?;
    let bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| EnvelopeError::Broken)?;
    Ok(Zeroizing::new(bytes))
}

fn value_context(place: &Place) -> String {
    format!("tocsin-secret-value-v1\n{}", place.text())
}

fn key_context(master_key_id: &str, place: &Place) -> String {
    format!(
        "tocsin-secret-key-v1\nmaster:{master_key_id}\n{}",
        place.text()
    )
}

fn lock(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    content: &[u8],
    context: &str,
) -> Result<Vec<u8>, EnvelopeError> {
    let payload = Payload {
        msg: content,
        aad: context.as_bytes(),
    };
    let encrypted = XChaCha20Poly1305::new(key.into()).encrypt(&XNonce::from(*nonce), payload);
    let mut locked = nonce.to_vec();
    // It fails only beyond 256 GiB.
    locked.extend(encrypted.map_err(|_| EnvelopeError::Broken)?);
    Ok(locked)
}

fn unlock(
    key: &[u8; 32],
    locked: &[u8],
    context: &str,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let (nonce, content) = locked
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(EnvelopeError::Broken)?;
    let payload = Payload {
        msg: content,
        aad: context.as_bytes(),
    };
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| EnvelopeError::Broken)
}

#[cfg(test)]
mod tests {
    use tocsin_wire::sealed::Audience;
    use tocsin_wire::{OrgId, SecretName, TeamId};

    use super::*;

    const OLD: &str = "m1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const NEW: &str = "m2:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    fn keys(text: &str) -> MasterKeys {
        MasterKeys::parse(text).expect("keys")
    }

    fn random(seed: u8) -> Randomness {
        Randomness {
            data_key: Zeroizing::new([seed; 32]),
            value_nonce: Zeroizing::new([seed; 24]),
            key_nonce: Zeroizing::new([seed.wrapping_add(1); 24]),
        }
    }

    fn place() -> Place {
        Place {
            org: OrgId::new("acme").expect("org"),
            node: TeamId::new("pay").expect("node"),
            name: SecretName::new("slack").expect("name"),
            version: 2,
            audience: Audience::default(),
        }
    }

    #[test]
    fn a_value_opens_at_its_own_place_only() {
        let keys = keys(OLD);
        let stored = encrypt(&keys, &place(), b"xoxb-1", &random(7)).expect("encrypts");
        assert_eq!(stored.wrapped_key.len(), 72);
        let opened = decrypt(&keys, &place(), &stored).expect("opens");
        assert_eq!(opened.as_slice(), b"xoxb-1");
        let elsewhere = [
            Place {
                org: OrgId::new("rival").expect("org"),
                ..place()
            },
            Place {
                node: TeamId::new("web").expect("node"),
                ..place()
            },
            Place {
                name: SecretName::new("pager").expect("name"),
                ..place()
            },
            Place {
                version: 1,
                ..place()
            },
            Place {
                audience: Audience::Ingress,
                ..place()
            },
        ];
        for other in elsewhere {
            assert_eq!(
                decrypt(&keys, &other, &stored),
                Err(EnvelopeError::Broken),
                "{other:?}"
            );
        }
    }

    #[test]
    fn every_changed_byte_and_every_mixed_row_is_refused() {
        let keys = keys(OLD);
        let stored = encrypt(&keys, &place(), b"xoxb-1", &random(7)).expect("encrypts");
        let other = encrypt(&keys, &place(), b"xoxb-2", &random(9)).expect("encrypts");
        let refused = |changed: AtRest| {
            assert_eq!(
                decrypt(&keys, &place(), &changed),
                Err(EnvelopeError::Broken),
                "{changed:?}"
            );
        };
        for index in 0..stored.value.len() {
            let mut changed = stored.clone();
            changed.value[index] ^= 1;
            refused(changed);
        }
        for index in 0..stored.wrapped_key.len() {
            let mut changed = stored.clone();
            changed.wrapped_key[index] ^= 1;
            refused(changed);
        }
        refused(AtRest {
            value: other.value,
            ..stored.clone()
        });
        refused(AtRest {
            value: vec![0; 23],
            ..stored
        });
    }

    #[test]
    fn after_a_rewrap_the_old_master_key_is_not_needed() {
        let stored = encrypt(&keys(OLD), &place(), b"xoxb-1", &random(7)).expect("encrypts");
        let both = keys(&format!("{NEW},{OLD}"));
        let wrapped = rewrap(&both, &place(), &stored, &[5; 24]).expect("rewraps");
        assert_eq!(wrapped.master_key_id, "m2");
        assert_eq!(wrapped.value, stored.value);
        let opened = decrypt(&keys(NEW), &place(), &wrapped).expect("opens");
        assert_eq!(opened.as_slice(), b"xoxb-1");
        assert!(matches!(
            decrypt(&keys(NEW), &place(), &stored),
            Err(EnvelopeError::Master(MasterKeyError::Unknown { .. }))
        ));
        // A row that claims to be under the new key is not.
        let lying = AtRest {
            master_key_id: "m2".to_owned(),
            ..stored
        };
        assert_eq!(decrypt(&both, &place(), &lying), Err(EnvelopeError::Broken));
    }
}
