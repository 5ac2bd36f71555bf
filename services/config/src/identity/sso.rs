//! Single sign-on of an org's people: what its admins set, and who a signed-in person is. Pure;
//! `exchange` asks the provider.

mod exchange;
mod sealing;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tocsin_wire::TeamId;
use url::{Host, Url};

use super::claims::{self, BadClaims, Claims, Expected};
use super::oidc::LEEWAY_SECONDS;

pub(crate) use exchange::{Exchange, ExchangeError, exchange};
pub(crate) use sealing::{open_client_secret, rewrap_client_secret, seal_client_secret};

/// Longest text of one field.
const MAX_FIELD_CHARS: usize = 2_048;
/// A session lasts a week, as it did in the original.
pub(crate) const SESSION_DAYS: i64 = 7;
/// Where people who are no admins belong, unless the org says otherwise.
const DEFAULT_TEAM: &str = "sso-users";

/// Who provides the identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SsoProviderType)]
pub(crate) enum ProviderType {
    /// Any OpenID Connect provider, by its issuer.
    #[default]
    Oidc,
    Google,
    /// Microsoft Entra, by its tenant.
    Azure,
}

/// How the people of an org sign in. The client secret is kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SsoConfig {
    pub(crate) enabled: bool,
    pub(crate) provider_type: ProviderType,
    pub(crate) provider_name: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) scopes: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) email_claim: String,
    pub(crate) name_claim: String,
    pub(crate) groups_claim: String,
    pub(crate) admin_group: Option<String>,
    /// Comma-separated; empty: any.
    pub(crate) allowed_domains: String,
    /// Comma-separated; empty: any address over https.
    pub(crate) redirect_uris: String,
    /// Team of those who are no admins.
    pub(crate) team_node_id: Option<String>,
}

impl Default for SsoConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            provider_type: ProviderType::default(),
            provider_name: None,
            issuer: None,
            client_id: None,
            scopes: "openid email profile".to_owned(),
            tenant_id: None,
            email_claim: "email".to_owned(),
            name_claim: "name".to_owned(),
            groups_claim: "groups".to_owned(),
            admin_group: None,
            allowed_domains: String::new(),
            redirect_uris: String::new(),
            team_node_id: None,
        }
    }
}

/// What is wrong with a config or a request. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidSso(pub(crate) String);

impl SsoConfig {
    /// Who the provider is, as its tokens say.
    pub(crate) fn issuer(&self) -> Result<String, InvalidSso> {
        let missing = |field: &str| InvalidSso(format!("{field} is not set"));
        match self.provider_type {
            ProviderType::Google => Ok("https://accounts.google.com".to_owned()),
            ProviderType::Azure => {
                let tenant = given(self.tenant_id.as_ref()).ok_or_else(|| missing("tenant_id"))?;
                Ok(format!("https://login.microsoftonline.com/{tenant}/v2.0"))
            }
            ProviderType::Oidc => given(self.issuer.as_ref())
                .map(str::to_owned)
                .ok_or_else(|| missing("issuer")),
        }
    }

    /// Whether it may be stored.
    pub(crate) fn check(&self) -> Result<(), InvalidSso> {
        let refuse = |text: String| Err(InvalidSso(text));
        let fields = [
            self.provider_name.as_ref(),
            self.issuer.as_ref(),
            self.client_id.as_ref(),
            Some(&self.scopes),
            self.tenant_id.as_ref(),
            Some(&self.email_claim),
            Some(&self.name_claim),
            Some(&self.groups_claim),
            self.admin_group.as_ref(),
            Some(&self.allowed_domains),
            Some(&self.redirect_uris),
        ];
        if fields
            .into_iter()
            .flatten()
            .any(|text| text.chars().count() > MAX_FIELD_CHARS || text.contains('\0'))
        {
            return refuse(format!(
                "every field must be at most {MAX_FIELD_CHARS} characters, without U+0000"
            ));
        }
        if let Some(tenant) = given(self.tenant_id.as_ref())
            && !tenant
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        {
            return refuse("tenant_id must be the id or a domain of a tenant".to_owned());
        }
        if self.provider_type == ProviderType::Oidc
            && let Some(issuer) = given(self.issuer.as_ref())
        {
            check_address("issuer", issuer)?;
        }
        for address in list(&self.redirect_uris) {
            check_address("redirect_uris", address)?;
        }
        if let Some(team) = given(self.team_node_id.as_ref())
            && TeamId::new(team).is_err()
        {
            return refuse(format!("team_node_id: {team:?} cannot be the id of a team"));
        }
        if self.enabled {
            self.issuer()?;
            if given(self.client_id.as_ref()).is_none() {
                return refuse("client_id is needed to enable single sign-on".to_owned());
            }
        }
        Ok(())
    }

    /// Whether the provider may send codes there.
    pub(crate) fn check_redirect(&self, address: &str) -> Result<(), InvalidSso> {
        check_address("redirect_uri", address)?;
        let mut allowed = list(&self.redirect_uris).peekable();
        if allowed.peek().is_none() || allowed.any(|known| known == address) {
            return Ok(());
        }
        Err(InvalidSso(
            "redirect_uri is not one of the org's redirect_uris".to_owned(),
        ))
    }

    /// Whether people with this address may sign in.
    pub(crate) fn allows(&self, email: &str) -> bool {
        let mut domains = list(&self.allowed_domains).peekable();
        if domains.peek().is_none() {
            return true;
        }
        // The last @: what stands before it may be quoted and hold others.
        email.rsplit_once('@').is_some_and(|(_, domain)| {
            domains.any(|allowed| allowed.trim_start_matches('@').eq_ignore_ascii_case(domain))
        })
    }

