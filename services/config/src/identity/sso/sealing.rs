//! The client secret at rest: as other secrets are, at a place that none of them can have.

use tocsin_wire::sealed::{Audience, Place, Zeroizing};
use tocsin_wire::{OrgId, SecretName, TeamId};

use crate::secrets::envelope::{self, AtRest, EnvelopeError, Randomness};
use crate::secrets::master::MasterKeys;
use crate::secrets::{SecretRefusal, random};

/// Secrets begin with version 1: no row of theirs opens here, and this one nowhere else.
const VERSION: u64 = 0;
const NAME: &str = "sso_client_secret";

/// Encrypts it under the current master key.
pub(crate) fn seal_client_secret(
    keys: &MasterKeys,
    org: &OrgId,
    client_secret: &str,
) -> Result<AtRest, SecretRefusal> {
    let random = Randomness {
        data_key: random()?,
        value_nonce: random()?,
        key_nonce: random()?,
    };
    let place = place(org).ok_or(SecretRefusal::Value)?;
    envelope::encrypt(keys, &place, client_secret.as_bytes(), &random).map_err(
        |error| match error {
            EnvelopeError::Master(error) => error.into(),
            EnvelopeError::Broken => SecretRefusal::Value,
        },
    )
}

/// Undoes it, for the same org only.
pub(crate) fn open_client_secret(
    keys: &MasterKeys,
    org: &OrgId,
    stored: &AtRest,
) -> Result<Zeroizing<String>, EnvelopeError> {
    let place = place(org).ok_or(EnvelopeError::Broken)?;
    let opened = envelope::decrypt(keys, &place, stored)?;
    let text = std::str::from_utf8(&opened).map_err(|_| EnvelopeError::Broken)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The same under the current master key.
pub(crate) fn rewrap_client_secret(
    keys: &MasterKeys,
    org: &OrgId,
    stored: &AtRest,
) -> Result<AtRest, EnvelopeError> {
    let place = place(org).ok_or(EnvelopeError::Broken)?;
    let nonce = random().map_err(|_| EnvelopeError::Broken)?;
    envelope::rewrap(keys, &place, stored, &nonce)
}

/// `None` never happens: an org's id can name its node, and the name is a good one.
fn place(org: &OrgId) -> Option<Place> {
    Some(Place {
        org: org.clone(),
        node: TeamId::new(org.as_str()).ok()?,
        name: SecretName::new(NAME).ok()?,
        version: VERSION,
        audience: Audience::Ingress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const NEW: &str = "new:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn a_sealed_secret_opens_for_its_org_and_moves_to_a_new_master_key() {
        let org = |id: &str| OrgId::new(id).expect("id");
        let keys = |list: &str| MasterKeys::parse(list).expect("keys");
        let (old, both, new) = (keys(OLD), keys(&format!("{NEW}\n{OLD}")), keys(NEW));
        let sealed = seal_client_secret(&old, &org("acme"), "hush").expect("seals");
        assert!(!sealed.value.windows(4).any(|window| window == b"hush"));
        let open = |keys: &MasterKeys, id: &str, sealed: &AtRest| {
            open_client_secret(keys, &org(id), sealed)
                .ok()
                .map(|text| text.to_string())
        };
        let hush = || Some("hush".to_owned());
        assert_eq!(open(&both, "acme", &sealed), hush());
        assert_eq!(open(&new, "acme", &sealed), None);
        assert_eq!(open(&old, "umbrella", &sealed), None);
        let moved = rewrap_client_secret(&both, &org("acme"), &sealed).expect("moves");
        assert_eq!(open(&new, "acme", &moved), hush());
        assert_eq!(open(&old, "acme", &moved), None);
    }
}
