//! What every answer of the server has in common.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::ConnectInfo,
    response::IntoResponse,
    routing::{get, post},
};
use http::StatusCode;
use tocsin_kit::{
    Problem,
    http_server::{Limits, RequestId},
};

use crate::support::{Server, body};

fn router() -> Router {
    Router::new()
        .route("/id", get(|id: RequestId| async move { id.to_string() }))
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
        )
        .route("/json", post(|_: Json<Vec<u8>>| async {}))
        .route("/panic", get(panics))
        .route(
            "/conflict",
            get(|| async { Problem::conflict("name_taken", "the name is taken; choose another") }),
        )
        .route(
            "/own",
            get(|| async {
                (
                    StatusCode::BAD_REQUEST,
                    Json(serde_json::json!({"ok": false})),
                )
                    .into_response()
            }),
        )
}

async fn panics() -> &'static str {
    panic!("secret detail")
}

async fn send(server: &Server, line: &str, headers: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    server.exchange(&request).await
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

#[tokio::test]
async fn errors_are_problems_with_the_requests_id() {
    let server = Server::start(router(), Limits::default()).await;
    for (line, headers, status, code) in [
        ("GET /conflict", "", 409, "name_taken"),
        ("GET /nowhere", "", 404, "not_found"),
        ("DELETE /id", "", 405, "method_not_allowed"),
        ("POST /json", "", 415, "unsupported_media_type"),
        (
            "POST /json",
            "content-type: application/json\r\n",
            400,
            "bad_request",
        ),
        ("GET /panic", "", 500, "internal"),
    ] {
        let answer = send(&server, line, &format!("x-request-id: abc-1\r\n{headers}")).await;
        assert_eq!(
            header(&answer, "content-type"),
            Some("application/problem+json"),
            "{answer}"
        );
        assert_eq!(header(&answer, "x-request-id"), Some("abc-1"), "{answer}");
        let problem = body(&answer);
        assert_eq!(problem["status"], status, "{answer}");
        assert_eq!(problem["code"], code, "{answer}");
        assert_eq!(problem["request_id"], "abc-1");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert!(!answer.contains("secret detail"));
    }
    let allowed = send(&server, "DELETE /id", "").await;
    assert_eq!(
        header(&allowed, "allow"),
        Some("GET,HEAD"),
        "other headers stay: {allowed}"
    );
}

#[tokio::test]
async fn the_shape_of_a_problem() {
    let server = Server::start(router(), Limits::default()).await;
    let answer = send(&server, "GET /conflict", "x-request-id: abc-1\r\n").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    insta::assert_snapshot!(body.replace(",\"", ",\n\""), @r#"
    {"type":"about:blank",
    "title":"Conflict",
    "status":409,
    "code":"name_taken",
    "detail":"the name is taken; choose another",
    "request_id":"abc-1"}
    "#);
}

#[tokio::test]
async fn an_error_with_a_type_of_its_own_is_left_alone() {
    let server = Server::start(router(), Limits::default()).await;
    let answer = send(&server, "GET /own", "").await;
    assert_eq!(header(&answer, "content-type"), Some("application/json"));
    assert_eq!(body(&answer), serde_json::json!({"ok": false}));
}

#[tokio::test]
async fn request_ids_are_echoed_if_plain_and_made_if_not() {
    let server = Server::start(router(), Limits::default()).await;
    for (given, kept) in [
        ("0a1b-2c_3.d:e", true),
        ("", false),
        ("two words", false),
        ("quote\"", false),
        (&"x".repeat(129), false),
    ] {
        let answer = send(&server, "GET /id", &format!("x-request-id: {given}\r\n")).await;
        let id = header(&answer, "x-request-id").expect("always there");
        assert!(
            answer.ends_with(id),
            "the handler sees the same one: {answer}"
        );
        assert_eq!(id == given, kept, "{given:?} became {id:?}");
        if !kept {
            assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
        }
    }
}

#[tokio::test]
async fn handlers_see_the_peer() {
    let server = Server::start(router(), Limits::default()).await;
    assert!(send(&server, "GET /peer", "").await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn http2_without_tls_is_spoken_too() {
    let server = Server::start(router(), Limits::default()).await;
    #[expect(clippy::disallowed_methods, reason = "a client that insists on HTTP/2")]
    let client = {
        tocsin_kit::http_client::install_crypto_provider();
        reqwest::Client::builder()
            .http2_prior_knowledge()
            .no_proxy()
            .build()
            .unwrap()
    };
    let answer = client.get(server.url("/nowhere")).send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "not_found");
    server.stop.trigger_soft();
    server.ended().await;
}
