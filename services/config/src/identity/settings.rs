//! Who may call, and how they prove who they are.

use std::fmt;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::JwkSet;
use tocsin_kit::SecretList;
use url::Url;

use super::networks::Networks;
use super::oidc::GroupPermissions;

/// Shortest life of an impersonation token: what an agent's run needs to read its config.
const MIN_IMPERSONATION_SECONDS: u64 = 60;
/// Longest: beyond it, a token of the team itself is the right one.
const MAX_IMPERSONATION_SECONDS: u64 = 24 * 60 * 60;

/// Which credentials count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthMode {
    /// Tokens of this service.
    Token,
    /// Tokens of the identity provider.
    Oidc,
    /// Either.
    Both,
}

impl AuthMode {
    pub(crate) const fn takes_tokens(self) -> bool {
        matches!(self, Self::Token | Self::Both)
    }

    pub(crate) const fn takes_oidc(self) -> bool {
        matches!(self, Self::Oidc | Self::Both)
    }
}

/// A list as an environment variable holds it: comma-separated, trimmed, empty entries dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub(crate) Vec<String>);

impl FromStr for Names {
    type Err = std::convert::Infallible;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let entries = list.split(',').map(str::trim);
        let named = entries.filter(|entry| !entry.is_empty());
        Ok(Self(named.map(str::to_owned).collect()))
    }
}

/// Signature algorithms of the identity provider: only those with a public key that anybody may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(pub(crate) Vec<Algorithm>);

/// `OIDC_ALG` names an algorithm that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not accepted; use RS256, ES256, or both, comma-separated")]
pub struct RefusedAlgorithm(String);

impl FromStr for Algorithms {
    type Err = RefusedAlgorithm;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let Ok(names) = list.parse::<Names>();
        let known = names.0.into_iter().map(|name| match name.as_str() {
            "RS256" => Ok(Algorithm::RS256),
            "ES256" => Ok(Algorithm::ES256),
            _ => Err(RefusedAlgorithm(name)),
        });
        let known: Vec<Algorithm> = known.collect::<Result<_, _>>()?;
        if known.is_empty() {
            return Err(RefusedAlgorithm(list.to_owned()));
        }
        Ok(Self(known))
    }
}

/// Keys of the identity provider, inline.
#[derive(Clone, Debug, Default)]
pub struct InlineKeys(pub(crate) Option<JwkSet>);

/// `OIDC_JWKS_JSON` is no key set.
#[derive(Debug, thiserror::Error)]
#[error("it must be a JSON Web Key Set, {{\"keys\": […]}}")]
pub struct InvalidKeys(#[source] serde_json::Error);

impl FromStr for InlineKeys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        serde_json::from_str(text)
            .map(|keys| Self(Some(keys)))
            .map_err(InvalidKeys)
    }
}

/// How long an impersonation token lives, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpersonationSeconds(pub(crate) u64);

impl FromStr for ImpersonationSeconds {
    type Err = std::num::ParseIntError;

    /// A value below the floor counts as the floor.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds: u64 = text.trim().parse()?;
        Ok(Self(seconds.clamp(
            MIN_IMPERSONATION_SECONDS,
            MAX_IMPERSONATION_SECONDS,
        )))
    }
}

impl fmt::Display for ImpersonationSeconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Identities beyond the admin token and the tokens of teams.
#[derive(Clone, Debug, clap::Args)]
pub struct IdentitySettings {
    /// Credentials that admins may use.
    #[arg(long, env = "ADMIN_AUTH_MODE", default_value = "token")]
    pub admin_auth_mode: AuthMode,

    /// Credentials that teams may use.
    #[arg(long, env = "TEAM_AUTH_MODE", default_value = "token")]
    pub team_auth_mode: AuthMode,

    /// Keys of impersonation tokens: the first signs, all of them verify. Without one there is no
    /// impersonation.
    #[arg(
        long,
        env = "IMPERSONATION_JWT_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub impersonation_secret: SecretList,

    /// Audience of impersonation tokens.
    #[arg(
        long,
        env = "IMPERSONATION_JWT_AUDIENCE",
        default_value = "incidentfox-agent-runtime"
    )]
    pub impersonation_audience: String,

    /// Take impersonation tokens for the audience `incidentfox-config-service`, too.
    #[arg(long, env = "IMPERSONATION_JWT_ACCEPT_LEGACY_AUDIENCE", default_value = "0",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub impersonation_legacy_audience: bool,

    /// Seconds that an impersonation token lives; at least 60.
    #[arg(long, env = "IMPERSONATION_TOKEN_TTL_SECONDS", default_value = "900")]
    pub impersonation_seconds: ImpersonationSeconds,

    /// Keep the id of each impersonation token.
    #[arg(long, env = "IMPERSONATION_JTI_DB_LOGGING", default_value = "0",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub impersonation_log: bool,

    /// Refuse impersonation tokens whose id was not kept. Implies keeping them.
    #[arg(long, env = "IMPERSONATION_JTI_DB_REQUIRE", default_value = "0",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub impersonation_require_log: bool,

    /// Networks from which X-Internal-Service is enough without X-Internal-Secret, comma-separated
    /// (10.1.0.0/16). For moving old clients only; by default there are none. What counts is the
    /// other end of the connection: a proxy in such a network speaks for everybody behind it.
    #[arg(long, env = "INTERNAL_SERVICE_TRUSTED_NETWORKS", default_value = "")]
    pub internal_trusted_networks: Networks,

    /// Values of X-Internal-Service that are enough without X-Internal-Secret, comma-separated. For
    /// moving old clients only: whoever reaches the port may send them. By default there are none.
    #[arg(long, env = "INTERNAL_SERVICE_TRUSTED_NAMES", default_value = "")]
    pub internal_trusted_names: Names,

    #[command(flatten)]
    pub oidc: OidcSettings,
}

