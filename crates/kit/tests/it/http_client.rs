//! What the guarded client refuses, and what it lets through.

use axum::{Router, body::Body, response::Redirect, routing::get};
use futures::stream;
use reqwest::Url;
use tocsin_kit::{
    HttpClient,
    http_client::{
        AllowList, GuardError, OutboundPolicy, ReadError, Timeouts, read_capped, refusal,
    },
    http_server::Limits,
};

use crate::support::Server;

fn client(allow: &str) -> HttpClient {
    let policy = OutboundPolicy {
        allow: allow.parse().unwrap(),
        ..OutboundPolicy::default()
    };
    HttpClient::new(&policy).unwrap()
}

#[test]
fn urls_into_our_own_network_are_refused_however_they_are_written() {
    let client = client("");
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://0/",
        "http://10.1.2.3/",
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://169.254.169.254/latest/meta-data/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.0.0.8/",
        "http://192.0.2.1/",
        "http://192.168.0.1:8080/",
        "http://198.19.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::1]/",
        "http://[2001:db8::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://localhost/",
        "http://LOCALHOST:80/",
        "http://localhost./",
        "http://api.localhost/",
        "http://metadata.google.internal/",
        "http://printer.local/",
    ] {
        let refused = client.get(url).map(drop);
        assert!(
            matches!(
                refused,
                Err(GuardError::Address { .. } | GuardError::Host { .. })
            ),
            "{url}: {refused:?}"
        );
    }
}

#[test]
fn public_urls_pass() {
    let client = client("");
    for url in [
        "https://example.com/hook?x=1",
        "http://1.1.1.1/",
        "http://172.32.0.1/",
        "http://100.128.0.1/",
        "http://192.0.1.1/",
        "http://198.20.0.1/",
        "http://223.255.255.255/",
        "http://[2606:4700:4700::1111]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::8.8.8.8]/",
        "https://localhost.example.com/",
        "https://internal.example.com/",
    ] {
        client.check(&Url::parse(url).unwrap()).unwrap();
    }
}

#[test]
fn a_url_must_be_plain_http_for_trusted_clients_too() {
    let trusted = HttpClient::trusted(Timeouts::default()).unwrap();
    for client in [client(""), trusted] {
        for (url, expected) in [
            ("file:///etc/passwd", "scheme"),
            ("gopher://example.com/", "scheme"),
            ("http://user@example.com/", "user name"),
            ("http://:word@example.com/", "user name"),
            ("example.com/path", "is not a URL"),
            ("http://", "is not a URL"),
        ] {
            let error = client.get(url).map(drop).unwrap_err();
            assert!(error.to_string().contains(expected), "{url}: {error}");
        }
    }
}

#[test]
fn the_operator_allows_hosts_and_networks() {
    let list = "10.0.0.0/8, 127.0.0.1 ,, Prometheus.monitoring.svc,*.corp.internal";
    let parsed: AllowList = list.parse().unwrap();
    assert_eq!(
        parsed.to_string(),
        "10.0.0.0/8,127.0.0.1/32,prometheus.monitoring.svc,*.corp.internal"
    );
    let client = client(list);
    for (url, allowed) in [
        ("http://10.200.0.1/", true),
        ("http://[::ffff:10.0.0.1]/", true),
        ("http://127.0.0.1/", true),
        ("http://127.0.0.2/", false),
        ("http://prometheus.monitoring.svc:9090/", true),
        ("http://grafana.corp.internal/", true),
        ("http://169.254.169.254/", false),
    ] {
        assert_eq!(client.get(url).is_ok(), allowed, "{url}");
    }
    for wrong in [
        "10.0.0.0/33",
        "*",
        "a b",
        "*.",
        "http://x",
        "host:80",
        "1.2.3",
        "-,/",
    ] {
        assert!(wrong.parse::<AllowList>().is_err(), "{wrong:?}");
    }
}

/// The name itself is not refused here, since a network is allowed; what it resolves to is.
#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_resolves_to() {
    let server = Server::start(Router::new(), Limits::default()).await;
    let url = format!("http://localhost:{}/", server.address.port());

    let error = client("10.0.0.0/8")
        .get(&url)
        .unwrap()
        .send()
        .await
        .unwrap_err();
    let refused = refusal(&error).expect("the guard stopped it");
    assert!(matches!(refused, GuardError::Resolved { host } if host == "localhost"));

    for allow in ["127.0.0.0/8", "localhost"] {
        let answer = client(allow).get(&url).unwrap().send().await.unwrap();
        assert_eq!(answer.status(), 404, "{allow}");
    }
}

#[tokio::test]
async fn redirects_are_answers_like_any_other() {
    let target = "http://169.254.169.254/latest/meta-data/";
    let router = Router::new().route("/", get(move || async move { Redirect::to(target) }));
    let server = Server::start(router, Limits::default()).await;
    let trusted = HttpClient::trusted(Timeouts::default()).unwrap();
    for client in [client("127.0.0.1/32"), trusted] {
        let answer = client.get(server.url("/")).unwrap().send().await.unwrap();
        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["location"], target);
    }
}

#[tokio::test]
async fn bodies_are_read_up_to_the_limit() {
    let chunks = || stream::iter(["01234", "56789"].map(Ok::<_, std::io::Error>));
    let router = Router::new()
        .route("/declared", get(|| async { "0123456789" }))
        .route(
            "/chunked",
            get(move || async move { Body::from_stream(chunks()) }),
        );
    let server = Server::start(router, Limits::default()).await;
    let client = client("127.0.0.1/32");
    for path in ["/declared", "/chunked"] {
        for (limit, fits) in [(10, true), (9, false), (0, false)] {
            let answer = client.get(server.url(path)).unwrap().send().await.unwrap();
            match read_capped(answer, limit).await {
                Ok(body) => assert!(fits && body == "0123456789", "{path} {limit}"),
                Err(ReadError::TooLarge { limit: named, .. }) => {
                    assert!(!fits && named == limit, "{path} {limit}");
                }
                Err(other) => panic!("{path} {limit}: {other}"),
            }
        }
    }
}
