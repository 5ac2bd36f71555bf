//! Impersonation tokens: what an admin holds to see what one team sees, for a quarter of an hour,
//! without changing anything. Pure: time and id come in as arguments.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use tocsin_kit::{Secret, SecretList};
use tocsin_wire::{OrgId, TeamId};
use uuid::Uuid;

use super::claims::{self, BadClaims, Claims, Expected};

/// Who issues them, as the original says it: its agents read these claims.
pub(crate) const ISSUER: &str = "incidentfox-config-service";
/// What older versions of the original named as audience.
const LEGACY_AUDIENCE: &str = "incidentfox-config-service";
/// Tells them apart from other signed tokens.
pub(crate) const KIND: &str = "team_impersonation";
/// The only thing that they allow.
const SCOPE: &str = "team:read";
/// Our own clock checks what our own clock wrote; replicas may differ by this much.
const LEEWAY_SECONDS: i64 = 5;

/// Who looks as which team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Impersonation {
    /// The admin.
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) org: OrgId,
    pub(crate) team: TeamId,
    /// Of this token.
    pub(crate) jti: Uuid,
}

/// Why it is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadImpersonation {
    #[error("its signature does not hold")]
    Signature,
    #[error(transparent)]
    Claims(#[from] BadClaims),
    #[error("it does not allow to read")]
    Scope,
}

/// The text of a token; `None` when it cannot be signed, which a key of any length can.
pub(crate) fn mint(
    who: &Impersonation,
    audience: &str,
    secret: &Secret,
    (issued_at, expires_at): (Timestamp, Timestamp),
) -> Option<String> {
    let claims = json!({
        "iss": ISSUER,
        "aud": audience,
        "sub": who.subject,
        "email": who.email,
        "org_id": who.org,
        "team_node_id": who.team,
        "ifx_kind": KIND,
        "scope": [SCOPE],
        "iat": issued_at.as_second(),
        "exp": expires_at.as_second(),
        "jti": who.jti.simple().to_string(),
    });
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).ok()
}

/// Checks signature and claims. HS256 only, whatever the token says of itself.
pub(crate) fn verify(
    text: &str,
    secrets: &SecretList,
    (audience, accept_legacy): (&str, bool),
    now: Timestamp,
) -> Result<Impersonation, BadImpersonation> {
    let claims = secrets
        .iter()
        .find_map(|secret| opened(text, secret))
        .ok_or(BadImpersonation::Signature)?;
    let both = [audience, LEGACY_AUDIENCE];
    let expected = Expected {
        issuer: ISSUER,
        audiences: if accept_legacy {
            &both
        } else {
            both.split_at(1).0
        },
        leeway_seconds: LEEWAY_SECONDS,
    };
    claims::check(&claims, &expected, now)?;
    let text = |name: &'static str| claims::text(&claims, name).ok_or(BadClaims::Missing(name));
    if !claims.contains_key("iat") {
        return Err(BadClaims::Missing("iat").into());
    }
    if text("ifx_kind")? != KIND {
        return Err(BadClaims::Missing("ifx_kind").into());
    }
    if !claims::texts(&claims, "scope")
        .iter()
        .any(|scope| scope == SCOPE)
    {
        return Err(BadImpersonation::Scope);
    }
    Ok(Impersonation {
        subject: text("sub")?.to_owned(),
        email: claims::text(&claims, "email").map(str::to_owned),
        org: OrgId::new(text("org_id")?).map_err(|_| BadClaims::Missing("org_id"))?,
        team: TeamId::new(text("team_node_id")?).map_err(|_| BadClaims::Missing("team_node_id"))?,
        jti: text("jti")?
            .parse()
            .map_err(|_| BadClaims::Missing("jti"))?,
    })
}

fn opened(text: &str, secret: &Secret) -> Option<Claims> {
    let key = DecodingKey::from_secret(secret.expose().as_bytes());
    let data = jsonwebtoken::decode::<Value>(text, &key, &signature_only(Algorithm::HS256)).ok()?;
    match data.claims {
        Value::Object(claims) => Some(claims),
        _ => None,
    }
}