/// The identity provider whose tokens count.
#[derive(Clone, Debug, clap::Args)]
pub struct OidcSettings {
    /// Take tokens of an OpenID Connect provider; needs OIDC_ISSUER and OIDC_AUDIENCE.
    #[arg(long, env = "OIDC_ENABLED", default_value = "0",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub oidc_enabled: bool,

    /// The claim `iss`, exactly. Its discovery document names the keys, unless they are set here.
    #[arg(long, env = "OIDC_ISSUER", default_value = "")]
    pub oidc_issuer: String,

    /// The claim `aud`; several, comma-separated.
    #[arg(long, env = "OIDC_AUDIENCE", default_value = "")]
    pub oidc_audience: Names,

    /// Where the provider's keys are, instead of asking its discovery document.
    #[arg(long, env = "OIDC_JWKS_URL")]
    pub oidc_jwks_url: Option<Url>,

    /// The provider's keys themselves, as a JSON Web Key Set; nothing is fetched then.
    #[arg(long, env = "OIDC_JWKS_JSON", default_value = "")]
    pub oidc_jwks_json: InlineKeys,

    /// Accepted signatures: RS256, ES256, or both.
    #[arg(long, env = "OIDC_ALG", default_value = "RS256")]
    pub oidc_alg: Algorithms,

    /// Claim with the groups of a person; a dotted path leads into objects.
    #[arg(long, env = "OIDC_GROUPS_CLAIM", default_value = "groups")]
    pub oidc_groups_claim: String,

    /// Claim with the org.
    #[arg(long, env = "OIDC_ORG_CLAIM", default_value = "org_id")]
    pub oidc_org_claim: String,

    /// Claim with the team.
    #[arg(long, env = "OIDC_TEAM_CLAIM", default_value = "team_node_id")]
    pub oidc_team_claim: String,

    /// Claim with the mail address.
    #[arg(long, env = "OIDC_EMAIL_CLAIM", default_value = "email")]
    pub oidc_email_claim: String,

    /// Claim with the person.
    #[arg(long, env = "OIDC_SUBJECT_CLAIM", default_value = "sub")]
    pub oidc_subject_claim: String,

    /// Whoever is in this group is an admin: of the org that the token names, or of all if it names
    /// none.
    #[arg(
        long,
        env = "OIDC_ADMIN_GROUP",
        default_value = "incidentfox-config-admin"
    )]
    pub oidc_admin_group: String,

    /// Scopes of every admin of the identity provider, comma-separated.
    #[arg(long, env = "ADMIN_PERMISSIONS_DEFAULT", default_value = "admin:*")]
    pub admin_permissions_default: Names,

    /// More scopes by group: {"group": ["admin:config:read", …]}.
    #[arg(long, env = "ADMIN_GROUP_PERMISSIONS_JSON", default_value = "{}")]
    pub admin_group_permissions_json: GroupPermissions,

    /// Let teams of the identity provider write; without it they read.
    #[arg(long, env = "TEAM_OIDC_WRITE_ENABLED", default_value = "0",
        action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub team_oidc_write_enabled: bool,
}

impl OidcSettings {
    /// Whether tokens of the provider can be checked at all.
    pub(crate) fn is_complete(&self) -> bool {
        self.oidc_enabled && !self.oidc_issuer.is_empty() && !self.oidc_audience.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_to_their_rules() {
        for (text, expected) in [
            ("900", 900),
            ("1", 60),
            ("59", 60),
            (" 61 ", 61),
            ("999999", 86_400),
        ] {
            assert_eq!(text.parse(), Ok(ImpersonationSeconds(expected)), "{text}");
        }
        assert_eq!(
            "RS256, ES256".parse(),
            Ok(Algorithms(vec![Algorithm::RS256, Algorithm::ES256]))
        );
        for bad in ["", "none", "HS256", "RS256,HS256", "RS512"] {
            assert!(bad.parse::<Algorithms>().is_err(), "{bad}");
        }
        assert!("{".parse::<InlineKeys>().is_err() && "[]".parse::<InlineKeys>().is_err());
    }
}
