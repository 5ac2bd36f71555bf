//! Tokens of an identity provider: whether they are good, and whose they are. Pure: keys and time
//! come in as arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde_json::Value;
use tocsin_wire::{OrgId, TeamId};

use super::claims::{self, BadClaims, Claims, Expected};
use super::impersonation::signature_only;
use super::settings::{AuthMode, OidcSettings};
use crate::token::Permission;

/// How far the provider's clock may be from ours.
pub(crate) const LEEWAY_SECONDS: i64 = 30;
/// Shorter RSA keys can be factored.
const MIN_RSA_BYTES: usize = 2048 / 8;
/// Longest text that a claim may bring into the record.
const MAX_CLAIM_CHARS: usize = 256;

/// `{"group": ["permission", …]}`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPermissions(BTreeMap<String, Vec<String>>);

/// `ADMIN_GROUP_PERMISSIONS_JSON` is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("it must be a JSON object of lists, such as {{\"group\": [\"admin:config:read\"]}}")]
pub struct InvalidGroups(#[source] serde_json::Error);

impl FromStr for GroupPermissions {
    type Err = InvalidGroups;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map(Self).map_err(InvalidGroups)
    }
}

/// Why a token of an identity provider is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("it names no key (kid)")]
    NoKeyId,
    #[error("the identity provider has no key {0:?}")]
    UnknownKey(String),
    #[error("its algorithm is not accepted")]
    Algorithm,
    #[error("it demands extensions (crit) that are not known here")]
    Critical,
    #[error("its key is not fit for signatures of this kind")]
    Key,
    #[error("its signature does not hold")]
    Signature,
    #[error(transparent)]
    Claims(#[from] BadClaims),
}

/// Whose key is asked for.
///
/// # Errors
/// When the header is broken or names no key: none is tried at random.
pub(crate) fn key_id(header: &Header, accepted: &[Algorithm]) -> Result<String, BadToken> {
    if !accepted.contains(&header.alg) {
        return Err(BadToken::Algorithm);
    }
    // RFC 7515, 4.1.11: what must be understood and is not makes a token invalid.
    if header.crit.is_some() {
        return Err(BadToken::Critical);
    }
    let id = header.kid.clone().filter(|id| !id.is_empty());
    id.ok_or(BadToken::NoKeyId)
}

/// The claims, if the signature holds under the key of the token's id.
pub(crate) fn open(
    text: &str,
    header: &Header,
    keys: &JwkSet,
    accepted: &[Algorithm],
) -> Result<Claims, BadToken> {
    let id = key_id(header, accepted)?;
    let key = keys.find(&id).ok_or(BadToken::UnknownKey(id))?;
    let key = fit(key, header.alg)?;
    let data = jsonwebtoken::decode::<Value>(text, &key, &signature_only(header.alg))
        .map_err(|_| BadToken::Signature)?;
    match data.claims {
        Value::Object(claims) => Ok(claims),
        _ => Err(BadToken::Signature),
    }
}

/// The key, if it is of the kind that the algorithm wants: the token does not get to choose.
fn fit(key: &Jwk, algorithm: Algorithm) -> Result<DecodingKey, BadToken> {
    let is_for_signing = key
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let says = key.common.key_algorithm;
    let agrees = match says {
        None => true,
        Some(KeyAlgorithm::RS256) => algorithm == Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => algorithm == Algorithm::ES256,
        Some(_) => false,
    };
    let is_kind = match (algorithm, &key.algorithm) {
        (Algorithm::RS256, AlgorithmParameters::RSA(rsa)) => BASE64
            .decode(&rsa.n)
            .is_ok_and(|modulus| modulus.len() >= MIN_RSA_BYTES),
        (Algorithm::ES256, AlgorithmParameters::EllipticCurve(curve)) => {
            curve.curve == EllipticCurve::P256
        }
        _ => false,
    };
    if !(is_for_signing && agrees && is_kind) {
        return Err(BadToken::Key);
    }
    DecodingKey::from_jwk(key).map_err(|_| BadToken::Key)
}

