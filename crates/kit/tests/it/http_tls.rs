//! The same server over TLS, and a certificate that is replaced while it runs.

use std::{path::Path, time::Duration};

use axum::{Router, routing::get};
use tocsin_kit::http_server::{Limits, Tls, TlsError, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, within};

/// Self-signed, for localhost, until 2126.
const FIRST: &str = include_str!("../tls/first.crt");
const FIRST_KEY: &str = include_str!("../tls/first.key");
const SECOND: &str = include_str!("../tls/second.crt");
const SECOND_KEY: &str = include_str!("../tls/second.key");

/// A folder of its own for the files, which goes with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tocsin-tls-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, certificate: &str, key: &str) -> TlsFiles {
        let files = TlsFiles {
            certificate: self.0.join("tls.crt"),
            key: self.0.join("tls.key"),
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

/// A client that trusts one certificate, with a connection of its own.
async fn ask(server: &Server, trusted: &str) -> Result<(http::Version, String), reqwest::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client that trusts one certificate"
    )]
    let client = {
        tocsin_kit::http_client::install_crypto_provider();
        let root = reqwest::Certificate::from_pem(trusted.as_bytes())?;
        reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .build()?
    };
    let url = format!("https://localhost:{}/", server.address.port());
    let answer = client.get(url).send().await?;
    Ok((answer.version(), answer.text().await?))
}

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    }
}

fn router() -> Router {
    Router::new().route("/", get(|| async { "done" }))
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart() {
    let folder = Folder::new("renewed");
    let tls = Tls::load(folder.write(FIRST, FIRST_KEY)).unwrap();
    let server = Server::start_tls(router(), limits(), tls.clone()).await;
    let (version, text) = ask(&server, FIRST).await.unwrap();
    assert_eq!((version, text.as_str()), (http::Version::HTTP_2, "done"));
    assert!(ask(&server, SECOND).await.is_err());

    assert!(!tls.reload().unwrap(), "nothing changed");
    // Halfway through a renewal: the one that works stays.
    folder.write(SECOND, FIRST_KEY);
    assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
    ask(&server, FIRST).await.unwrap();
    folder.write(SECOND, SECOND_KEY);
    assert!(tls.reload().unwrap());
    ask(&server, SECOND).await.unwrap();
    assert!(ask(&server, FIRST).await.is_err());
    server.stop.trigger_soft();
    server.ended().await;
}

/// Who does not speak TLS, or does not go on, is gone within the header timeout; others are served meanwhile.
#[tokio::test]
async fn a_peer_without_a_handshake_is_cut_off() {
    let folder = Folder::new("slow");
    let tls = Tls::load(folder.write(FIRST, FIRST_KEY)).unwrap();
    let server = Server::start_tls(router(), limits(), tls).await;
    // Nothing; the start of a handshake; HTTP in the clear.
    let begun: [&[u8]; 3] = [
        b"",
        b"\x16\x03\x01\x02",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    for begun in begun {
        let mut stream = server.connect().await;
        stream.write_all(begun).await.unwrap();
        ask(&server, FIRST).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _either = within(stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    server.stop.trigger_soft();
    server.ended().await;
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let folder = Folder::new("broken");
    for (certificate, key, expected) in [
        (
            "",
            FIRST_KEY,
            "tls.crt is not a PEM file with a certificate",
        ),
        (
            FIRST_KEY,
            FIRST_KEY,
            "tls.crt is not a PEM file with a certificate",
        ),
        (FIRST, "", "tls.key is not a PEM file with a private key"),
        (
            FIRST,
            SECOND,
            "tls.key is not a PEM file with a private key",
        ),
        (FIRST, SECOND_KEY, "do they belong together?"),
    ] {
        let error = Tls::load(folder.write(certificate, key)).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    let files = TlsFiles {
        certificate: Path::new("/nowhere/tls.crt").to_owned(),
        key: Path::new("/nowhere/tls.key").to_owned(),
    };
    let error = Tls::load(files).unwrap_err();
    assert!(
        error.to_string().starts_with("read /nowhere/tls.crt"),
        "{error}"
    );
}
