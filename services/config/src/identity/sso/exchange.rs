//! From the code that a provider gave to a browser to the person it stands for.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tocsin_kit::HttpClient;
use url::Url;

use super::SsoConfig;
use crate::identity::claims::{BadClaims, Claims};
use crate::identity::discovery::{self, Document, ProviderError};
use crate::identity::oidc::{self, BadToken};
use jsonwebtoken::Algorithm;

/// Signatures that providers use; which of both is up to them.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// What the browser brought back.
pub(crate) struct Exchange<'a> {
    pub(crate) code: &'a str,
    pub(crate) redirect_uri: &'a str,
    /// Of PKCE, where the caller used it.
    pub(crate) code_verifier: Option<&'a str>,
    pub(crate) client_secret: Option<&'a str>,
}

/// Nobody was let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("single sign-on is not set up: {0}")]
    Setup(String),
    #[error("ask the identity provider")]
    Provider(#[from] ProviderError),
    /// The provider's own word for it: `invalid_grant`.
    #[error("the identity provider refused the code ({0})")]
    Code(String),
    #[error("the identity provider's token is not good")]
    Token(#[from] BadToken),
}

impl From<BadClaims> for ExchangeError {
    fn from(bad: BadClaims) -> Self {
        Self::Token(bad.into())
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

/// Exchanges the code and returns the checked claims of the person.
pub(crate) async fn exchange(
    http: &HttpClient,
    config: &SsoConfig,
    what: &Exchange<'_>,
    now: Timestamp,
) -> Result<Claims, ExchangeError> {
    let issuer = config.issuer().map_err(|bad| ExchangeError::Setup(bad.0))?;
    let provider = discovery::discover(http, &issuer).await?;
    let tokens = redeem(http, config, &provider, what).await?;
    let text = tokens
        .id_token
        .ok_or_else(|| ExchangeError::Code("it sent no id_token".to_owned()))?;
    let header = jsonwebtoken::decode_header(&text).map_err(|_| BadToken::Signature)?;
    oidc::key_id(&header, &ALGORITHMS)?;
    let keys = discovery::keys(http, &provider.jwks_uri).await?;
    let mut claims = oidc::open(&text, &header, &keys, &ALGORITHMS)?;
    config.check_claims(&claims, &issuer, now)?;
    if config.email(&claims).is_none()
        && let (Some(address), Some(token)) = (&provider.userinfo_endpoint, &tokens.access_token)
    {
        add_userinfo(
            &mut claims,
            discovery::get(http, address, Some(token)).await?,
        );
    }
    Ok(claims)
}

/// The code for the tokens.
async fn redeem(
    http: &HttpClient,
    config: &SsoConfig,
    provider: &Document,
    what: &Exchange<'_>,
) -> Result<Tokens, ExchangeError> {
    let setup = |what: &str| ExchangeError::Setup(what.to_owned());
    let url: &Url = provider
        .token_endpoint
        .as_ref()
        .ok_or_else(|| setup("the provider names no token_endpoint"))?;
    let client = config
        .client_id
        .as_deref()
        .ok_or_else(|| setup("client_id is not set"))?;
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", what.code),
        ("redirect_uri", what.redirect_uri),
        ("client_id", client),
    ];
    form.extend(what.client_secret.map(|secret| ("client_secret", secret)));
    form.extend(
        what.code_verifier
            .map(|verifier| ("code_verifier", verifier)),
    );
    let request = http.post(url).map_err(|source| ProviderError::Refused {
        url: url.to_string(),
        source,
    })?;
    let (status, body) = discovery::send(request.form(&form), url).await?;
    if (400..500).contains(&status) {
        return Err(ExchangeError::Code(word(&body)));
    }
    if !(200..300).contains(&status) {
        let url = url.to_string();
        return Err(ProviderError::Status { url, status }.into());
    }
    Ok(discovery::parse(url, &body)?)
}

/// `error` of RFC 6749: a word from a fixed set, nothing that a person wrote.
fn word(body: &[u8]) -> String {
    let told = serde_json::from_slice::<Value>(body).ok();
    let word = told.as_ref().and_then(|told| told.get("error")?.as_str());
    let is_word = |text: &&str| {
        text.len() <= 64
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    word.filter(is_word).unwrap_or("no reason given").to_owned()
}

/// Claims of the same person only; what the signed token says stays.
fn add_userinfo(claims: &mut Claims, info: Claims) {
    if info.get("sub").is_some() && info.get("sub") == claims.get("sub") {
        for (name, value) in info {
            claims.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn userinfo_adds_to_its_own_person_only_and_overrides_nothing() {
        let claims = |value: Value| value.as_object().expect("object").clone();
        let token = claims(json!({"sub":"1","groups":["a"]}));
        for (info, expected) in [
            (
                json!({"sub":"1","email":"a@x","groups":["admins"]}),
                json!({"sub":"1","groups":["a"],"email":"a@x"}),
            ),
            (
                json!({"sub":"2","email":"a@x"}),
                json!({"sub":"1","groups":["a"]}),
            ),
            (json!({"email":"a@x"}), json!({"sub":"1","groups":["a"]})),
        ] {
            let mut told = token.clone();
            add_userinfo(&mut told, claims(info));
            assert_eq!(Value::Object(told), expected);
        }
    }

    #[test]
    fn only_a_word_of_the_provider_is_passed_on() {
        assert_eq!(word(br#"{"error":"invalid_grant"}"#), "invalid_grant");
        for odd in [&b"<html>"[..], br#"{"error":"<script>"}"#, b"{}"] {
            assert_eq!(word(odd), "no reason given");
        }
    }
}