/// Checks issuer, audience and times.
pub(crate) fn check(
    claims: &Claims,
    settings: &OidcSettings,
    now: Timestamp,
) -> Result<(), BadClaims> {
    let audiences: Vec<&str> = settings
        .oidc_audience
        .0
        .iter()
        .map(String::as_str)
        .collect();
    let expected = Expected {
        issuer: &settings.oidc_issuer,
        audiences: &audiences,
        leeway_seconds: LEEWAY_SECONDS,
    };
    claims::check(claims, &expected, now)
}

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// As the provider names it.
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    /// Absent where the claim is, or is no id of ours.
    pub(crate) org: Option<OrgId>,
    pub(crate) team: Option<TeamId>,
    /// `None` for whoever is not in the group of admins; else what the admin may do.
    pub(crate) admin: Option<Vec<String>>,
    /// Whether the token names an org that cannot be one of ours: such an admin is admin of nothing.
    pub(crate) names_odd_org: bool,
}

/// Reads the claims as the settings say.
pub(crate) fn person(claims: &Claims, settings: &OidcSettings) -> Result<Person, BadClaims> {
    let clipped = |text: &str| text.chars().take(MAX_CLAIM_CHARS).collect::<String>();
    let subject = claims::text(claims, &settings.oidc_subject_claim)
        .map(clipped)
        .ok_or(BadClaims::Missing("of the subject"))?;
    let groups = claims::texts(claims, &settings.oidc_groups_claim);
    let org_claim = claims::text(claims, &settings.oidc_org_claim);
    let org = org_claim.and_then(|text| OrgId::new(text).ok());
    let is_admin =
        !settings.oidc_admin_group.is_empty() && groups.contains(&settings.oidc_admin_group);
    Ok(Person {
        subject,
        email: claims::text(claims, &settings.oidc_email_claim).map(clipped),
        names_odd_org: org_claim.is_some() && org.is_none(),
        org,
        team: claims::text(claims, &settings.oidc_team_claim)
            .and_then(|text| TeamId::new(text).ok()),
        admin: is_admin.then(|| permissions(&groups, settings)),
    })
}

/// The default ones, then those of each group; each once, in this order.
fn permissions(groups: &[String], settings: &OidcSettings) -> Vec<String> {
    let by_group = groups
        .iter()
        .filter_map(|group| settings.admin_group_permissions_json.0.get(group));
    let all = settings
        .admin_permissions_default
        .0
        .iter()
        .chain(by_group.flatten());
    let mut permissions: Vec<String> = Vec::new();
    for permission in all {
        if !permissions.contains(permission) {
            permissions.push(permission.clone());
        }
    }
    permissions
}

/// What a person of the identity provider is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Of one org, or of all.
    Admin {
        org: Option<OrgId>,
        scopes: Vec<String>,
    },
    Team {
        org: OrgId,
        team: TeamId,
        permissions: BTreeSet<Permission>,
    },
}

/// A good token of somebody who is nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nobody {
    #[error("Not an admin: the identity provider does not list you in the group of admins")]
    NotAnAdmin,
    #[error("the identity provider's token names no org and team of this server")]
    NoTeam,
    #[error("the identity provider's token names an org that cannot exist here")]
    OddOrg,
}

impl Nobody {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotAnAdmin => "not_an_admin",
            Self::NoTeam => "no_org_or_team",
            Self::OddOrg => "org_denied",
        }
    }
}

/// Admins first: who is one is not taken for a team. `modes`: of admins, of teams.
pub(crate) fn role(
    person: &Person,
    (admins, teams): (AuthMode, AuthMode),
    teams_write: bool,
) -> Result<Role, Nobody> {
    if admins.takes_oidc()
        && let Some(scopes) = &person.admin
    {
        // An org that is named and not understood must not widen to all orgs.
        if person.names_odd_org {
            return Err(Nobody::OddOrg);
        }
        return Ok(Role::Admin {
            org: person.org.clone(),
            scopes: scopes.clone(),
        });
    }
    if !teams.takes_oidc() {
        return Err(Nobody::NotAnAdmin);
    }
    match (&person.org, &person.team) {
        (Some(org), Some(team)) => Ok(Role::Team {
            org: org.clone(),
            team: team.clone(),
            permissions: if teams_write {
                Permission::DEFAULT.into_iter().collect()
            } else {
                BTreeSet::from([Permission::ConfigRead])
            },
        }),
        _ => Err(Nobody::NoTeam),
    }
}

#[cfg(test)]
mod tests;
