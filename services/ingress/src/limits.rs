//! Rate limits: leases on the windows that the server counts ([`tocsin_wire::rate`]).
//!
//! A window is asked for at most once per lease and per refusal pause, whoever waits; what lies between is
//! decided here, so a limit of thousands a second costs a few messages a second. While a sender keeps
//! sending, the next lease is asked for before the last has ended, so that few deliveries wait for an answer.

mod lease;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tocsin_bus::{Bus, PublishError};
use tocsin_kit::Tasks;
use tocsin_wire::rate::{self, LEASE, RateTier};
use tocsin_wire::{InvalidToken, KeyToken, Subject, Token};
use tokio::time::Instant;

use self::lease::Lease;
pub(crate) use self::lease::Room;

/// How long a full window is not asked about: its messages leave one by one, and asking for every refused
/// delivery would let a flood reach the bus.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Windows remembered; with more, those that have no lease are forgotten. A source has one, an org, and each
/// address that something genuine comes from.
const MAX_WINDOWS: usize = 20_000;

/// All windows that this process admits by.
pub(crate) struct RateLimits {
    windows: DashMap<WindowKey, Arc<Window>>,
    tasks: Tasks,
    pub(crate) shared: SharedTiers,
}

/// The tiers of those windows that sources share.
#[derive(Clone, Copy)]
pub(crate) struct SharedTiers {
    pub(crate) org: &'static RateTier,
    pub(crate) address: &'static RateTier,
}

/// Which window, without the text that its subject has: it is looked up for every delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WindowKey {
    /// Name of the tier.
    tier: &'static str,
    counted: Counted,
}

/// What a window counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    /// All that a source sends.
    Source(Arc<str>),
    /// All that the sources of an org send.
    Org(Arc<str>),
    /// All that comes from one address, whoever it is for.
    Address(IpAddr),
}

/// One window, as far as this process knows it.
pub(crate) struct Window {
    pub(crate) tier: &'static RateTier,
    subject: Subject,
    lease: Mutex<Lease>,
    /// Held while the bus is asked, so that one asks for all.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl RateLimits {
    /// Knows none yet; leases are renewed on `tasks`.
    pub(crate) fn new(tasks: Tasks, shared: SharedTiers) -> Self {
        Self {
            windows: DashMap::new(),
            tasks,
            shared,
        }
    }

    /// Asks for the next lease of those windows that will soon need it, while their deliveries go on. At
    /// most one question per window is under way. When it fails, the next delivery that must ask hears why.
    pub(crate) fn renew(&self, bus: &Bus, windows: &[Arc<Window>]) {
        let now = Instant::now();
        for window in windows {
            if !window.lock().is_short(window.tier.grain, now) {
                continue;
            }
            if let Ok(one_asks) = Arc::clone(&window.asking).try_lock_owned() {
                let (bus, window) = (bus.clone(), Arc::clone(window));
                self.tasks.spawn_contained("lease", async move {
                    let _one_asks = one_asks;
                    // An answer that comes later is of no use.
                    let answer =
                        tokio::time::timeout(LEASE, window.refill(&bus, |_lease, _now| ())).await;
                    if let Ok(Err(error)) = answer {
                        tracing::debug!(%error, "a lease was not renewed early");
                    }
                    Ok::<_, Infallible>(())
                });
            }
        }
    }

    /// The window of `tier` over what is `counted`.
    ///
    /// # Errors
    /// When that cannot be part of a subject.
    pub(crate) fn window(
        &self,
        tier: &'static RateTier,
        counted: Counted,
    ) -> Result<Arc<Window>, InvalidToken> {
        let key = WindowKey {
            tier: tier.name,
            counted,
        };
        if let Some(window) = self.windows.get(&key) {
            return Ok(Arc::clone(&window));
        }
        if self.windows.len() >= MAX_WINDOWS {
            let now = Instant::now();
            self.windows.retain(|_, window| !window.lock().is_over(now));
        }
        let window = Window {
            tier,
            subject: key.counted.subject(tier)?,
            lease: Mutex::default(),
            asking: Arc::default(),
        };
        let entry = self.windows.entry(key);
        Ok(Arc::clone(&entry.or_insert_with(|| Arc::new(window))))
    }
}

impl Default for SharedTiers {
    fn default() -> Self {
        Self {
            org: rate::DEFAULT,
            address: rate::DEFAULT,
        }
    }
}