/// The library would ask the machine's clock; claims are checked here, with the time as an argument.
pub(super) fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: &str = "incidentfox-agent-runtime";

    fn who() -> Impersonation {
        Impersonation {
            subject: "org_admin:acme".to_owned(),
            email: Some("ada@acme.example".to_owned()),
            org: OrgId::new("acme").expect("id"),
            team: TeamId::new("sre").expect("id"),
            jti: Uuid::from_u128(9),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("time")
    }

    fn signed(change: &Value, algorithm: Algorithm, secret: &str) -> String {
        let mut claims = json!({"iss":ISSUER,"aud":AUDIENCE,"sub":"super_admin","org_id":"acme","team_node_id":"sre",
            "ifx_kind":KIND,"scope":["team:read"],"iat":1000,"exp":1900,"jti":Uuid::from_u128(9).simple().to_string()});
        for (name, value) in change.as_object().expect("object") {
            let claims = claims.as_object_mut().expect("object");
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("signs")
    }

    #[test]
    fn what_is_minted_reads_back_under_any_of_the_secrets() {
        let old: Secret = "old".parse().expect("secret");
        let token = mint(&who(), AUDIENCE, &old, (at(1000), at(1900))).expect("signs");
        let check = |secrets: &str, now| {
            let secrets: SecretList = secrets.parse().expect("list");
            verify(&token, &secrets, (AUDIENCE, false), at(now))
        };
        assert_eq!(check("new,old", 1899), Ok(who()));
        assert_eq!(check("new", 1899), Err(BadImpersonation::Signature));
        assert_eq!(check("", 1899), Err(BadImpersonation::Signature));
        assert_eq!(
            check("old", 1905),
            Err(BadImpersonation::Claims(BadClaims::Expired))
        );
    }

    #[test]
    fn anything_missing_or_odd_is_refused() {
        let secrets: SecretList = "key".parse().expect("list");
        let check = |text: &str, legacy| {
            verify(text, &secrets, (AUDIENCE, legacy), at(1500)).map(|found| found.subject)
        };
        let missing = |name| Err(BadImpersonation::Claims(BadClaims::Missing(name)));
        let good = signed(&json!({}), Algorithm::HS256, "key");
        assert_eq!(check(&good, false), Ok("super_admin".to_owned()));
        for (change, outcome) in [
            (json!({"exp":null}), missing("exp")),
            (json!({"iat":null}), missing("iat")),
            (json!({"sub":null}), missing("sub")),
            (json!({"org_id":null}), missing("org_id")),
            (json!({"org_id":"A.B"}), missing("org_id")),
            (json!({"team_node_id":null}), missing("team_node_id")),
            (json!({"ifx_kind":null}), missing("ifx_kind")),
            (json!({"ifx_kind":"visitor"}), missing("ifx_kind")),
            (json!({"jti":null}), missing("jti")),
            (json!({"scope":null}), Err(BadImpersonation::Scope)),
            (
                json!({"scope":["team:write"]}),
                Err(BadImpersonation::Scope),
            ),
            (json!({"iss":"x"}), Err(BadClaims::Issuer.into())),
            (
                json!({"aud":LEGACY_AUDIENCE}),
                Err(BadClaims::Audience.into()),
            ),
        ] {
            let text = signed(&change, Algorithm::HS256, "key");
            assert_eq!(check(&text, false), outcome, "{change}");
        }
        let legacy = signed(&json!({"aud":LEGACY_AUDIENCE}), Algorithm::HS256, "key");
        assert_eq!(check(&legacy, true), Ok("super_admin".to_owned()));
        let stronger = signed(&json!({}), Algorithm::HS512, "key");
        assert_eq!(check(&stronger, false), Err(BadImpersonation::Signature));
        // {"alg":"none","typ":"JWT"}, the same body, no signature.
        let body = good.split('.').nth(1).expect("body");
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        assert_eq!(check(&unsigned, false), Err(BadImpersonation::Signature));
    }
}
