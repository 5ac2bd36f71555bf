//! Tokens of teams and of orgs' admins: their text, their hash, and whether a presented one is good. Pure.
//!
//! A token reads `{org}.{team}.{random}`, that of an org's admin `{org}.{random}`. The random part is
//! the URL-safe base64 of 16 bytes token id and 32 bytes secret, so a token is found by its id; what
//! stands in front is for people and must agree with what is stored. The same token may also be
//! written `<id, 32 hex digits>.<secret, 43 characters>`. Only a keyed hash of the secret is stored.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tocsin_kit::{Secret, SecretList};
use tocsin_wire::{OrgId, TeamId};
use uuid::Uuid;

use crate::http::Scope;

/// Bytes of the secret part: 256 bits.
pub(crate) const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// What a token allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub(crate) enum Permission {
    /// Read the team's config.
    #[serde(rename = "config:read")]
    ConfigRead,
    /// Change the team's config.
    #[serde(rename = "config:write")]
    ConfigWrite,
    /// Issue tokens of the team.
    #[serde(rename = "tokens:issue")]
    TokensIssue,
    /// Revoke tokens of the team.
    #[serde(rename = "tokens:revoke")]
    TokensRevoke,
    /// Start runs of the team's agents.
    #[serde(rename = "agent:invoke")]
    AgentInvoke,
    /// Read the team's record.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Export the team's record.
    #[serde(rename = "audit:export")]
    AuditExport,
}

impl Permission {
    /// Every permission there is.
    pub(crate) const ALL: [Self; 7] = [
        Self::ConfigRead,
        Self::ConfigWrite,
        Self::TokensIssue,
        Self::TokensRevoke,
        Self::AgentInvoke,
        Self::AuditRead,
        Self::AuditExport,
    ];

    /// What a token gets when nobody says otherwise.
    pub(crate) const DEFAULT: [Self; 3] = [Self::ConfigRead, Self::ConfigWrite, Self::AgentInvoke];

    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigRead => "config:read",
            Self::ConfigWrite => "config:write",
            Self::TokensIssue => "tokens:issue",
            Self::TokensRevoke => "tokens:revoke",
            Self::AgentInvoke => "agent:invoke",
            Self::AuditRead => "audit:read",
            Self::AuditExport => "audit:export",
        }
    }

    /// Whether it changes nothing.
    pub(crate) const fn is_read(self) -> bool {
        matches!(self, Self::ConfigRead | Self::AuditRead | Self::AuditExport)
    }

    /// Undoes [`Permission::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// A token as its holder sends it.
pub(crate) struct Presented {
    /// What stands before the random part, where the form has that.
    front: Option<String>,
    /// By which it is found.
    pub(crate) id: Uuid,
    secret: [u8; SECRET_BYTES],
}

/// Whose a token is, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// One team.
    Team {
        org: OrgId,
        team: TeamId,
        permissions: BTreeSet<Permission>,
    },
    /// An admin of one org.
    OrgAdmin { org: OrgId, scopes: BTreeSet<Scope> },
}

impl Holder {
    pub(crate) fn org(&self) -> &OrgId {
        match self {
            Self::Team { org, .. } | Self::OrgAdmin { org, .. } => org,
        }
    }

    pub(crate) fn team(&self) -> Option<&TeamId> {
        match self {
            Self::Team { team, .. } => Some(team),
            Self::OrgAdmin { .. } => None,
        }
    }

    /// The node on which it hangs: an org's own node has the org's id.
    pub(crate) fn node(&self) -> &str {
        match self {
            Self::Team { team, .. } => team.as_str(),
            Self::OrgAdmin { org, .. } => org.as_str(),
        }
    }

    /// What it allows, as it is stored and shown.
    pub(crate) fn allows(&self) -> Vec<&'static str> {
        match self {
            Self::Team { permissions, .. } => {
                permissions.iter().map(|known| known.as_str()).collect()
            }
            Self::OrgAdmin { scopes, .. } => scopes.iter().map(|known| known.as_str()).collect(),
        }
    }

    fn front(&self) -> String {
        match self {
            Self::Team { org, team, .. } => format!("{org}.{team}"),
            Self::OrgAdmin { org, .. } => org.to_string(),
        }
    }
}

