//! One delivery from its headers and body to its event in the stream: verify, limit, read, store.

mod admission;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tocsin_kit::Clock;
use tocsin_wire::proto::Event;
use tocsin_wire::source::{Recent, SourceFigures};
use tocsin_wire::time;
use tokio::time::Instant;

use crate::error::Rejection;
use crate::large::{LongPicks, name_objects, over};
use crate::limits::RateLimits;
use crate::metrics::Outcome;
use crate::normalize::pick::{NOT_PICKED, Picked};
use crate::normalize::{Delivery, Normalized};
use crate::provider::{Answer, Endpoint};
use crate::publish::{BUS_TIMEOUT, Publisher};
use crate::sns::Sns;
use crate::source::Source;
use crate::verify::sns::Certificate;

use self::admission::Admission;

/// What came, before anything is believed.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) sender: Option<IpAddr>,
}

/// By what a delivery proved whom it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A signature under the secret at this position.
    Secret(usize),
    /// A connection that we opened to the sender, of a scheme with this name.
    Connection(&'static str),
}

impl Proof {
    fn secret_index(self) -> usize {
        match self {
            Self::Secret(index) => index,
            Self::Connection(_) => 0,
        }
    }

    /// As events and figures name it; empty for shared secrets.
    fn id(self, source: &Source) -> &str {
        match self {
            Self::Secret(index) => source.secret_id(index),
            Self::Connection(scheme) => scheme,
        }
    }
}

/// Takes deliveries of any source.
pub(crate) struct Intake {
    clock: Clock,
    publisher: Arc<Publisher>,
    sns: Sns,
    limits: RateLimits,
    long_picks: LongPicks,
}

