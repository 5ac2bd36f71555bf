//! Which stored events a request means. Bounded: so many events, so many messages read.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tocsin_bus::{Bus, BusError, Page, ReadFrom, Stored};
use tocsin_wire::ids::EventId;
use tocsin_wire::proto::Event;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::replay::{MAX_READ, Named, STREAMS, Wanted};

use crate::publish::without_body;

/// Messages that are asked for at once.
const PAGE: usize = 250;

/// One event, without its raw body: hundreds are held at once.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) id: EventId,
    pub(super) stream: &'static str,
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
    /// Fit, and are others' than who asks may touch.
    pub(super) out_of_scope: usize,
    /// There are more that fit, or may fit.
    pub(super) more: bool,
}

/// Finds what `wanted` names or describes; `until` ends a range that names no end. Of a range only events that
/// `allows` holds for are found: the others must not use up its limit.
pub(super) async fn select(
    bus: &Bus,
    wanted: &Wanted,
    until: Timestamp,
    allows: impl Fn(&Event) -> bool,
) -> Result<Found, BusError> {
    let mut found = Found::default();
    let mut open: BTreeSet<EventId> = wanted.events.iter().map(|named| named.id).collect();
    for named in wanted.events.iter().filter(|named| named.sequence > 0) {
        if let Some(selected) = read_one(bus, named, &mut found).await? {
            open.remove(&selected.id);
            found.events.push(selected);
        }
    }
    let is_named = !wanted.events.is_empty();
    if let Some(since) = wanted.since
        && (!is_named || !open.is_empty())
    {
        let range = (since, wanted.until.unwrap_or(until));
        for stream in STREAMS {
            let is_meant = |selected: &Selected, found: &mut Found| {
                if is_named {
                    return open.remove(&selected.id);
                }
                let is_allowed = allows(&selected.event);
                found.out_of_scope += usize::from(!is_allowed);
                is_allowed
            };
            read(bus, wanted, (stream, range), &mut found, is_meant).await?;
        }
        oldest(wanted.most.max(wanted.events.len()), &mut found);
    }
    found.missing = open.into_iter().collect();
    found.events.sort_by_key(order);
    Ok(found)
}

/// As they came, over both streams.
fn order(selected: &Selected) -> (Timestamp, &'static str, u64) {
    (selected.stored_at, selected.stream, selected.sequence)
}

/// Each stream gave the oldest of its own.
fn oldest(most: usize, found: &mut Found) {
    found.events.sort_by_key(order);
    found.more |= found.events.len() > most;
    found.events.truncate(most);
}

async fn read_one(
    bus: &Bus,
    named: &Named,
    found: &mut Found,
) -> Result<Option<Selected>, BusError> {
    let from = ReadFrom::Sequence(named.sequence);
    let any = any_event(named.stream);
    let page = bus.read_back(named.stream, any, from, 1).await?;
    // What is no longer there is answered with the next that is.
    let (events, untrusted) = events(named.stream, page, |at| at == named.sequence);
    found.untrusted += untrusted;
    Ok(events.into_iter().find(|selected| selected.id == named.id))
}

/// Every event of a stream, for those that are named by sequence.
fn any_event(stream: &str) -> &'static str {
    match stream {
        "DEFERRED" => "deferred.due.>",
        _ => "events.>",
    }
}

/// Reads a time range, until its end or one of the limits.
async fn read(
    bus: &Bus,
    wanted: &Wanted,
    (stream, (since, until)): (&'static str, (Timestamp, Timestamp)),
    found: &mut Found,
    mut is_meant: impl FnMut(&Selected, &mut Found) -> bool,
) -> Result<(), BusError> {
    let filter = wanted.filter.subjects(stream);
    let mut from = ReadFrom::Time(since);
    let (mut seen, mut taken) = (0, 0);
    loop {
        let page = bus.read_back(stream, &filter, from, PAGE).await?;
        let has_more = page.has_more;
        from = page.next;
        seen += page.messages.len() + page.untrusted.len();
        let (events, untrusted) = events(stream, page, |_| true);
        found.untrusted += untrusted;
        for selected in events {
            if selected.stored_at > until {
                return Ok(());
            }
            if !is_meant(&selected, found) {
                continue;
            }
            if taken >= wanted.most {
                found.more = true;
                return Ok(());
            }
            taken += 1;
            found.events.push(selected);
        }
        if !has_more || seen >= MAX_READ {
            found.more |= has_more;
            return Ok(());
        }
    }
}

/// The events of a page whose sequences are `wanted`, and how many could not be trusted.
fn events(
    stream: &'static str,
    page: Page,
    wanted: impl Fn(u64) -> bool,
) -> (Vec<Selected>, usize) {
    let mut untrusted = page.untrusted.iter().filter(|at| wanted(**at)).count();
    let mut events = Vec::with_capacity(page.messages.len());
    for stored in page.messages {
        if !wanted(stored.sequence) {
            continue;
        }
        match selected(stream, stored) {
            Some(selected) => events.push(selected),
            None => untrusted += 1,
        }
    }
    (events, untrusted)
}

fn selected(stream: &'static str, stored: Stored) -> Option<Selected> {
    let id = stored.envelope.message_id()?;
    match stored.envelope.body {
        Some(Body::Event(event)) if !event.semantic_key.is_empty() => Some(Selected {
            id: EventId::from(id.as_uuid()),
            stream,
            sequence: stored.sequence,
            stored_at: stored.stored_at,
            event: without_body(&event),
        }),
        _ => None,
    }
}