    /// The team of a person who is no admin.
    pub(crate) fn team(&self) -> &str {
        given(self.team_node_id.as_ref()).unwrap_or(DEFAULT_TEAM)
    }

    /// Checks the provider's token and reads who it is.
    pub(crate) fn check_claims(
        &self,
        claims: &Claims,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(), BadClaims> {
        let client = given(self.client_id.as_ref()).unwrap_or_default();
        let expected = Expected {
            issuer,
            audiences: &[client],
            leeway_seconds: LEEWAY_SECONDS,
        };
        claims::check(claims, &expected, now)
    }

    /// The mail address, unless the provider says that nobody verified it.
    pub(crate) fn email(&self, claims: &Claims) -> Option<String> {
        let is_unverified = claims
            .get("email_verified")
            .is_some_and(|verified| *verified == false || *verified == "false");
        let email = claims::text(claims, &self.email_claim)?;
        (!is_unverified && email.contains('@') && email.len() <= 254).then(|| email.to_lowercase())
    }

    pub(crate) fn name(&self, claims: &Claims) -> Option<String> {
        let name = claims::text(claims, &self.name_claim)?;
        Some(name.chars().take(256).collect())
    }

    pub(crate) fn is_admin(&self, claims: &Claims) -> bool {
        given(self.admin_group.as_ref()).is_some_and(|group| {
            claims::texts(claims, &self.groups_claim)
                .iter()
                .any(|known| known == group)
        })
    }
}

/// Over https, or on this machine, where people develop.
fn check_address(field: &str, address: &str) -> Result<(), InvalidSso> {
    let refuse = |why: &str| InvalidSso(format!("{field}: {address:?} {why}"));
    let url = Url::parse(address).map_err(|_| refuse("is no URL"))?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && is_local) {
        return Err(refuse("must be an https URL"));
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("must have no fragment, user name or password"));
    }
    Ok(())
}

fn given(field: Option<&String>) -> Option<&str> {
    field
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(value: Value) -> SsoConfig {
        serde_json::from_value(value).expect("config")
    }

    #[test]
    fn only_allowed_domains_sign_in() {
        for (domains, email, expected) in [
            ("", "a@anywhere.example", true),
            ("acme.example", "a@acme.example", true),
            ("acme.example, @Other.example", "a@OTHER.example", true),
            ("acme.example", "a@evil-acme.example", false),
            ("acme.example", "a@acme.example.evil", false),
            ("acme.example", "a@acme.example@evil", false),
            ("acme.example", "acme.example", false),
        ] {
            let config = config(json!({"allowed_domains": domains}));
            assert_eq!(config.allows(email), expected, "{domains} {email}");
        }
    }

    #[test]
    fn codes_are_sent_to_known_addresses_only() {
        let open = config(json!({}));
        let listed =
            config(json!({"redirect_uris":"https://ui.example/cb, http://localhost:3000/cb"}));
        for (address, by_open, by_listed) in [
            ("https://ui.example/cb", true, true),
            ("http://localhost:3000/cb", true, true),
            ("http://127.0.0.1/cb", true, false),
            ("https://ui.example/cb/../evil", true, false),
            ("https://evil.example/", true, false),
            ("http://ui.example/cb", false, false),
            ("https://u:p@ui.example/cb", false, false),
            ("https://ui.example/cb#x", false, false),
            ("javascript:alert(1)", false, false),
            ("", false, false),
        ] {
            assert_eq!(open.check_redirect(address).is_ok(), by_open, "{address}");
            assert_eq!(
                listed.check_redirect(address).is_ok(),
                by_listed,
                "{address}"
            );
        }
    }

    #[test]
    fn a_config_is_whole_before_it_is_enabled() {
        for (value, is_good) in [
            (json!({}), true),
            (json!({"enabled":true}), false),
            (json!({"enabled":true,"provider_type":"google"}), false),
            (
                json!({"enabled":true,"provider_type":"google","client_id":"c"}),
                true,
            ),
            (
                json!({"enabled":true,"provider_type":"azure","client_id":"c"}),
                false,
            ),
            (
                json!({"enabled":true,"provider_type":"azure","client_id":"c","tenant_id":"t-1"}),
                true,
            ),
            (json!({"provider_type":"azure","tenant_id":"../x"}), false),
            (
                json!({"enabled":true,"client_id":"c","issuer":"https://idp.example"}),
                true,
            ),
            (json!({"issuer":"http://idp.example"}), false),
            (json!({"issuer":"nonsense"}), false),
            (json!({"team_node_id":"No Team"}), false),
            (json!({"provider_name":"x".repeat(3000)}), false),
        ] {
            assert_eq!(config(value.clone()).check().is_ok(), is_good, "{value}");
        }
    }

    #[test]
    fn a_person_is_who_the_verified_claims_say() {
        let config = config(json!({"admin_group":"admins","email_claim":"mail"}));
        let claims = |value: Value| value.as_object().expect("object").clone();
        for (value, email, is_admin) in [
            (
                json!({"mail":"Ada@X.example","groups":["admins"]}),
                Some("ada@x.example"),
                true,
            ),
            (
                json!({"mail":"a@x","email_verified":true,"groups":"admins"}),
                Some("a@x"),
                true,
            ),
            (json!({"mail":"a@x","email_verified":false}), None, false),
            (json!({"mail":"a@x","email_verified":"false"}), None, false),
            (json!({"mail":"nobody"}), None, false),
            (json!({"email":"a@x","groups":["admin"]}), None, false),
        ] {
            let claims = claims(value.clone());
            assert_eq!(config.email(&claims).as_deref(), email, "{value}");
            assert_eq!(config.is_admin(&claims), is_admin, "{value}");
        }
        let nobody = SsoConfig::default();
        assert!(!nobody.is_admin(&claims(json!({"groups":[""]}))));
    }
}
