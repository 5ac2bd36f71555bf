//! The client secret at rest. Both ways are one function each, so that it can move to the store of
//! secrets without a change elsewhere.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tocsin_kit::{Secret, SecretList};
use tocsin_wire::OrgId;
use zeroize::Zeroizing;

/// Of XChaCha20: long enough to be random.
const NONCE_BYTES: usize = 24;
/// Separates this use of the pepper from its use for hashes.
const KEY_LABEL: &[u8] = b"tocsin config: client secrets of single sign-on, v1";

/// `None` without a pepper or without random bytes.
pub(crate) fn seal_client_secret(
    peppers: &SecretList,
    org: &OrgId,
    client_secret: &str,
) -> Option<Vec<u8>> {
    let cipher = cipher(peppers.first()?)?;
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let owner = owner(org);
    let payload = Payload {
        msg: client_secret.as_bytes(),
        aad: owner.as_bytes(),
    };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
    Some([nonce.as_slice(), &sealed].concat())
}

/// `None` when no pepper opens it for this org.
pub(crate) fn open_client_secret(
    peppers: &SecretList,
    org: &OrgId,
    sealed: &[u8],
) -> Option<Zeroizing<String>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let owner = owner(org);
    peppers.iter().find_map(|pepper| {
        let payload = Payload {
            msg: sealed,
            aad: owner.as_bytes(),
        };
        let opened = cipher(pepper)?
            .decrypt(&XNonce::from(*nonce), payload)
            .ok()?;
        String::from_utf8(opened).ok().map(Zeroizing::new)
    })
}

fn cipher(pepper: &Secret) -> Option<XChaCha20Poly1305> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, pepper.expose().as_bytes());
    let derived = hmac::sign(&key, KEY_LABEL);
    XChaCha20Poly1305::new_from_slice(derived.as_ref()).ok()
}

/// What a row of another org cannot be taken for.
fn owner(org: &OrgId) -> String {
    format!("sso/{org}/client_secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_org_and_under_its_pepper_only() {
        let org = |id: &str| OrgId::new(id).expect("id");
        let peppers = |list: &str| list.parse::<SecretList>().expect("list");
        let sealed = seal_client_secret(&peppers("old"), &org("acme"), "hush").expect("seals");
        assert!(!sealed.windows(4).any(|window| window == b"hush"));
        let open = |list: &str, id: &str, sealed: &[u8]| {
            open_client_secret(&peppers(list), &org(id), sealed).map(|text| text.to_string())
        };
        assert_eq!(open("new,old", "acme", &sealed), Some("hush".to_owned()));
        assert_eq!(open("new", "acme", &sealed), None);
        assert_eq!(open("old", "umbrella", &sealed), None);
        assert_eq!(open("old", "acme", sealed.split_at(30).0), None);
        assert_eq!(open("old", "acme", &[]), None);
        let again = seal_client_secret(&peppers("old"), &org("acme"), "hush");
        assert_ne!(again, Some(sealed));
        assert_eq!(seal_client_secret(&peppers(""), &org("acme"), "hush"), None);
    }
}
