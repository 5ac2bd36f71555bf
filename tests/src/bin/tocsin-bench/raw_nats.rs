//! The limit: a bare publisher of the same size, with many messages under way, over the NATS
//! protocol itself. No signature, no HTTP, no client library; only what the server needs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use nkeys::KeyPair;
use serde_json::json;
use tokio::time::Instant;

/// Messages without acknowledgement at once: as many as keep the server busy.
const WINDOW: u64 = 256;
/// How long the server may stay silent.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A connected publisher.
pub(crate) struct RawPublisher {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl RawPublisher {
    /// Connects with the seed of a NATS user key.
    pub(crate) fn connect(address: &str, seed: &str) -> anyhow::Result<Self> {
        let writer = TcpStream::connect(address).context("connecting to nats-server")?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(READ_LIMIT))?;
        let mut reader = BufReader::with_capacity(64 * 1024, writer.try_clone()?);
        let mut info = String::new();
        reader.read_line(&mut info)?;
        let info: serde_json::Value =
            serde_json::from_str(info.strip_prefix("INFO ").context("no INFO line")?)?;
        let pair = KeyPair::from_seed(seed).map_err(|error| anyhow::anyhow!("{error}"))?;
        let nonce = info
            .get("nonce")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let signature = pair
            .sign(nonce.as_bytes())
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "lang": "raw", "version": "1",
            "protocol": 1, "nkey": pair.public_key(), "sig": base64url(&signature)
        });
        let mut publisher = Self { writer, reader };
        write!(
            publisher.writer,
            "CONNECT {connect}\r\nSUB _INBOX_raw 1\r\nPING\r\n"
        )?;
        publisher.expect_pong()?;
        Ok(publisher)
    }

    fn expect_pong(&mut self) -> anyhow::Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.trim_end() {
                "PONG" => return Ok(()),
                error if error.starts_with("-ERR") || error.is_empty() => {
                    anyhow::bail!("nats-server refused the publisher: {error}")
                }
                _ => {}
            }
        }
    }

    /// Publishes payloads of `bytes` on `subject` for `duration`; messages a second, all stored.
    pub(crate) fn run(
        &mut self,
        subject: &str,
        bytes: usize,
        duration: Duration,
    ) -> anyhow::Result<f64> {
        let payload = vec![b'x'; bytes];
        let mut message = format!("PUB {subject} _INBOX_raw {bytes}\r\n").into_bytes();
        message.extend_from_slice(&payload);
        message.extend_from_slice(b"\r\n");
        let began = Instant::now();
        let (mut sent, mut stored) = (0_u64, 0_u64);
        while began.elapsed() < duration {
            while sent - stored < WINDOW {
                self.writer.write_all(&message)?;
                sent += 1;
            }
            stored += self.acknowledgement()?;
        }
        while stored < sent {
            stored += self.acknowledgement()?;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of messages are far below 2^53"
        )]
        Ok(stored as f64 / began.elapsed().as_secs_f64())
    }

    /// Reads one line of the protocol; 1 when it was an acknowledgement.
    fn acknowledgement(&mut self) -> anyhow::Result<u64> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.starts_with("PING") {
            self.writer.write_all(b"PONG\r\n")?;
            return Ok(0);
        }
        if line.starts_with("INFO ") {
            return Ok(0);
        }
        anyhow::ensure!(line.starts_with("MSG "), "unexpected: {line}");
        let length: usize = line
            .split_whitespace()
            .last()
            .context("no length")?
            .parse()?;
        let mut body = vec![0; length + 2];
        self.reader.read_exact(&mut body)?;
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(
            !text.contains("\"error\""),
            "the stream refused a message: {text}"
        );
        Ok(1)
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