/// The text of a token. Shown once, never stored.
pub(crate) fn text(holder: &Holder, id: Uuid, secret: &[u8; SECRET_BYTES]) -> String {
    let mut random = Vec::with_capacity(ID_BYTES + SECRET_BYTES);
    random.extend_from_slice(id.as_bytes());
    random.extend_from_slice(secret);
    format!("{}.{}", holder.front(), BASE64.encode(random))
}

/// Takes a token apart; `None` when it is of neither form.
///
/// What is told apart is what the last part holds, and never how many dots there are.
pub(crate) fn parse(text: &str) -> Option<Presented> {
    let (front, random) = text.rsplit_once('.')?;
    let bytes = BASE64.decode(random).ok()?;
    if let Ok(secret) = bytes.as_slice().try_into() {
        let is_id =
            front.len() == 2 * ID_BYTES && front.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| Uuid::try_parse(front).ok()).flatten()?;
        return Some(Presented {
            front: None,
            id,
            secret,
        });
    }
    let (id, secret) = bytes.split_first_chunk::<ID_BYTES>()?;
    Some(Presented {
        front: Some(front.to_owned()),
        id: Uuid::from_bytes(*id),
        secret: secret.try_into().ok()?,
    })
}

/// HMAC-SHA256 of the secret part under `pepper`: what is stored.
pub(crate) fn hash(pepper: &Secret, secret: &[u8; SECRET_BYTES]) -> Vec<u8> {
    hmac::sign(&key(pepper), secret).as_ref().to_vec()
}

fn key(pepper: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, pepper.expose().as_bytes())
}

/// A token as it is stored, without its hash.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    /// By which it is found.
    pub(crate) id: Uuid,
    /// Whose it is.
    pub(crate) holder: Holder,
    /// For people; may be empty.
    pub(crate) label: String,
    /// Of the person who signed in, for a session.
    pub(crate) email: Option<String>,
    /// When it was made.
    pub(crate) issued_at: Timestamp,
    /// By whom.
    pub(crate) issued_by: String,
    /// When it ends by itself.
    pub(crate) expires_at: Option<Timestamp>,
    /// When it was ended.
    pub(crate) revoked_at: Option<Timestamp>,
    /// When it was last good, to within five minutes.
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Token {
    /// `active`, `expired` or `revoked`.
    pub(crate) fn status(&self, now: Timestamp) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "active"
        }
    }

    /// As it stands in the record.
    pub(crate) fn subject(&self) -> String {
        match (&self.holder, &self.email) {
            (_, Some(email)) => format!("sso:{email}"),
            (Holder::Team { .. }, None) => format!("team_token:{}", self.id),
            (Holder::OrgAdmin { org, .. }, None) => format!("org_admin:{org}:{}", self.id),
        }
    }
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bad {
    /// Unknown, or its secret is wrong: callers learn no more.
    #[error("Invalid token: it is unknown here; ask an admin for a new one")]
    Invalid,
    /// It was revoked.
    #[error("Token revoked: ask an admin for a new one")]
    Revoked,
    /// Its time is over.
    #[error("Token expired: ask an admin for a new one")]
    Expired,
}

