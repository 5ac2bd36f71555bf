//! The open-loop load generator. It shares two cores with what it measures, so it is one thread with
//! many connections: a thread per connection would charge a wake-up for each answer to who sends it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::deliveries::Build;
use crate::figures::Latencies;

/// How long one answer may take before the connection is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Room for an answer: the largest that is measured is an effective config of 26 KB.
const ANSWER_BYTES: usize = 64 * 1024;

/// What became of one delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// As [`Build`] counts.
    pub(crate) index: u64,
    /// `None`: nobody was there, or the connection ended before the answer.
    pub(crate) status: Option<u16>,
    /// Whether the sender was told when to come again.
    pub(crate) says_when: bool,
}

/// Hears of every delivery. Whoever listens expects refusals and processes that die: a connection that
/// cannot be made is an answer then, not the end.
pub(crate) type Observe = dyn Fn(Answer) + Send + Sync;

/// What is sent, and how.
pub(crate) struct Load {
    /// Each connection has one of them, in turn.
    pub(crate) targets: Vec<SocketAddr>,
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// Deliveries a second; `None` sends as fast as answers come.
    pub(crate) rate: Option<u64>,
    pub(crate) duration: Duration,
    /// Number of the first delivery.
    pub(crate) first: u64,
    pub(crate) build: Arc<Build>,
    pub(crate) observe: Option<Arc<Observe>>,
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
        anyhow::ensure!(!load.targets.is_empty(), "there is nowhere to send to");
        for target in load.targets.iter().cycle().take(load.connections) {
            streams.push((*target, connect(*target).await?));
        }
        let began = Instant::now();
        let plan = Rc::new(Plan::new(&load, began));
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|(target, stream)| {
                let (load, plan) = (Rc::clone(&load), Rc::clone(&plan));
                tokio::task::spawn_local(async move {
                    let connection = Connection {
                        target,
                        stream: Some(stream),
                        answer: vec![0; ANSWER_BYTES],
                    };
                    load.one_connection(connection, &plan).await
                })
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

    async fn one_connection(
        &self,
        mut connection: Connection,
        plan: &Plan,
    ) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut request = Vec::with_capacity(16 * 1024);
        while let Some((index, intended)) = plan.next().await {
            let index = self.first + index;
            (self.build)(index, &mut request);
            let head = match connection.ask(&request).await {
                Err(error) if self.observe.is_none() => return Err(error),
                head => head.ok().flatten(),
            };
            let status = head.map(|head| head.status);
            match status {
                Some(200) => tally.latencies.push(intended.elapsed()),
                answer => {
                    tally.refused += 1;
                    tally.lost += u64::from(answer.is_none());
                }
            }
            if let Some(observe) = &self.observe {
                let says_when = head.is_some_and(|head| head.says_when);
                observe(Answer {
                    index,
                    status,
                    says_when,
                });
            }
        }
        Ok(tally)
    }
}

/// One connection, made again when it breaks.
struct Connection {
    target: SocketAddr,
    stream: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    /// The head of the answer; `None` when the connection broke.
    ///
    /// # Errors
    /// When nobody listens.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Option<Head>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.target).await?,
        };
        let exchange = exchange(&mut stream, request, &mut self.answer);
        let Ok(Ok(head)) = tokio::time::timeout(ANSWER_LIMIT, exchange).await else {
            return Ok(None);
        };
        self.stream = Some(stream);
        Ok(Some(head))
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

/// What is read of an answer.
#[derive(Clone, Copy)]
struct Head {
    status: u16,
    /// Whether there is a `Retry-After`.
    says_when: bool,
}

/// One request, one answer.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut [u8],
) -> anyhow::Result<Head> {
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
        if let Some(head) = complete(text)? {
            return Ok(head);
        }
    }
}

/// The head, once it and the body are there.
fn complete(text: &[u8]) -> anyhow::Result<Option<Head>> {
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
    let mut names = head.lines().filter_map(|line| line.split_once(':'));
    Ok(Some(Head {
        status: status.parse()?,
        says_when: names.any(|(name, _)| name.eq_ignore_ascii_case("retry-after")),
    }))
}
