//! Which stored events a request means. Bounded: so many events, so many messages read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tocsin_bus::{Bus, BusError, Page, ReadFrom, Stored};
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::Event;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::replay::{MAX_READ, Wanted};

use crate::publish::without_body;

const STREAM: &str = "EVENTS";

/// Every event, for those that are named by sequence.
const ANY: &str = "events.>";

/// Messages that are asked for at once.
const PAGE: usize = 250;

/// One event, without its raw body: hundreds are held at once.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) id: EventId,
    pub(super) sequence: u64,
    pub(super) stored_at: Timestamp,
    pub(super) event: Event,
}

/// What a request means.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order in which they came.
    pub(super) events: Vec<Selected>,
    /// Named, and not there.
    pub(super) missing: Vec<EventId>,
    /// Fit, and their signature does not hold, or they are no events.
    pub(super) untrusted: usize,
    /// There are more that fit, or may fit.
    pub(super) more: bool,
}

/// Finds what `wanted` names or describes; `until` ends a range that names no end.
pub(super) async fn select(
    bus: &Bus,
    wanted: &Wanted,
    until: Timestamp,
) -> Result<Found, BusError> {
    let mut found = Found::default();
    let mut open: BTreeSet<EventId> = wanted.events.iter().map(|(id, _)| *id).collect();
    for (id, sequence) in wanted.events.iter().filter(|(_, sequence)| *sequence > 0) {
        let from = ReadFrom::Sequence(*sequence);
        let page = bus.read_back(STREAM, ANY, from, 1).await?;
        // What is no longer there is answered with the next that is.
        let (events, untrusted) = events(page, |at| at == *sequence);
        found.untrusted += untrusted;
        let same = events.into_iter().filter(|selected| selected.id == *id);
        found.events.extend(same.inspect(|selected| {
            open.remove(&selected.id);
        }));
    }
    let is_named = !wanted.events.is_empty();
    match wanted.since {
        Some(since) if !is_named => {
            let range = (since, wanted.until.unwrap_or(until));
            read(bus, wanted, range, &mut found, |_| true).await?;
        }
        Some(since) if !open.is_empty() => {
            let range = (since, wanted.until.unwrap_or(until));
            let mut left = open.clone();
            read(bus, wanted, range, &mut found, |id| left.remove(&id)).await?;
            open = left;
        }
        _ => {}
    }
    found.missing = open.into_iter().collect();
    found.events.sort_by_key(|selected| selected.sequence);
    Ok(found)
}

/// Reads a time range, until its end or one of the limits.
async fn read(
    bus: &Bus,
    wanted: &Wanted,
    (since, until): (Timestamp, Timestamp),
    found: &mut Found,
    mut is_meant: impl FnMut(EventId) -> bool,
) -> Result<(), BusError> {
    let mut from = ReadFrom::Time(since);
    let mut seen = 0;
    loop {
        let page = bus.read_back(STREAM, &wanted.filter, from, PAGE).await?;
        let has_more = page.has_more;
        from = page.next;
        seen += page.messages.len() + page.untrusted.len();
        let (events, untrusted) = events(page, |_| true);
        found.untrusted += untrusted;
        for selected in events {
            if selected.stored_at > until {
                return Ok(());
            }
            if !is_meant(selected.id) {
                continue;
            }
            if found.events.len() >= wanted.most {
                found.more = true;
                return Ok(());
            }
            found.events.push(selected);
        }
        if !has_more || seen >= MAX_READ {
            found.more = has_more;
            return Ok(());
        }
    }
}

/// The events of a page whose sequences are `wanted`, and how many could not be trusted.
fn events(page: Page, wanted: impl Fn(u64) -> bool) -> (Vec<Selected>, usize) {
    let mut untrusted = page.untrusted.iter().filter(|at| wanted(**at)).count();
    let mut events = Vec::with_capacity(page.messages.len());
    for stored in page.messages {
        if !wanted(stored.sequence) {
            continue;
        }
        match selected(stored) {
            Some(selected) => events.push(selected),
            None => untrusted += 1,
        }
    }
    (events, untrusted)
}

fn selected(stored: Stored) -> Option<Selected> {
    let id = stored.envelope.message_id()?;
    match stored.envelope.body {
        Some(Body::Event(event)) if !event.semantic_key.is_empty() => Some(Selected {
            id: EventId::from(id.as_uuid()),
            sequence: stored.sequence,
            stored_at: stored.stored_at,
            event: without_body(&event),
        }),
        _ => None,
    }
}
