//! Who besieges ingress, beside those with bad signatures, which are a [`crate::load::Load`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// How often a slow peer sends a byte.
const DRIP: Duration = Duration::from_secs(1);
/// How often a sender of large bodies begins a new one.
const LARGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long one may take: ingress gives up after 2 s.
const LARGE_LIMIT: Duration = Duration::from_secs(20);
/// How long after a refused connection the next is tried.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// A body that is far too large, and the pieces that it is written in.
const LARGE_BYTES: usize = 64 << 20;
const PIECE: &[u8] = &[b' '; 64 << 10];

/// Headers that never end.
const SLOW_HEADERS: &[u8] = b"POST /webhooks/github HTTP/1.1\r\nHost: ingress\r\nX-Slow: ";
/// A body that never ends, of the largest size that is taken.
const SLOW_BODY: &[u8] =
    b"POST /webhooks/github HTTP/1.1\r\nHost: ingress\r\nContent-Length: 1048576\r\n\r\n{";

/// How the connections of attackers ended.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_status: BTreeMap<u16, u64>,
    /// Closed without an answer.
    cut_off: u64,
}

impl Answers {
    #[cfg(test)]
    pub(super) fn of(by_status: &[(u16, u64)], cut_off: u64) -> Self {
        Self {
            by_status: by_status.iter().copied().collect(),
            cut_off,
        }
    }

    /// Answers of 2xx.
    pub(super) fn accepted(&self) -> u64 {
        self.by_status.range(200..300).map(|(_, count)| count).sum()
    }

    /// Connections that ingress ended.
    pub(super) fn ended(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.cut_off
    }

    fn add(&mut self, answer: &[u8]) {
        match status(answer) {
            Some(status) => *self.by_status.entry(status).or_default() += 1,
            None => self.cut_off += 1,
        }
    }

    fn sum(all: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for one in all {
            for (status, count) in one.by_status {
                *sum.by_status.entry(status).or_default() += count;
            }
            sum.cut_off += one.cut_off;
        }
        sum
    }
}

impl std::fmt::Display for Answers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (status, count) in &self.by_status {
            write!(formatter, "{count} answered {status}, ")?;
        }
        write!(formatter, "{} cut off", self.cut_off)
    }
}

/// Of `HTTP/1.1 <status> …`.
fn status(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Peers that send one byte a second: half of them in their headers, half in their body. Who is cut off
/// comes again at once.
#[derive(Debug, Default)]
pub(super) struct SlowPeers {
    open: Cell<usize>,
    most_open: Cell<usize>,
}

impl SlowPeers {
    pub(super) fn most_open(&self) -> usize {
        self.most_open.get()
    }

    /// Holds `count` connections until then. What is still open at the end counts as no answer.
    pub(super) async fn hold(&self, target: SocketAddr, count: usize, until: Instant) -> Answers {
        let peers = (0..count).map(|number| {
            let begin = if number % 2 == 0 {
                SLOW_HEADERS
            } else {
                SLOW_BODY
            };
            self.one(target, begin, until)
        });
        Answers::sum(join_all(peers).await)
    }

    async fn one(&self, target: SocketAddr, begin: &[u8], until: Instant) -> Answers {
        let mut answers = Answers::default();
        while let Some(mut stream) = connect(target, until).await {
            self.open.set(self.open.get() + 1);
            self.most_open
                .set(self.most_open.get().max(self.open.get()));
            let ended = drip(&mut stream, begin, until).await;
            self.open.set(self.open.get() - 1);
            if let Some(answer) = ended {
                answers.add(&answer);
            }
        }
        answers
    }
}

/// What was answered when the connection was closed; `None` when it is still open at the end.
async fn drip(stream: &mut TcpStream, begin: &[u8], until: Instant) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let (mut reading, mut writing) = stream.split();
    let closed = reading.read_to_end(&mut answer);
    let dripping = async {
        let mut sent = writing.write_all(begin).await;
        while sent.is_ok() {
            sleep(DRIP).await;
            sent = writing.write_all(b"x").await;
        }
        // Nothing can be sent any more, and what was answered is still to be read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _either_end = closed => Some(answer),
        () = dripping => None,
        () = sleep_until(until) => None,
    }
}

/// Bodies of 64 MiB from `count` senders, each with a new one every second until then; one half says so
/// beforehand, the other sends chunks.
pub(super) async fn too_large(target: SocketAddr, count: usize, until: Instant) -> Answers {
    let senders = (0..count).map(|number| async move {
        let mut answers = Answers::default();
        let mut next = Instant::now();
        while let Some(stream) = connect(target, until).await {
            answers.add(&pour(stream, number % 2 == 0).await);
            next += LARGE_INTERVAL;
            sleep_until(next.min(until)).await;
        }
        answers
    });
    Answers::sum(join_all(senders).await)
}

/// What was answered by the time the connection was closed.
async fn pour(mut stream: TcpStream, declared: bool) -> Vec<u8> {
    let framing = if declared {
        format!("Content-Length: {LARGE_BYTES}")
    } else {
        "Transfer-Encoding: chunked".to_owned()
    };
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: ingress\r\nConnection: close\r\n{framing}\r\n\r\n"
    );
    let mut answer = Vec::new();
    let (mut reading, mut writing) = stream.split();
    let closed = reading.read_to_end(&mut answer);
    let pouring = async {
        writing.write_all(head.as_bytes()).await?;
        for _ in 0..LARGE_BYTES / PIECE.len() {
            if !declared {
                let size = format!("{:x}\r\n", PIECE.len());
                writing.write_all(size.as_bytes()).await?;
            }
            writing.write_all(PIECE).await?;
            if !declared {
                writing.write_all(b"\r\n").await?;
            }
        }
        std::io::Result::Ok(())
    };
    // Whether all of it was taken or not: what counts is the answer.
    let _taken = timeout(LARGE_LIMIT, async { tokio::join!(pouring, closed) }).await;
    answer
}

/// `None` when the time is over. A connection that is refused or reset is tried again.
async fn connect(target: SocketAddr, until: Instant) -> Option<TcpStream> {
    while Instant::now() < until {
        if let Ok(stream) = timeout_at(until, TcpStream::connect(target)).await.ok()? {
            return Some(stream);
        }
        sleep(CONNECT_PAUSE).await;
    }
    None
}
