//! The open-loop load generator. It shares two cores with what it measures, so it is one thread with
//! many connections: a thread per connection would charge a wake-up for each answer to who sends it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::figures::Latencies;

/// How long one answer may take before the connection is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Room for an answer: the largest that is measured is an effective config of 26 KB.
const ANSWER_BYTES: usize = 64 * 1024;

/// Makes the request number `index` (counted over all runs of a process) into `buffer`.
pub(crate) type Build = dyn Fn(u64, &mut Vec<u8>) + Send + Sync;

/// What is sent, and how.
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// Deliveries a second; `None` sends as fast as answers come.
    pub(crate) rate: Option<u64>,
    pub(crate) duration: Duration,
    /// Number of the first delivery.
    pub(crate) first: u64,
    pub(crate) build: Arc<Build>,
}

/// What came of it.
pub(crate) struct Sent {
    /// From intended time to answer, of what was accepted.
    pub(crate) latencies: Latencies,
    pub(crate) accepted: u64,
    /// Answered with anything but 200, or not at all.
    pub(crate) refused: u64,
    /// Of these, those without an answer.
    pub(crate) lost: u64,
    pub(crate) elapsed: Duration,
}

impl Sent {
    pub(crate) fn per_second(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of deliveries are far below 2^53"
        )]
        let accepted = self.accepted as f64;
        accepted / self.elapsed.as_secs_f64()
    }
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    refused: u64,
    lost: u64,
}

/// What is due may wait for a free connection: seconds of it, a few bytes each.
const WAITING: usize = 100_000;

/// When a delivery is due, and its index.
type Due = (u64, Instant);

impl Load {
    /// Sends until the time is over and every answer is in.
    pub(crate) async fn run(self) -> anyhow::Result<Sent> {
        let blocking = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, self.drive())
        });
        blocking.await?
    }

    async fn drive(self) -> anyhow::Result<Sent> {
        let load = Rc::new(self);
        let mut streams = Vec::with_capacity(load.connections);
        for _ in 0..load.connections {
            streams.push(connect(load.target).await?);
        }
        let began = Instant::now();
        let plan = Rc::new(Plan::new(&load, began));
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let (load, plan) = (Rc::clone(&load), Rc::clone(&plan));
                tokio::task::spawn_local(async move { load.one_connection(stream, &plan).await })
            })
            .collect();
        let mut total = Tally::default();
        for task in tasks {
            let tally = task.await??;
            total.latencies.extend(tally.latencies);
            total.refused += tally.refused;
            total.lost += tally.lost;
        }
        Ok(Sent {
            accepted: u64::try_from(total.latencies.len()).unwrap_or_default(),
            latencies: Latencies::new(total.latencies),
            refused: total.refused,
            lost: total.lost,
            elapsed: began.elapsed(),
        })
    }

    async fn one_connection(&self, mut stream: TcpStream, plan: &Plan) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut request = Vec::with_capacity(16 * 1024);
        let mut answer = vec![0_u8; ANSWER_BYTES];
        while let Some((index, intended)) = plan.next().await {
            (self.build)(self.first + index, &mut request);
            let exchange = exchange(&mut stream, &request, &mut answer);
            match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
                Ok(Ok(200)) => tally.latencies.push(intended.elapsed()),
                Ok(Ok(_)) => tally.refused += 1,
                Ok(Err(_)) | Err(_) => {
                    tally.refused += 1;
                    tally.lost += 1;
                    stream = connect(self.target).await?;
                }
            }
        }
        Ok(tally)
    }
}

/// What is to be sent next.
enum Plan {
    /// Something, until then. It has no intended time but the moment of sending.
    Fast { next: AtomicU64, until: Instant },
    /// What a thread with a precise clock says, when it says so.
    Paced(Mutex<mpsc::Receiver<Due>>),
}