impl Counted {
    fn subject(&self, tier: &RateTier) -> Result<Subject, InvalidToken> {
        // Ids of sources are none of these words.
        let (owner, key) = match self {
            Self::Source(id) => (&**id, "source".to_owned()),
            Self::Org(org) => ("org", org.to_string()),
            Self::Address(address) => ("address", address.to_string()),
        };
        Ok(tier.subject(&Token::new(owner)?, &KeyToken::encode(&key)))
    }
}

/// The first of the windows that is known to be full.
pub(crate) fn known_full(windows: &[Arc<Window>]) -> Option<&'static RateTier> {
    let now = Instant::now();
    let is_full = |window: &&Arc<Window>| window.lock().room(1, now) == Some(Room::Full);
    windows.iter().find(is_full).map(|window| window.tier)
}

/// Whether so many more deliveries fit into all of the windows; all of them are counted then, else none. `None`
/// when one of the windows must be asked about.
pub(crate) fn decide(
    windows: &[Arc<Window>],
    deliveries: u32,
) -> Option<Result<(), &'static RateTier>> {
    let now = Instant::now();
    // At once, and by everybody in this order.
    let mut leases: Vec<_> = windows.iter().map(|window| window.lock()).collect();
    for (lease, window) in leases.iter().zip(windows) {
        if lease.room(deliveries, now)? == Room::Full {
            return Some(Err(window.tier));
        }
    }
    for lease in &mut leases {
        lease.decide(deliveries, now)?;
    }
    Some(Ok(()))
}

/// As [`decide`] for one delivery, and asks the bus where it must. A bus so slow that what one window said is over before
/// the last has answered is asked again.
///
/// # Errors
/// When the bus does not say; whether the delivery counts is not known then.
pub(crate) async fn ask(
    bus: &Bus,
    windows: &[Arc<Window>],
) -> Result<Result<(), &'static RateTier>, PublishError> {
    loop {
        prepare(bus, windows).await?;
        let mut earliest: Option<Instant> = None;
        for window in windows {
            match window.admits(bus).await? {
                Room::Until(end) => {
                    earliest = Some(earliest.map_or(end, |earliest| earliest.min(end)));
                }
                Room::Full => return Ok(Err(window.tier)),
            }
        }
        if earliest.is_none_or(|end| Instant::now() < end) {
            return Ok(Ok(()));
        }
    }
}

/// As [`ask`], for a batch: looks whether it fits into each window before it takes of any, since what was taken
/// and not used counts all the same, and the batch would never fit when it comes again. Of replicas that do so at
/// the same moment each may be refused by what the others took; none is admitted beyond the limit.
///
/// # Errors
/// When the bus does not say; whether the deliveries count is not known then.
pub(crate) async fn ask_together(
    bus: &Bus,
    windows: &[Arc<Window>],
    deliveries: u32,
) -> Result<Result<(), &'static RateTier>, PublishError> {
    let mut one_asks = Vec::with_capacity(windows.len());
    // The kinds of windows have one order, so nobody waits here for who waits for it.
    for window in windows {
        one_asks.push(window.asking.lock().await);
    }
    loop {
        if let Some(decided) = decide(windows, deliveries) {
            return Ok(decided);
        }
        let looking = windows.iter().map(|window| window.lacks(bus, deliveries));
        let missing = futures::future::try_join_all(looking).await?;
        let taking = windows.iter().zip(missing).map(|(window, missing)| {
            missing
                .map(|messages| window.take(bus, messages, deliveries))
                .ok_or(window.tier)
        });
        match taking.collect::<Result<Vec<_>, _>>() {
            Ok(taking) => drop(futures::future::try_join_all(taking).await?),
            Err(tier) => return Ok(Err(tier)),
        }
    }
}

/// Asks for the windows that must be asked about and give more than one delivery, all at once: one after
/// another, the first's lease could be over before the last has answered. Nothing is counted yet.
async fn prepare(bus: &Bus, windows: &[Arc<Window>]) -> Result<(), PublishError> {
    let now = Instant::now();
    let mut unknown = Vec::new();
    for window in windows {
        match window.lock().room(1, now) {
            // The delivery is over a limit, whatever the others say.
            Some(Room::Full) => return Ok(()),
            None if window.tier.grain > 1 => unknown.push(window),
            _ => {}
        }
    }
    let asking = unknown.into_iter().map(|window| async move {
        let _one_asks = window.asking.lock().await;
        if window.lock().room(1, Instant::now()).is_none() {
            window.refill(bus, |_lease, _now| ()).await?;
        }
        Ok(())
    });
    futures::future::try_join_all(asking).await.map(drop)
}

