//! What an identity provider says of itself.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use tocsin_kit::HttpClient;
use tocsin_kit::http_client::{GuardError, ReadError, read_capped};
use url::Url;

/// A provider that does not answer by then keeps everybody waiting who wants in.
pub(crate) const FETCH_LIMIT: Duration = Duration::from_secs(3);
/// Documents of the large providers have 2 KiB, key sets 5 KiB.
const MAX_BYTES: usize = 256 * 1024;

/// The parts of a discovery document that are used here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Document {
    pub(crate) issuer: String,
    #[serde(deserialize_with = "url")]
    pub(crate) jwks_uri: Url,
    #[serde(default, deserialize_with = "optional_url")]
    pub(crate) authorization_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "optional_url")]
    pub(crate) token_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "optional_url")]
    pub(crate) userinfo_endpoint: Option<Url>,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(D::Error::custom)
}

fn optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parse = |text: String| Url::parse(&text).map_err(D::Error::custom);
    text.map(parse).transpose()
}

/// A provider did not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("{0:?} is no URL")]
    Address(String),
    #[error("{url} was not asked")]
    Refused {
        url: String,
        #[source]
        source: GuardError,
    },
    #[error("{url} does not answer")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the answer of {url} cannot be read")]
    Unreadable {
        url: String,
        #[source]
        source: ReadError,
    },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} does not answer with the JSON that was expected")]
    Shape {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("it failed a moment ago, and is asked again soon")]
    Paused,
    #[error("the provider calls itself {told:?}, not {expected:?}")]
    Issuer { told: String, expected: String },
}

/// `<issuer>/.well-known/openid-configuration`
pub(crate) fn address(issuer: &str) -> Result<Url, ProviderError> {
    let text = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    Url::parse(&text).map_err(|_| ProviderError::Address(issuer.to_owned()))
}

/// Fetches the document of `issuer`, which must call itself so.
pub(crate) async fn discover(http: &HttpClient, issuer: &str) -> Result<Document, ProviderError> {
    let document: Document = get(http, &address(issuer)?, None).await?;
    if document.issuer != issuer {
        return Err(ProviderError::Issuer {
            told: document.issuer,
            expected: issuer.to_owned(),
        });
    }
    Ok(document)
}

/// Fetches a key set.
pub(crate) async fn keys(http: &HttpClient, url: &Url) -> Result<JwkSet, ProviderError> {
    get(http, url, None).await
}

/// Fetches JSON.
pub(crate) async fn get<T: DeserializeOwned>(
    http: &HttpClient,
    url: &Url,
    bearer: Option<&str>,
) -> Result<T, ProviderError> {
    let request = http.get(url).map_err(|source| ProviderError::Refused {
        url: url.to_string(),
        source,
    })?;
    let request = match bearer {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let (status, body) = send(request, url).await?;
    if !(200..300).contains(&status) {
        return Err(ProviderError::Status {
            url: url.to_string(),
            status,
        });
    }
    parse(url, &body)
}

/// Sends a request within the limits of time and size.
pub(crate) async fn send(
    request: reqwest::RequestBuilder,
    url: &Url,
) -> Result<(u16, Vec<u8>), ProviderError> {
    let request = request
        .header(http::header::ACCEPT, "application/json")
        .timeout(FETCH_LIMIT);
    let response = request
        .send()
        .await
        .map_err(|source| ProviderError::Unreachable {
            url: url.to_string(),
            source: source.without_url(),
        })?;
    let status = response.status().as_u16();
    let body =
        read_capped(response, MAX_BYTES)
            .await
            .map_err(|source| ProviderError::Unreadable {
                url: url.to_string(),
                source,
            })?;
    Ok((status, body.into()))
}

pub(crate) fn parse<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body).map_err(|source| ProviderError::Shape {
        url: url.to_string(),
        source,
    })
}