impl Plan {
    fn new(load: &Load, began: Instant) -> Self {
        let Some(rate) = load.rate else {
            return Self::Fast {
                next: AtomicU64::new(0),
                until: began + load.duration,
            };
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let duration = load.duration;
        std::thread::spawn(move || {
            for index in 0.. {
                let offset =
                    Duration::from_nanos(u64::saturating_mul(index, 1_000_000_000) / rate.max(1));
                if offset >= duration {
                    return;
                }
                let due = began + offset;
                sleep_until(due);
                if sender.blocking_send((index, due)).is_err() {
                    return;
                }
            }
        });
        Self::Paced(Mutex::new(receiver))
    }

    async fn next(&self) -> Option<Due> {
        match self {
            Self::Fast { next, until } => {
                let now = Instant::now();
                (now < *until).then(|| (next.fetch_add(1, Ordering::Relaxed), now))
            }
            Self::Paced(due) => due.lock().await.recv().await,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for the moment of sending; the runtime's timer counts in milliseconds"
)]
fn sleep_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}

async fn connect(target: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(target).await;
    let stream = stream.with_context(|| format!("connecting to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request, one answer; the status.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut [u8],
) -> anyhow::Result<u16> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let room = answer.get_mut(filled..).filter(|room| !room.is_empty());
        let read = stream
            .read(room.context("the answer is too large")?)
            .await?;
        anyhow::ensure!(read > 0, "the connection was closed");
        filled += read;
        let text = answer.get(..filled).unwrap_or_default();
        if let Some(status) = complete(text)? {
            return Ok(status);
        }
    }
}

/// The status, once head and body are there.
fn complete(text: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(text.get(..end).unwrap_or_default())?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
    if text.len() < end + 4 + length {
        return Ok(None);
    }
    let status = head.split(' ').nth(1).context("no status line")?;
    Ok(Some(status.parse()?))
}

/// Hex HMAC-SHA256.
pub(crate) fn hex_mac(secret: &str, parts: &[&[u8]]) -> String {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    for part in parts {
        mac.update(part);
    }
    tocsin_wire::signing::hex(&mac.finalize().into_bytes())
}

/// A signed GitHub push of 7 KB; each has its own delivery id, commit and signature.
pub(crate) fn github_push(secret: &'static str) -> Arc<Build> {
    const BODY: &[u8] = include_bytes!("../../../fixtures/webhooks/github/push.json");
    const PLACEHOLDER: &[u8] = b"\"after\": \"";
    let offset = BODY
        .windows(PLACEHOLDER.len())
        .position(|window| window == PLACEHOLDER)
        .map_or(0, |position| position + PLACEHOLDER.len());
    Arc::new(move |index, request| {
        let mut body = BODY.to_vec();
        let commit = format!("{index:040x}");
        if let Some(place) = body.get_mut(offset..offset + commit.len()) {
            place.copy_from_slice(commit.as_bytes());
        }
        let signature = hex_mac(secret, &[&body]);
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/github HTTP/1.1\r\nHost: ingress\r\nContent-Type: application/json\r\n\
                 User-Agent: GitHub-Hookshot/bench\r\nX-GitHub-Event: push\r\n\
                 X-GitHub-Delivery: {index:08x}-0000-4000-8000-{index:012x}\r\n\
                 X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        request.extend_from_slice(&body);
    })
}

/// PagerDuty event id of delivery `index`.
pub(crate) fn pagerduty_event(index: u64) -> String {
    format!("01BENCH{index:019}")
}

/// A signed PagerDuty V3 `incident.triggered` for one of `teams` teams.
pub(crate) fn pagerduty(secret: &'static str, teams: u64) -> Arc<Build> {
    Arc::new(move |index, request| {
        let event = pagerduty_event(index);
        let team = index % teams.max(1);
        let body = format!(
            "{{\"event\":{{\"id\":\"{event}\",\"event_type\":\"incident.triggered\",\"resource_type\":\"incident\",\
             \"occurred_at\":\"2026-01-01T00:00:00Z\",\"agent\":null,\"client\":null,\"data\":{{\"id\":\"Q{index:013}\",\
             \"type\":\"incident\",\"html_url\":\"https://bench.pagerduty.com/incidents/Q{index:013}\",\"number\":{index},\
             \"status\":\"triggered\",\"title\":\"bench incident {index}\",\"service\":{{\"id\":\"PBENCH{team}\",\
             \"summary\":\"bench\",\"type\":\"service_reference\"}},\"urgency\":\"high\",\"priority\":null}}}}}}"
        );
        let signature = hex_mac(secret, &[body.as_bytes()]);
        request.clear();
        request.extend_from_slice(
            format!(
                "POST /webhooks/pagerduty HTTP/1.1\r\nHost: ingress\r\nContent-Type: application/json\r\n\
                 X-PagerDuty-Signature: v1={signature}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
    })
}