impl Window {
    /// Whether one more delivery fits, and until when; it is counted then.
    ///
    /// # Errors
    /// When the bus does not say; whether the delivery counts is not known then.
    pub(crate) async fn admits(&self, bus: &Bus) -> Result<Room, PublishError> {
        loop {
            if let Some(decided) = self.lock().decide(1, Instant::now()) {
                return Ok(decided);
            }
            let _one_asks = self.asking.lock().await;
            if let Some(decided) = self.lock().decide(1, Instant::now()) {
                return Ok(decided);
            }
            // Whoever asked comes first. An answer that took longer than a lease admits nobody.
            if let Some(decided) = self.refill(bus, |lease, now| lease.decide(1, now)).await? {
                return Ok(decided);
            }
        }
    }

    /// Asks for a lease; whoever calls it holds `asking`, and has it to itself in `then`. A lease begins with
    /// the question, before the server counts, so that none outlives what the stream holds.
    async fn refill<T>(
        &self,
        bus: &Bus,
        then: impl FnOnce(&mut Lease, Instant) -> T,
    ) -> Result<T, PublishError> {
        let asked = Instant::now();
        let taken = bus.take(&self.subject).await?;
        let (mut lease, now) = (self.lock(), Instant::now());
        if taken {
            lease.extend(self.tier.grain, asked + LEASE, now);
        } else {
            lease.full = Some((1, now + FULL_PAUSE));
        }
        Ok(then(&mut lease, now))
    }

    /// Messages that must be taken before so many deliveries can be admitted; `None` when there is no room for
    /// them.
    async fn lacks(&self, bus: &Bus, deliveries: u32) -> Result<Option<u32>, PublishError> {
        let available = self.lock().available(Instant::now());
        let messages = deliveries
            .saturating_sub(available)
            .div_ceil(self.tier.grain);
        if messages == 0 {
            return Ok(Some(0));
        }
        let taken = bus.taken(&self.subject).await?;
        if taken + u64::from(messages) <= u64::from(self.tier.messages()) {
            return Ok(Some(messages));
        }
        self.lock().full = Some((deliveries, Instant::now() + FULL_PAUSE));
        Ok(None)
    }

    /// Takes so many messages for `deliveries`, as far as there still are as many. As [`Window::refill`], and
    /// with the same right to ask.
    async fn take(&self, bus: &Bus, messages: u32, deliveries: u32) -> Result<(), PublishError> {
        if messages == 0 {
            return Ok(());
        }
        let asked = Instant::now();
        let taking = (0..messages).map(|_| bus.take(&self.subject));
        let taken = futures::future::try_join_all(taking).await?;
        let (mut lease, now) = (self.lock(), Instant::now());
        let gained = taken.iter().map(|taken| u32::from(*taken)).sum::<u32>();
        if gained > 0 {
            lease.extend(gained * self.tier.grain, asked + LEASE, now);
        }
        if gained < messages {
            lease.full = Some((deliveries, now + FULL_PAUSE));
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tocsin_kit::Stop;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_delivery_counts_in_all_windows_or_asks() {
        let limits = RateLimits::new(Tasks::new(Stop::new()), SharedTiers::default());
        let counted = [
            Counted::Source("src_1".into()),
            Counted::Org("acme".into()),
            Counted::Address([192, 0, 2, 1].into()),
        ];
        let windows = counted.map(|counted| {
            let window = limits.window(rate::SMALL, counted);
            window.expect("words of a subject")
        });
        let subjects = windows.each_ref().map(|window| window.subject.to_string());
        let address = KeyToken::encode("192.0.2.1");
        let expected = [
            "rate.small.src_1.source".to_owned(),
            "rate.small.org.acme".to_owned(),
            format!("rate.small.address.{address}"),
        ];
        assert_eq!(subjects, expected);
        assert_eq!(decide(&windows, 1), None, "nobody was asked");
        let ends = Instant::now() + LEASE;
        for (left, window) in [2, 3, 4].into_iter().zip(&windows) {
            *window.lock() = Lease {
                left,
                ends: Some(ends),
                ..Lease::default()
            };
        }
        assert_eq!(decide(&windows, 3), None, "the narrowest has two left");
        assert_eq!(decide(&windows, 1), Some(Ok(())));
        assert_eq!(decide(&windows, 1), Some(Ok(())));
        assert_eq!(decide(&windows, 1), None, "the narrowest is used up");
        let left = windows.each_ref().map(|window| window.lock().left);
        assert_eq!(left, [0, 1, 2]);
        windows[0].lock().full = Some((1, ends));
        assert_eq!(decide(&windows, 1), Some(Err(rate::SMALL)));
    }
}