impl Intake {
    pub(crate) fn new(
        clock: Clock,
        publisher: Arc<Publisher>,
        sns: Sns,
        limits: RateLimits,
    ) -> Self {
        Self {
            clock,
            publisher,
            sns,
            limits,
            long_picks: LongPicks::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fails while the bus is away: what is published meanwhile is not known here.
    pub(crate) fn must_be_connected(&self) -> Result<(), Rejection> {
        self.publisher.bus().map(drop)
    }

    /// The certificate that must be there before a delivery can be verified, which only SNS has. Nobody is
    /// asked for it before all else that can be checked was, of which `tolerance` is how far its time may be
    /// off.
    pub(crate) async fn certificate(
        &self,
        source: &Source,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<Option<Arc<Certificate>>, Rejection> {
        let url = source.certificate_url(body, now, tolerance);
        match url.map_err(Rejection::Unverified)? {
            Some(url) => {
                let certificate = Box::pin(self.sns.certificate(&url)).await;
                certificate.map(Some).map_err(Rejection::Sns)
            }
            None => Ok(None),
        }
    }

    /// What a source picks from a body, as those who set it up are shown it; `None` where it picks nothing.
    pub(crate) async fn picked(
        &self,
        source: &Arc<Source>,
        incoming: Incoming<'_>,
    ) -> Result<Option<Picked>, Rejection> {
        let _turn = self.long_picks.enter(source, incoming.body).await?;
        let picking = over(source, incoming, |source, _headers, body| {
            let picks = source.picks.as_ref();
            picks.map(|picks| picks.pick(body))
        });
        picking.await
    }

    /// What a delivery would become if it were believed, at the first URL of its source; nothing is done
    /// about it.
    pub(crate) async fn try_reading(
        &self,
        source: &Arc<Source>,
        incoming: Incoming<'_>,
        at: Timestamp,
    ) -> Result<Normalized, Rejection> {
        let endpoint = source.endpoint().ok_or(Rejection::UnknownSource)?;
        let _turn = self.long_picks.enter(source, incoming.body).await?;
        read(source, endpoint, incoming, 0, at).await
    }

    /// Verifies a delivery, and takes it.
    pub(crate) async fn take(
        &self,
        source: &Arc<Source>,
        endpoint: &'static Endpoint,
        incoming: Incoming<'_>,
        started: Instant,
    ) -> Result<Answer, Rejection> {
        let now = self.clock.now();
        let tolerance = source.tolerance;
        let asking = self.certificate(source, incoming.body, now, tolerance);
        let certificate = asking.await?;
        let verified = over(source, incoming, move |source, headers, body| {
            source.verify(headers, body, now, certificate.as_deref())
        });
        let proof = Proof::Secret(verified.await?.map_err(Rejection::Unverified)?);
        self.take_proven(source, endpoint, incoming, proof, started)
            .await
    }

    /// Stores what a delivery says whose sender is known, and counts it. Nothing is stored when this
    /// fails, or it is stored under an id that its repeat has too.
    pub(crate) async fn take_proven(
        &self,
        source: &Arc<Source>,
        endpoint: &'static Endpoint,
        incoming: Incoming<'_>,
        proof: Proof,
        started: Instant,
    ) -> Result<Answer, Rejection> {
        let now = self.clock.now();
        let headers = incoming.headers;
        let asked = Instant::now();
        let windows = self.windows(source, incoming.sender);
        let windows = windows.map_err(Rejection::Subject)?;
        let unread = self.admit_unread(source, incoming, &windows, now).await?;
        let mut spent = asked.elapsed();
        let _turn = self.long_picks.enter(source, incoming.body).await?;
        let read = read(source, endpoint, incoming, proof.secret_index(), now).await;
        let admission = match unread {
            Some(admission) => admission,
            None => {
                // What cannot be read counts too.
                let events = match &read {
                    Ok(Normalized::Events(events)) => events.len(),
                    _ => 1,
                };
                let asked = Instant::now();
                let counted = (windows.as_slice(), events);
                let admission = self.admit(source, incoming, counted, now).await?;
                spent = asked.elapsed();
                admission
            }
        };
        // Of each of its events: a thousand may need longer than one.
        let patience = BUS_TIMEOUT.saturating_sub(spent);
        let (answer, events) = self.answer(source, endpoint, read?).await?;
        let not_picked = source.picks.is_some() && events.iter().any(is_not_picked);
        let is_retry = events.iter().any(|event| event.attempt > 0);
        let outcome = self
            .store(source, events, proof, &admission, (now, patience))
            .await?;
        let took = started.elapsed();
        source.count(outcome, took);
        if not_picked {
            source.metrics.not_picked();
        }
        let taken = Taken {
            outcome,
            is_retry,
            not_picked,
            took,
            claimed: source.verifier.claimed_time(headers),
            proof: proof.id(source),
        };
        source.note(|figures| taken.count(figures, now));
        Ok(answer)
    }

    /// What the sender reads, and the events that are to be stored before.
    async fn answer(
        &self,
        source: &Source,
        endpoint: &'static Endpoint,
        read: Normalized,
    ) -> Result<(Answer, Vec<Event>), Rejection> {
        Ok(match read {
            Normalized::Event(event) => ((endpoint.answer)(&event.kind), vec![*event]),
            Normalized::Events(events) => ((endpoint.answer)(""), events),
            Normalized::Ping => ((endpoint.answer)(""), Vec::new()),
            Normalized::Subscription(url) => {
                let confirmed = Box::pin(self.sns.confirm(&url)).await;
                confirmed.map_err(Rejection::Sns)?;
                let source = &source.id;
                tracing::info!(source, "a subscription of an SNS topic was confirmed");
                ((endpoint.answer)(""), Vec::new())
            }
            Normalized::Challenge(challenge) => (Answer::Challenge(challenge), Vec::new()),
        })
    }

    /// All or an error: what was stored before the error is a duplicate when the delivery comes again.
    async fn store(
        &self,
        source: &Source,
        events: Vec<Event>,
        proof: Proof,
        admission: &Admission,
        (now, patience): (Timestamp, Duration),
    ) -> Result<Outcome, Rejection> {
        let mut outcome = Outcome::Ping;
        for mut event in events {
            if !source.takes(&event.kind) {
                outcome = Outcome::Filtered;
                continue;
            }
            event.org = source.org.to_string();
            source.default_team.clone_into(&mut event.default_team);
            proof.id(source).clone_into(&mut event.secret_id);
            if let Admission::Deferred(until) = admission {
                event.deferred_until = Some(time::to_proto(*until));
            }
            if event.stored_body.is_some() {
                // First the body: an event never names one that is not there.
                Box::pin(self.publisher.keep_body(&mut event)).await?;
            }
            let published = match admission {
                Admission::Now => self.publisher.publish(event, now, patience).await?,
                Admission::Deferred(until) => {
                    Box::pin(self.publisher.defer(event, now, *until, patience)).await?
                }
            };
            outcome = match admission {
                _ if published.duplicate && outcome != Outcome::Accepted => Outcome::Duplicate,
                Admission::Now => Outcome::Accepted,
                Admission::Deferred(_) => Outcome::Deferred,
            };
        }
        Ok(outcome)
    }
}

/// What a delivery says.
async fn read(
    source: &Arc<Source>,
    endpoint: &'static Endpoint,
    incoming: Incoming<'_>,
    secret_index: usize,
    received_at: Timestamp,
) -> Result<Normalized, Rejection> {
    let reading = over(source, incoming, move |source, headers, body| {
        let delivery = Delivery {
            source: &source.id,
            headers,
            body,
            received_at,
            secret_index,
            kept_headers: &source.kept_headers,
            picks: source.picks.as_ref(),
        };
        (endpoint.read)(delivery).map(name_objects)
    });
    reading.await?.map_err(Rejection::Malformed)
}

/// Whether an event says that an expression of its source failed.
fn is_not_picked(event: &Event) -> bool {
    event.attributes.contains_key(NOT_PICKED)
}

/// What the figures of a source say of a delivery that was taken.
struct Taken<'a> {
    outcome: Outcome,
    is_retry: bool,
    /// Whether an expression of the source failed.
    not_picked: bool,
    took: Duration,
    /// When its sender says that it signed it, in seconds.
    claimed: Option<i64>,
    proof: &'a str,
}

impl Taken<'_> {
    fn count(&self, figures: &mut SourceFigures, now: Timestamp) {
        match self.outcome {
            Outcome::Duplicate => figures.duplicates += 1,
            _ => figures.accepted += 1,
        }
        // Most senders do not say so, but send the same delivery again.
        figures.retries += u64::from(self.is_retry || self.outcome == Outcome::Duplicate);
        figures.not_picked += u64::from(self.not_picked);
        let took = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        // A moving mean: what happens now weighs a sixteenth.
        figures.mean_ack_micros = match figures.mean_ack_micros {
            0 => took,
            mean => mean - mean / 16 + took / 16,
        };
        let at = now.as_second();
        figures.last_accepted = Some(at);
        if let Some(claimed) = self.claimed {
            figures.clock_skew_seconds = Some(claimed.saturating_sub(at));
            figures.clock_skew_at = Some(at);
        }
        figures.push_recent(Recent {
            at,
            took_micros: took,
            refused: None,
        });
        match figures.secret_last_used.get_mut(self.proof) {
            Some(last) => *last = at,
            None => {
                let proof = self.proof.to_owned();
                figures.secret_last_used.insert(proof, at);
            }
        }
    }
}
