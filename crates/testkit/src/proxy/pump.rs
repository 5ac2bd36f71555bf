//! One direction of one connection.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Weather;

/// One read from the socket.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way while they are delayed or stalled (4 MiB at most); then the sender feels back pressure.
const CHUNKS_UNDER_WAY: usize = 256;

pub(super) struct Pump<'a> {
    pub(super) weather: watch::Receiver<Weather>,
    pub(super) stalled: fn(&Weather) -> bool,
    pub(super) bytes: &'a AtomicU64,
}

impl Pump<'_> {
    /// Copies until the reading side ends, then closes the writing side; delays do not reduce throughput.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) {
        let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
        tokio::join!(
            read(from, sender, self.weather.clone()),
            self.write(to, receiver)
        );
    }

    async fn write(mut self, mut to: WriteHalf<'_>, mut chunks: mpsc::Receiver<(Instant, Bytes)>) {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            if self
                .weather
                .wait_for(|weather| !(self.stalled)(weather))
                .await
                .is_err()
            {
                return;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
            self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        // The other side may have gone already; then there is nobody to tell.
        let _closed = to.shutdown().await;
    }
}

async fn read(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    weather: watch::Receiver<Weather>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        if !from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            return;
        }
        let due = Instant::now() + weather.borrow().delay;
        if chunks.send((due, buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}
