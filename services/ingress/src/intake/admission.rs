//! Whether a delivery is within the limits, and what becomes of one that is not.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tocsin_bus::PublishError;
use tocsin_wire::InvalidToken;
use tocsin_wire::limits::MAX_INLINE_BODY_BYTES;
use tocsin_wire::rate::{self, RateTier};
use tokio::time::Instant;

use super::{Incoming, Intake};
use crate::error::Rejection;
use crate::limits::{self, Counted, Room, Window};
use crate::normalize::Malformed;
use crate::provider::Throttled;
use crate::publish::BUS_TIMEOUT;
use crate::source::Source;

/// Bytes that one place among the deferred deliveries of a source is for: most webhooks are smaller, and
/// twenty thousand places of them are a third of what the stream holds for everybody.
const PLACE_BYTES: usize = 16 * 1024;

/// Whether a delivery is within the limits.
pub(super) enum Admission {
    Now,
    /// Over them, and the sender will not come again.
    Deferred(Timestamp),
}

impl Intake {
    /// What becomes of a delivery whose window is known to be full, before anything of it is read; without a bus
    /// none is.
    pub(super) async fn admit_unread(
        &self,
        source: &Source,
        incoming: Incoming<'_>,
        windows: &[Arc<Window>],
        now: Timestamp,
    ) -> Result<Option<Admission>, Rejection> {
        self.publisher.bus()?;
        let Some(tier) = limits::known_full(windows) else {
            return Ok(None);
        };
        let (bytes, until) = (incoming.body.len(), Instant::now() + BUS_TIMEOUT);
        let over = Box::pin(self.over_limit(source, tier, bytes, (now, until)));
        over.await.map(Some)
    }

    /// Asks the windows, all within [`BUS_TIMEOUT`]. A batch counts as the events that it holds, and is taken or
    /// refused as a whole.
    pub(super) async fn admit(
        &self,
        source: &Source,
        incoming: Incoming<'_>,
        (windows, events): (&[Arc<Window>], usize),
        now: Timestamp,
    ) -> Result<Admission, Rejection> {
        let bus = self.publisher.bus()?;
        let deliveries = u32::try_from(events.max(1)).unwrap_or(u32::MAX);
        if let Some(limit) = windows.iter().map(|window| window.tier.limit).min()
            && deliveries > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            return Err(Rejection::Malformed(Malformed::Batch { limit }));
        }
        let until = Instant::now() + BUS_TIMEOUT;
        let admitted = match limits::decide(windows, deliveries) {
            Some(decided) => {
                self.limits.renew(bus, windows);
                decided
            }
            // Boxed: a few times a second.
            None if deliveries == 1 => Box::pin(answered(until, limits::ask(bus, windows))).await?,
            None => {
                let asking = limits::ask_together(bus, windows, deliveries);
                Box::pin(answered(until, asking)).await?
            }
        };
        match admitted {
            Ok(()) => Ok(Admission::Now),
            Err(tier) => {
                let bytes = incoming.body.len();
                Box::pin(self.over_limit(source, tier, bytes, (now, until))).await
            }
        }
    }

    /// What its provider hears. A sender that never tries again is not turned away, unless there is no
    /// room to put its deliveries aside either.
    async fn over_limit(
        &self,
        source: &Source,
        tier: &RateTier,
        bytes: usize,
        (now, until): (Timestamp, Instant),
    ) -> Result<Admission, Rejection> {
        let throttled = source.provider.throttled;
        if throttled != Throttled::Deferred {
            return Err(Rejection::Limited(throttled));
        }
        let bus = self.publisher.bus()?;
        let window = self
            .limits
            .window(
                rate::DEFERRALS,
                Counted::Source(Arc::clone(&source.figures_id)),
            )
            .map_err(Rejection::Subject)?;
        // Here a lease may end a moment early: a window of ten minutes bounds what we hold, no more.
        for _ in 0..weight(bytes) {
            if answered(until, window.admits(bus)).await? == Room::Full {
                return Err(Rejection::Limited(throttled));
            }
        }
        let slot = source.slot(tier, now);
        slot.map(Admission::Deferred)
            .ok_or(Rejection::Limited(throttled))
    }

    /// The windows that a delivery counts in: of the source, of its org, and of the sender's address.
    pub(super) fn windows(
        &self,
        source: &Source,
        sender: Option<IpAddr>,
    ) -> Result<Vec<Arc<Window>>, InvalidToken> {
        let limits = &self.limits;
        let mut windows = Vec::with_capacity(3);
        let counted = Counted::Source(Arc::clone(&source.figures_id));
        windows.push(limits.window(source.tier, counted)?);
        if !source.org.is_empty() {
            let counted = Counted::Org(Arc::clone(&source.org));
            windows.push(limits.window(limits.shared.org, counted)?);
        }
        if let Some(sender) = sender {
            windows.push(limits.window(limits.shared.address, Counted::Address(sender))?);
        }
        Ok(windows)
    }
}

/// Places that a deferred delivery takes; of a large body its event has only the name.
fn weight(bytes: usize) -> usize {
    let carried = if bytes > MAX_INLINE_BODY_BYTES {
        0
    } else {
        bytes
    };
    1 + carried / PLACE_BYTES
}

/// What the bus says about a window, if it does so by then.
async fn answered<T>(
    until: Instant,
    asking: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, Rejection> {
    let limit = BUS_TIMEOUT;
    tokio::time::timeout_at(until, asking)
        .await
        .map_err(|_elapsed| Rejection::Unacknowledged { limit })?
        .map_err(Rejection::Publish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_event_takes_more_places_and_one_without_its_body_takes_one() {
        let inline = MAX_INLINE_BODY_BYTES;
        for (bytes, places) in [
            (0, 1),
            (7_000, 1),
            (16 << 10, 2),
            (inline, 33),
            (inline + 1, 1),
        ] {
            assert_eq!(weight(bytes), places, "{bytes}");
        }
    }
}