/// Judges a presented token against the stored one. The secret first: who does not know it learns
/// nothing about the token's state.
pub(crate) fn judge(
    presented: &Presented,
    stored: &Token,
    hash: &[u8],
    peppers: &SecretList,
    now: Timestamp,
) -> Result<(), Bad> {
    let known = peppers
        .iter()
        .any(|pepper| hmac::verify(&key(pepper), &presented.secret, hash).is_ok());
    let fits = match &presented.front {
        Some(front) => *front == stored.holder.front(),
        None => true,
    };
    if !known || !fits {
        return Err(Bad::Invalid);
    }
    match stored.status(now) {
        "revoked" => Err(Bad::Revoked),
        "expired" => Err(Bad::Expired),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

    fn team() -> Holder {
        Holder::Team {
            org: OrgId::new("acme").expect("id"),
            team: TeamId::new("sre").expect("id"),
            permissions: Permission::DEFAULT.into_iter().collect(),
        }
    }

    fn org_admin() -> Holder {
        Holder::OrgAdmin {
            org: OrgId::new("acme").expect("id"),
            scopes: [Scope::All].into_iter().collect(),
        }
    }

    fn stored(holder: Holder) -> Token {
        Token {
            id: Uuid::from_u128(5),
            holder,
            label: String::new(),
            email: None,
            issued_at: Timestamp::UNIX_EPOCH,
            issued_by: "test".to_owned(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    /// `<32 hex>.<43 characters>`
    fn other_form(id: Uuid, secret: &[u8; SECRET_BYTES]) -> String {
        format!("{}.{}", id.simple(), BASE64.encode(secret))
    }

    #[test]
    fn a_token_reads_back_and_others_do_not_parse() {
        for (holder, front) in [(team(), "acme.sre."), (org_admin(), "acme.")] {
            let token = stored(holder);
            let text = text(&token.holder, token.id, &SECRET);
            assert!(
                text.starts_with(front) && text.len() == front.len() + 64,
                "{text}"
            );
            let presented = parse(&text).expect("own text");
            assert_eq!((presented.id, presented.secret), (token.id, SECRET));
            let short = text.split_at(text.len() - 4).0;
            for bad in [short, &format!("{text}AAAA")] {
                assert!(parse(bad).is_none(), "{bad}");
            }
        }
        let other = other_form(Uuid::from_u128(5), &SECRET);
        assert_eq!(other.len(), 32 + 1 + 43);
        let presented = parse(&other).expect("the other form");
        assert_eq!(
            (presented.id, presented.secret),
            (Uuid::from_u128(5), SECRET)
        );
        for bad in [
            "",
            "x",
            "a.b.c",
            "acme.sre.",
            &other.replace('.', "0."),
            other.split_at(1).1,
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_the_right_live_token_passes() {
        let (old, new): (Secret, Secret) = (
            "old".parse().expect("secret"),
            "new".parse().expect("secret"),
        );
        let peppers: SecretList = "new,old".parse().expect("list");
        let token = stored(team());
        let stored_hash = hash(&old, &SECRET);
        let now = Timestamp::UNIX_EPOCH + 1.hour();
        let good = text(&token.holder, token.id, &SECRET);
        let forged = text(&token.holder, token.id, &[8; SECRET_BYTES]);
        let dressed = good.replace("acme.sre", "acme.web");
        let shortened = text(&org_admin(), token.id, &SECRET);
        let other = other_form(token.id, &SECRET);
        let other_forged = other_form(token.id, &[8; SECRET_BYTES]);
        let ended = |token: &mut Token| token.expires_at = Some(now);
        let later = |token: &mut Token| token.expires_at = Some(now + 1.second());
        let revoked = |token: &mut Token| token.revoked_at = Some(now);
        let same = |_: &mut Token| {};
        type Change<'a> = &'a dyn Fn(&mut Token);
        let cases: [(&str, Change<'_>, Result<(), Bad>); 10] = [
            (&good, &same, Ok(())),
            (&good, &later, Ok(())),
            (&good, &ended, Err(Bad::Expired)),
            (&good, &revoked, Err(Bad::Revoked)),
            (&forged, &same, Err(Bad::Invalid)),
            (&forged, &revoked, Err(Bad::Invalid)),
            (&dressed, &same, Err(Bad::Invalid)),
            (&shortened, &same, Err(Bad::Invalid)),
            (&other, &same, Ok(())),
            (&other_forged, &same, Err(Bad::Invalid)),
        ];
        for (text, change, expected) in cases {
            let mut token = token.clone();
            change(&mut token);
            let presented = parse(text).expect("well formed");
            assert_eq!(
                judge(&presented, &token, &stored_hash, &peppers, now),
                expected
            );
        }
        let presented = parse(&good).expect("well formed");
        let without_old: SecretList = [new].into_iter().collect();
        for peppers in [without_old, SecretList::default()] {
            assert_eq!(
                judge(&presented, &token, &stored_hash, &peppers, now),
                Err(Bad::Invalid)
            );
        }
    }

    #[test]
    fn permissions_read_as_they_print() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.as_str()), Some(permission));
            let json = serde_json::to_value(permission).expect("serialises");
            assert_eq!(json, permission.as_str());
        }
    }
}
