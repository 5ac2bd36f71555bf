//! The NATS protocol over a socket, with the operator's user key: sends what no client of ours
//! would sign, and reads streams without creating consumers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use bytes::Bytes;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long the server may stay silent within an answer.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Where answers arrive.
const INBOX: &str = "_INBOX_operator.raw";

/// One connection; not shared.
#[derive(Debug)]
pub struct RawNats {
    writer: OwnedWriteHalf,
    reader: BufReader<OwnedReadHalf>,
    requests: u64,
}

/// What the server delivered.
#[derive(Debug, Clone)]
pub struct RawMessage {
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// Status of an answer without a message: 204, 404, 503.
    pub status: Option<u16>,
    /// Payload.
    pub payload: Bytes,
}

impl RawMessage {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| value.as_str())
    }
}

impl RawNats {
    /// Connects with the seed of a NATS user key.
    ///
    /// # Errors
    /// When the server is not there or refuses the key.
    pub async fn connect(address: SocketAddr, seed: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context("connecting to nats-server")?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut raw = Self {
            writer,
            reader: BufReader::new(reader),
            requests: 0,
        };
        let info = raw.line().await?;
        let info: Value =
            serde_json::from_str(info.strip_prefix("INFO ").context("no INFO line")?)?;
        let nonce = info
            .get("nonce")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let key = |error: nkeys::error::Error| anyhow::anyhow!("the user key: {error}");
        let pair = KeyPair::from_seed(seed.trim()).map_err(key)?;
        let signature = pair.sign(nonce.as_bytes()).map_err(key)?;
        let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "lang": "raw", "version": "1",
            "protocol": 1, "nkey": pair.public_key(), "sig": signature,
        });
        let hello = format!("CONNECT {connect}\r\nSUB {INBOX}.> 1\r\nPING\r\n");
        raw.writer.write_all(hello.as_bytes()).await?;
        while raw.line().await? != "PONG" {}
        Ok(raw)
    }

    /// Publishes without waiting for anything but the socket.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let mut block = String::new();
        if !headers.is_empty() {
            block.push_str("NATS/1.0\r\n");
            for (name, value) in headers {
                block.push_str(&format!("{name}: {value}\r\n"));
            }
            block.push_str("\r\n");
        }
        let (verb, sizes) = if headers.is_empty() {
            ("PUB", payload.len().to_string())
        } else {
            (
                "HPUB",
                format!("{} {}", block.len(), block.len() + payload.len()),
            )
        };
        let mut wire = format!("{verb} {subject} {reply} {sizes}\r\n{block}").into_bytes();
        wire.extend_from_slice(payload);
        wire.extend_from_slice(b"\r\n");
        self.writer
            .write_all(&wire)
            .await
            .context("writing to nats-server")
    }

    /// Publishes to a stream; the sequence under which it was stored.
    ///
    /// # Errors
    /// When the stream refuses or the connection is gone.
    pub async fn store(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> anyhow::Result<u64> {
        let reply = self.inbox();
        self.publish(subject, &reply, headers, payload).await?;
        let (_, answer) = self.message().await?;
        let answer: Value =
            serde_json::from_slice(&answer.payload).context("no acknowledgement: no stream?")?;
        let sequence = answer.get("seq").and_then(Value::as_u64);
        sequence.with_context(|| format!("{subject} was not stored: {answer}"))
    }

    /// Asks, and takes the answers until one has a status: that one is the last.
    ///
    /// # Errors
    /// When the server falls silent or the connection is gone.
    pub async fn ask_many(
        &mut self,
        subject: &str,
        question: &Value,
    ) -> anyhow::Result<Vec<RawMessage>> {
        let reply = self.inbox();
        self.publish(subject, &reply, &[], question.to_string().as_bytes())
            .await?;
        let mut answers = Vec::new();
        loop {
            let (to, answer) = self.message().await?;
            // A late answer to an earlier question.
            if to != reply {
                continue;
            }
            let is_last = answer.status.is_some();
            answers.push(answer);
            if is_last {
                return Ok(answers);
            }
        }
    }

    /// Asks once for JSON; without words for null.
    ///
    /// # Errors
    /// When there is no answer or it is no JSON.
    pub async fn ask(&mut self, subject: &str, question: &Value) -> anyhow::Result<Value> {
        let reply = self.inbox();
        let question = match question {
            Value::Null => String::new(),
            question => question.to_string(),
        };
        self.publish(subject, &reply, &[], question.as_bytes())
            .await?;
        loop {
            let (to, answer) = self.message().await?;
            if to == reply {
                ensure!(
                    answer.status.is_none(),
                    "{subject}: status {:?}",
                    answer.status
                );
                return serde_json::from_slice(&answer.payload).context("the answer is no JSON");
            }
        }
    }

    fn inbox(&mut self) -> String {
        self.requests += 1;
        format!("{INBOX}.{}", self.requests)
    }

    async fn message(&mut self) -> anyhow::Result<(String, RawMessage)> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.writer.write_all(b"PONG\r\n").await?,
                ["MSG", subject, _, .., bytes] => {
                    let payload = self.block(bytes.parse()?).await?;
                    let message = RawMessage {
                        headers: Vec::new(),
                        status: None,
                        payload,
                    };
                    return Ok(((*subject).to_owned(), message));
                }
                ["HMSG", subject, _, .., head, total] => {
                    let (head, total): (usize, usize) = (head.parse()?, total.parse()?);
                    let mut block = self.block(total).await?;
                    ensure!(head <= total, "impossible sizes: {line}");
                    let (headers, status) =
                        headers(&String::from_utf8_lossy(&block.split_to(head)));
                    let message = RawMessage {
                        headers,
                        status,
                        payload: block,
                    };
                    return Ok(((*subject).to_owned(), message));
                }
                _ => {}
            }
        }
    }

    /// A payload and its line end.
    async fn block(&mut self, bytes: usize) -> anyhow::Result<Bytes> {
        let mut block = vec![0; bytes + 2];
        let read = self.reader.read_exact(&mut block);
        tokio::time::timeout(READ_LIMIT, read)
            .await
            .context("nats-server is silent")??;
        block.truncate(bytes);
        Ok(block.into())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        let bytes = tokio::time::timeout(READ_LIMIT, read)
            .await
            .context("nats-server is silent")??;
        ensure!(bytes > 0, "nats-server closed the connection");
        if line.starts_with("-ERR") {
            bail!("nats-server: {}", line.trim_end());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn headers(block: &str) -> (Vec<(String, String)>, Option<u16>) {
    let mut lines = block.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok());
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    (lines.filter_map(pair).collect(), status)
}
