//! Requests that a proxy in front of us may read in another way than we do. Whatever we make of one, what
//! hides in it never becomes a request of its own: it is refused, or taken once and the connection closed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes};
use http::Uri;
use tocsin_kit::http_server::Limits;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, read_to_end, within};

/// What must never reach a handler.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
const EMPTY_CHUNKED: &str = "0\r\n\r\n";

enum Expected {
    /// 400 before a handler hears of it.
    Refused,
    /// One request with that body, and no second one on the connection.
    Once(&'static str),
}
use Expected::{Once, Refused};

/// Refused: headers before a body of five bytes.
const LENGTHS: [(&str, &str); 11] = [
    ("two lengths", "content-length: 5\r\ncontent-length: 0\r\n"),
    ("a list of lengths", "content-length: 5, 5\r\n"),
    ("a negative length", "content-length: -5\r\n"),
    ("a length with a sign", "content-length: +5\r\n"),
    ("a length in hex", "content-length: 0x5\r\n"),
    (
        "a length beyond counting",
        "content-length: 18446744073709551621\r\n",
    ),
    ("a space before the colon", "content-length : 5\r\n"),
    ("a header without a name", ": 5\r\n"),
    ("NUL in a name", "content\0-length: 5\r\n"),
    ("NUL in a value", "x: a\0b\r\ncontent-length: 5\r\n"),
    ("a bare CR in a value", "x: a\rcontent-length: 5\r\n"),
];

/// Refused: headers before an empty body in chunks.
const CODINGS: [(&str, &str); 9] = [
    ("a tab before the colon", "transfer-encoding\t: chunked\r\n"),
    (
        "a folded header",
        "x-folded: a\r\n transfer-encoding: chunked\r\n",
    ),
    ("a folded value", "transfer-encoding:\r\n chunked\r\n"),
    ("unknown coding", "transfer-encoding: xchunked\r\n"),
    (
        "chunked is not last",
        "transfer-encoding: chunked, identity\r\n",
    ),
    ("quoted", "transfer-encoding: \"chunked\"\r\n"),
    ("vertical tab", "transfer-encoding: \u{b}chunked\r\n"),
    ("parameter", "transfer-encoding: chunked;a=b\r\n"),
    ("empty", "transfer-encoding: \r\n"),
];

/// Name, a request, and what comes of it. `HIDDEN` follows.
fn corpus() -> Vec<(&'static str, String, Expected)> {
    let post = |headers: &str| format!("POST / HTTP/1.1\r\nhost: x\r\n{headers}");
    let chunked = |headers: &str| post(&format!("{headers}\r\n{EMPTY_CHUNKED}"));
    let length = |headers: &str| post(&format!("{headers}\r\n01234"));
    let old = chunked("transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0");
    // Chunked counts, as RFC 9112 6.1 has it, and then the connection ends.
    let length_first = chunked("content-length: 5\r\ntransfer-encoding: chunked\r\n");
    let length_last = chunked("transfer-encoding: chunked\r\ncontent-length: 5\r\n");
    let mut all = vec![
        ("length, chunked", length_first, Once("")),
        ("chunked, length", length_last, Once("")),
        ("chunked in HTTP/1.0", old, Refused),
    ];
    all.extend(LENGTHS.map(|(name, headers)| (name, length(headers), Refused)));
    all.extend(CODINGS.map(|(name, headers)| (name, chunked(headers), Refused)));
    all
}

/// Bodies whose chunks are not what they should be: the request is taken, its body is not.
const CHUNKS: [(&str, &str); 8] = [
    ("no number", "z\r\n"),
    ("a sign", "+1\r\na\r\n0\r\n\r\n"),
    ("a prefix", "0x1\r\na\r\n0\r\n\r\n"),
    ("a size beyond counting", "fffffffffffffffff\r\n"),
    ("no end of line after the data", "1\r\nab\r\n0\r\n\r\n"),
    ("a bare LF after the size", "1\na\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"),
    ("NUL for a size", "\0\r\n\r\n"),
];

struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    async fn server() -> (Server, Self) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let router = Router::new().fallback(move |uri: Uri, body: Bytes| async move {
            let body = String::from_utf8_lossy(&body).into_owned();
            all.lock().unwrap().push(format!("{} {body}", uri.path()));
        });
        // An idle connection ends soon: what was not answered by then never will be.
        let limits = Limits {
            header_timeout: Duration::from_millis(200),
            ..Limits::default()
        };
        (Server::start(router, limits).await, Self(heard))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn exchange(server: &Server, request: &str) -> String {
    let mut stream = server.connect().await;
    within(stream.write_all(request.as_bytes())).await.unwrap();
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn nothing_hides_in_a_request() {
    let (server, heard) = Heard::server().await;
    for (name, request, expected) in corpus() {
        let answer = exchange(&server, &format!("{request}{HIDDEN}")).await;
        let answers = answer.matches("HTTP/1.").count();
        assert!(answers <= 1, "{name}: {answer}");
        match expected {
            Refused => {
                assert_eq!(heard.take(), [""; 0], "{name}: {answer}");
                assert!(answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
            }
            Once(body) => {
                assert_eq!(heard.take(), [format!("/ {body}")], "{name}: {answer}");
                assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_hides_in_chunks() {
    let (server, heard) = Heard::server().await;
    for (name, chunks) in CHUNKS {
        let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(&server, &format!("{head}{chunks}{HIDDEN}")).await;
        assert_eq!(heard.take(), [""; 0], "{name}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{name}: {answer}");
        assert!(!answer.contains(" 200 "), "{name}: {answer}");
    }
}

/// What is unusual and yet of one meaning is taken, each time as one request.
#[tokio::test]
async fn the_unusual_is_taken_once() {
    let (server, heard) = Heard::server().await;
    for (name, request, expected) in [
        (
            "chunk extensions",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0;c\r\n\r\n",
            "/ ok",
        ),
        (
            "trailers",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 50\r\n\r\n",
            "/ ok",
        ),
        (
            "absolute form",
            "POST http://other.example/path HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok",
            "/path ok",
        ),
        (
            "the same length twice",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
            "/ ok",
        ),
        (
            "codings of either case",
            "POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "/ ok",
        ),
        (
            "bare LF",
            "POST / HTTP/1.1\nhost: x\ncontent-length: 2\n\nok",
            "/ ok",
        ),
        (
            "HTTP/2's preface after a request",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nokPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "/ ok",
        ),
    ] {
        let answer = exchange(&server, request).await;
        assert_eq!(heard.take(), [expected], "{name}: {answer}");
    }
    // Two requests that nobody disguised are two.
    let two = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok";
    exchange(&server, &format!("{two}{HIDDEN}")).await;
    assert_eq!(heard.take(), ["/ ok", "/hidden "]);
}
