//! No peer can hold the server up, and shutdown loses nothing that it need not.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, routing::get, routing::post};
use tocsin_kit::http_server::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
};

use crate::support::{Server, body, read_to_end, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// A router whose requests say when they have begun, and end when told to.
fn gated() -> (Router, mpsc::Receiver<()>, Arc<Notify>) {
    let (begun, begins) = mpsc::channel(16);
    let gate = Arc::new(Notify::new());
    let open = Arc::clone(&gate);
    let router = Router::new().route(
        "/",
        get(move || async move {
            begun.send(()).await.unwrap();
            gate.notified().await;
            "done"
        }),
    );
    (router, begins, open)
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_headers_is_cut_off() {
    let limits = Limits {
        header_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(Router::new(), limits).await;
    for begun in [
        "",             // never says which version it speaks
        "P",            // may yet become HTTP/2's preface
        "PRI * HTTP/2", // so may this
        "POST /webhooks HTTP/1.1\r\nhost: x\r\nx-slow: ",
        // A whole request, then an idle connection.
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let finished = begun.ends_with("\r\n\r\n");
        assert_eq!(
            answer.contains("404 Not Found"),
            finished,
            "{begun:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let limits = Limits {
        max_body: Some(10),
        ..Limits::default()
    };
    let router = Router::new().route("/", post(|body: Bytes| async move { body }));
    let server = Server::start(router, limits).await;
    let request = |rest: &str| format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{rest}");
    for (rest, accepted) in [
        ("content-length: 10\r\n\r\n0123456789", true),
        (
            "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
            true,
        ),
        // Refused before any of it is sent.
        ("content-length: 11\r\n\r\n", false),
        (
            "transfer-encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n678901\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let answer = server.exchange(&request(rest)).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200 OK"),
            accepted,
            "{rest:?}: {answer}"
        );
        if !accepted {
            assert!(answer.starts_with("HTTP/1.1 413"), "{rest:?}: {answer}");
            let problem = body(&answer);
            assert_eq!(problem["code"], "too_large");
            let detail = problem["detail"].as_str().expect("detail");
            assert!(detail.contains("10 bytes"), "{detail}");
        }
    }
}

#[tokio::test]
async fn our_body_limit_counts_also_above_the_frameworks_own() {
    let limits = Limits {
        max_body: Some(3 << 20),
        ..Limits::default()
    };
    let router = Router::new().route(
        "/",
        post(|body: Bytes| async move { body.len().to_string() }),
    );
    let server = Server::start(router, limits).await;
    let length = 3 << 20;
    let head =
        format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}");
    let answer = server
        .exchange(&format!("{head}\r\n\r\n{}", "x".repeat(length)))
        .await;
    assert!(answer.ends_with("3145728"), "{answer}");
}

#[tokio::test]
async fn more_requests_than_the_limit_are_shed_and_told_when_to_return() {
    let (router, mut begins, open) = gated();
    let limits = Limits {
        max_in_flight: Some(1),
        ..Limits::default()
    };
    let server = Server::start(router, limits).await;
    let mut first = server.connect().await;
    first.write_all(GET.as_bytes()).await.unwrap();
    within(begins.recv()).await.unwrap();

    let shed = server.exchange(GET).await;
    assert!(shed.starts_with("HTTP/1.1 503"), "{shed}");
    assert!(shed.contains("retry-after: 1\r\n"), "{shed}");
    assert_eq!(body(&shed)["code"], "overloaded");

    open.notify_one();
    assert!(read_to_end(&mut first).await.ends_with("done"));
    open.notify_one();
    assert!(
        server.exchange(GET).await.ends_with("done"),
        "there is room again"
    );
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_room() {
    let limits = Limits {
        max_connections: 1,
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(Router::new(), limits).await;
    let mut idle = server.connect().await;
    let mut waiting = server.connect().await;
    waiting.write_all(GET.as_bytes()).await.unwrap();
    // The second is answered only once the first has been cut off.
    let answer = read_to_end(&mut waiting).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let mut byte = [0];
    assert_eq!(
        idle.try_read(&mut byte).unwrap(),
        0,
        "the first is closed by then"
    );
    assert_eq!(idle.read(&mut byte).await.unwrap(), 0);
}

fn http2_client() -> reqwest::Client {
    #[expect(clippy::disallowed_methods, reason = "a client that insists on HTTP/2")]
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    client.build().unwrap()
}

/// Its client answers every PING, and would keep the connection for a minute and a half.
#[tokio::test]
async fn an_idle_http2_connection_is_closed_and_one_with_an_open_stream_is_not() {
    let (router, mut begins, open) = gated();
    let limits = Limits {
        max_connections: 2,
        header_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(router, limits).await;
    let (busy, url) = (http2_client(), server.url("/"));
    let asking = async {
        let answer = busy.get(&url).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let idling = async {
        within(begins.recv()).await.unwrap();
        let mut idle = Vec::new();
        // Beside the first there is room for one connection: each is there because the one before was closed.
        for _ in 0..4 {
            let client = http2_client();
            let answer = within(client.get(server.url("/none")).send()).await;
            assert_eq!(answer.unwrap().version(), http::Version::HTTP_2);
            idle.push(client);
        }
        open.notify_one();
    };
    let (answer, ()) = tokio::join!(within(asking), idling);
    assert_eq!(answer, "done");
}

#[tokio::test]
async fn a_request_over_its_time_is_answered_503() {
    let (router, _begins, _open) = gated();
    let limits = Limits {
        request_timeout: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let server = Server::start(router, limits).await;
    let answer = server.exchange(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(body(&answer)["code"], "request_timeout");
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (router, mut begins, open) = gated();
    let server = Server::start(router, Limits::default()).await;
    let mut stream = server.connect().await;
    // Without `connection: close`: the server closes because it stops.
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    within(begins.recv()).await.unwrap();

    server.stop.trigger_soft();
    server.refuses().await;
    open.notify_one();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_soft_stop_serves_a_request_that_is_on_its_way() {
    let router = Router::new().route("/", get(|| async { "done" }));
    let server = Server::start(router, Limits::default()).await;
    // Blocking, so that the server cannot accept it before it is told to stop.
    let stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    server.stop.trigger_soft();
    server.refuses().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("done"));
    server.ended().await;
}

/// A load balancer that hears at `/ready` that the process stops may take its time to act on it.
#[tokio::test]
async fn a_stopping_server_takes_connections_until_its_close_delay_is_over() {
    let router = Router::new().route("/", get(|| async { "done" }));
    let limits = Limits {
        close_delay: Duration::from_secs(3600),
        ..Limits::default()
    };
    let server = Server::start(router, limits).await;
    server.stop.trigger_soft();
    for _ in 0..3 {
        assert!(server.exchange(GET).await.ends_with("done"));
    }
    server.stop.trigger_hard();
    server.refuses().await;
    server.ended().await;
}

#[tokio::test]
async fn a_hard_stop_drops_what_is_in_flight() {
    let (router, mut begins, _open) = gated();
    let server = Server::start(router, Limits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    within(begins.recv()).await.unwrap();
    server.stop.trigger_hard();
    assert_eq!(read_to_end(&mut stream).await, "");
    server.ended().await;
}
