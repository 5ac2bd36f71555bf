//! The secret itself, in a header: bare, as `Bearer`, or as the password of `Basic`. It proves the sender
//! and nothing else: what came could have been changed or sent before.

use std::fmt;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::secret::{LiveSecret, Validity};
use super::{Refusal, mac, single};

/// Longest token looked at; longer ones are none of ours.
const MAX_TOKEN_BYTES: usize = 4096;

/// Live tokens, as their digests: comparing those takes the same time whatever matches, and tells nothing
/// of a token's length.
#[derive(Clone)]
pub(super) struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    digest: [u8; 32],
    position: usize,
    validity: Validity,
}

impl Tokens {
    /// Empty ones are left out: everybody knows them.
    pub(super) fn new(secrets: &[LiveSecret<'_>]) -> Self {
        let secrets = secrets.iter().enumerate();
        let tokens = secrets.filter(|(_, secret)| !secret.text.is_empty());
        let tokens = tokens.map(|(position, secret)| Token {
            digest: digest(secret.text.as_bytes()),
            position,
            validity: secret.validity,
        });
        Self(tokens.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Token> {
        self.0.iter().filter(move |token| token.validity.holds(now))
    }

    fn matching(&self, now: Timestamp, presented: &[u8]) -> Result<usize, Refusal> {
        let presented = digest(presented);
        let mut matched = None;
        for token in self.live(now) {
            let holds: Choice = token.digest.ct_eq(&presented);
            if bool::from(holds) && matched.is_none() {
                matched = Some(token.position);
            }
        }
        matched.ok_or(Refusal::WrongToken)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tokens({})", self.0.len())
    }
}

/// Where the token stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Header(HeaderName),
    Bearer,
    Basic,
}

/// Verifies one delivery; gives the index of the token that it presents.
pub(super) fn verify(
    place: &Place,
    tokens: &Tokens,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<usize, Refusal> {
    if tokens.live(now).next().is_none() {
        return Err(Refusal::MissingSecret);
    }
    let name = match place {
        Place::Header(name) => name,
        Place::Bearer | Place::Basic => &header::AUTHORIZATION,
    };
    let value = single(headers, name)?
        .ok_or(Refusal::MissingToken)?
        .as_bytes();
    if value.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::WrongToken);
    }
    match place {
        Place::Header(_) => tokens.matching(now, value),
        Place::Bearer => tokens.matching(now, credentials(value, b"bearer")?),
        Place::Basic => {
            let decoded = mac::BASE64.decode(credentials(value, b"basic")?);
            tokens.matching(now, &decoded.map_err(|_not_base64| Refusal::MissingToken)?)
        }
    }
}

/// What follows the name of the authentication scheme, which is of either case.
fn credentials<'a>(value: &'a [u8], scheme: &[u8]) -> Result<&'a [u8], Refusal> {
    let (name, credentials) = value
        .split_at_checked(scheme.len())
        .ok_or(Refusal::MissingToken)?;
    let is_scheme = name.eq_ignore_ascii_case(scheme) && credentials.starts_with(b" ");
    if is_scheme {
        Ok(credentials.trim_ascii())
    } else {
        Err(Refusal::MissingToken)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
