//! An identity provider on this machine, with real keys and real signatures.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const RSA: [&[u8]; 2] = [
    include_bytes!("../fixtures/test-only-keys/rsa-1.der"),
    include_bytes!("../fixtures/test-only-keys/rsa-2.der"),
];

/// What of its keys it shows, and what it was asked.
#[derive(Debug, Default)]
struct Provider {
    base: String,
    /// Indexes of the keys that it publishes.
    shows: Vec<usize>,
    key_requests: usize,
    is_down: bool,
    /// Claims of the person behind the code `good`.
    person: Value,
    /// Forms that came to the token endpoint.
    forms: Vec<Value>,
}

type Shared = Arc<Mutex<Provider>>;

#[derive(Clone)]
pub(crate) struct Issuer(Shared);

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let shared: Shared = Arc::new(Mutex::new(Provider {
            base,
            shows: vec![0],
            ..Provider::default()
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self(shared)
    }

    pub(crate) fn url(&self) -> String {
        self.0.lock().expect("lock").base.clone()
    }

    /// Publishes these keys from now on.
    pub(crate) fn rotate(&self, shows: &[usize]) {
        self.0.lock().expect("lock").shows = shows.to_vec();
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.0.lock().expect("lock").is_down = is_down;
    }

    pub(crate) fn key_requests(&self) -> usize {
        self.0.lock().expect("lock").key_requests
    }

    /// Who signs in with the code `good`.
    pub(crate) fn set_person(&self, person: Value) {
        self.0.lock().expect("lock").person = person;
    }

    pub(crate) fn forms(&self) -> Vec<Value> {
        self.0.lock().expect("lock").forms.clone()
    }

    /// A token of this provider for the audience `tocsin`, an hour long, with `claims` on top.
    pub(crate) fn token(&self, key: usize, now: Timestamp, claims: &Value) -> String {
        signed(&self.url(), key, now, claims)
    }
}

pub(crate) fn private_key(key: usize) -> EncodingKey {
    EncodingKey::from_rsa_der(RSA[key])
}

pub(crate) fn public_key(key: usize) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(&private_key(key), Algorithm::RS256).expect("key");
    jwk.common.key_id = Some(format!("key-{key}"));
    jwk
}

fn signed(issuer: &str, key: usize, now: Timestamp, claims: &Value) -> String {
    let mut body = json!({"iss": issuer, "aud": "tocsin", "sub": "ada", "iat": now.as_second(), "exp": now.as_second() + 3600});
    let told = claims.as_object().expect("object").clone();
    body.as_object_mut().expect("object").extend(told);
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(format!("key-{key}"));
    jsonwebtoken::encode(&header, &body, &private_key(key)).expect("signs")
}

async fn document(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let provider = shared.lock().expect("lock");
    if provider.is_down {
        return (StatusCode::BAD_GATEWAY, Json(json!({})));
    }
    let base = &provider.base;
    let document = json!({"issuer": base, "jwks_uri": format!("{base}/keys"), "token_endpoint": format!("{base}/token"),
        "authorization_endpoint": format!("{base}/authorize")});
    (StatusCode::OK, Json(document))
}

async fn keys(State(shared): State<Shared>) -> (StatusCode, Json<Value>) {
    let mut provider = shared.lock().expect("lock");
    provider.key_requests += 1;
    if provider.is_down {
        return (StatusCode::BAD_GATEWAY, Json(json!({})));
    }
    let shown: Vec<Jwk> = provider.shows.iter().map(|key| public_key(*key)).collect();
    (StatusCode::OK, Json(json!({"keys": shown})))
}

async fn token(
    State(shared): State<Shared>,
    _: HeaderMap,
    Form(form): Form<std::collections::BTreeMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let mut provider = shared.lock().expect("lock");
    let is_good = form.get("code").is_some_and(|code| code == "good");
    provider.forms.push(json!(form));
    if !is_good {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error":"invalid_grant"})),
        );
    }
    let now = "2026-03-01T12:00:00Z".parse().expect("time");
    let person = json!({"aud": form.get("client_id")});
    let mut claims = person.as_object().expect("object").clone();
    claims.extend(provider.person.as_object().expect("object").clone());
    let text = signed(&provider.base, 0, now, &Value::Object(claims));
    (
        StatusCode::OK,
        Json(json!({"id_token": text, "access_token": "access", "token_type": "Bearer"})),
    )
}
