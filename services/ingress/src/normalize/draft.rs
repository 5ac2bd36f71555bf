//! An event while it is being written: the bounds on its fields, its keys, and what every provider
//! has in common.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tocsin_wire::{
    proto::{Actor, ActorKind, Event, EventStatus, Header, Identifier, Severity, TextFormat},
    signing::hex,
    time,
};

use super::{Delivery, OTHER};

/// Titles are one line in a list.
const MAX_TITLE_CHARS: usize = 300;
/// GitHub's longest body is 65,536 characters of up to four bytes. The raw body has what is cut.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Attributes are facts, not texts.
const MAX_ATTRIBUTE_CHARS: usize = 512;
/// Longest id taken for one; those that providers send have at most 100 characters.
pub(super) const MAX_ID_BYTES: usize = 200;
/// Seconds in which the same bytes are the same thing, where nothing in them or beside them tells when they
/// were sent: longer than most senders try again, short enough for tomorrow's to be news.
const SAME_SECONDS: i64 = 3600;
/// Seconds before the full hour at which one such time ends and the next begins. What runs by the clock runs
/// at the full hour or at a multiple of five minutes, and tries again in the minutes after: so the edge lies
/// where least begins, and two minutes before anything may, for clocks that differ.
const EDGE_BEFORE_HOUR_SECONDS: i64 = 7 * 60;
/// People mentioned in one text.
pub(super) const MAX_MENTIONS: usize = 50;

pub(super) struct Draft<'a> {
    pub(super) event: Event,
    delivery: Delivery<'a>,
    /// Whether the body says when it happened.
    has_time: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(provider: &str, delivery: Delivery<'a>) -> Self {
        let received_at = Some(time::to_proto(delivery.received_at));
        let event = Event {
            provider: provider.to_owned(),
            source_id: delivery.source.to_owned(),
            kind: OTHER.to_owned(),
            occurred_at: received_at,
            received_at,
            raw_body: delivery.body.clone(),
            content_type: delivery.header(http::header::CONTENT_TYPE).to_owned(),
            headers: kept_headers(&delivery),
            secret_index: u32::try_from(delivery.secret_index).unwrap_or(u32::MAX),
            ..Event::default()
        };
        Self {
            event,
            delivery,
            has_time: false,
        }
    }

    /// Something that may route the event. Empty values and those too long for an id are left out.
    pub(super) fn identifier(&mut self, name: &str, value: &str) {
        if is_id(value) {
            self.event.identifiers.push(Identifier {
                r#type: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    /// A fact; absent when empty.
    pub(super) fn attribute(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let value = cut(value, MAX_ATTRIBUTE_CHARS).to_owned();
            self.event.attributes.insert(name.to_owned(), value);
        }
    }

    /// A fact that is either so or not worth a word.
    pub(super) fn flag(&mut self, name: &str, is_so: bool) {
        if is_so {
            self.attribute(name, "true");
        }
    }

    /// Several values as one fact: comma-separated.
    pub(super) fn attribute_list<'b>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = &'b str>,
    ) {
        let mut joined = String::new();
        for value in values {
            if joined.len() + value.len() >= MAX_ATTRIBUTE_CHARS {
                break;
            }
            if !value.is_empty() {
                if !joined.is_empty() {
                    joined.push(',');
                }
                joined.push_str(value);
            }
        }
        self.attribute(name, &joined);
    }

    /// The first line of `title`, cut to what a list can show.
    pub(super) fn title(&mut self, title: &str) {
        let line = title.trim_start().lines().next().unwrap_or_default();
        cut(line, MAX_TITLE_CHARS).clone_into(&mut self.event.title);
    }

    pub(super) fn text(&mut self, text: &str, format: TextFormat) {
        if text.is_empty() {
            return;
        }
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end)
            .unwrap_or_default()
            .clone_into(&mut self.event.text);
        self.event.text_format = format.into();
    }

    /// When it happened; when nobody can tell, it stays the time of receipt.
    pub(super) fn occurred(&mut self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.event.occurred_at = Some(time::to_proto(at));
            self.has_time = true;
        }
    }

    pub(super) fn actor(&mut self, kind: ActorKind, id: &str, name: &str) {
        if !id.is_empty() || !name.is_empty() {
            self.event.actor = Some(Actor {
                kind: kind.into(),
                id: id.to_owned(),
                name: name.to_owned(),
            });
        }
    }

    pub(super) fn severity(&mut self, severity: Severity, native: &str) {
        self.event.severity = severity.into();
        native.clone_into(&mut self.event.severity_native);
    }

    /// The provider's word for the state it is in, and ours.
    pub(super) fn state(&mut self, native: &str, status: EventStatus) {
        self.attribute("state", native);
        self.event.status = status.into();
    }

    /// A correlation key of this provider and source. What is too long for an id goes by its hash.
    pub(super) fn correlation(&mut self, parts: &[&str]) {
        if parts.iter().all(|part| !part.is_empty()) {
            let joined = parts.join(":");
            let rest = if is_id(&joined) {
                joined
            } else {
                hash(joined.as_bytes())
            };
            self.event.correlation_key = self.key(&rest);
        }
    }

    /// SHA-256 of the raw body, as keys have it.
    pub(super) fn body_hash(&self) -> String {
        hash(self.delivery.body)
    }

    /// Whether the body says when it happened, in a form that is known.
    pub(super) fn has_time(&self) -> bool {
        self.has_time
    }

    /// Which time of [`SAME_SECONDS`] it came in: tells what says the same every night apart, where it names
    /// no time. A retry on the other side of an edge is told twice, since an alert that is lost does more
    /// harm; nothing is remembered here that could tell it from news.
    pub(super) fn period(&self) -> String {
        let received = self.delivery.received_at.as_second();
        let period = received
            .saturating_add(EDGE_BEFORE_HOUR_SECONDS)
            .div_euclid(SAME_SECONDS);
        period.to_string()
    }

    /// Sets both keys. An id that is empty, or too long to be one, is replaced by the body's hash; so
    /// is a semantic part that is not given. Where the delivery has neither an id nor a time, the hash
    /// counts for the [`period`](Self::period) alone.
    pub(super) fn finish(mut self, delivery_id: &str, semantic: Option<&str>) -> Event {
        let has_id = is_id(delivery_id);
        let hash = match (has_id, semantic) {
            (true, Some(_)) => String::new(),
            (false, _) if !self.has_time => format!("{}:{}", self.body_hash(), self.period()),
            _ => self.body_hash(),
        };
        self.event.delivery_key = self.key(if has_id { delivery_id } else { &hash });
        self.event.semantic_key = self.key(semantic.unwrap_or(&hash));
        if has_id {
            delivery_id.clone_into(&mut self.event.delivery_id);
        }
        self.event
    }

    /// Sets both keys for a sender that gives its deliveries no id: they follow from the parts that tell
    /// what happened. Without one of them nothing tells two deliveries apart but their bodies, because a
    /// repeat that is told twice does less harm than an alert that is lost.
    pub(super) fn finish_derived(mut self, parts: &[&str]) -> Event {
        if parts.iter().any(|part| part.is_empty()) {
            return self.finish("", None);
        }
        let mut digest = Sha256::new();
        for part in parts {
            // The length keeps `a`, `bc` and `ab`, `c` apart.
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let key = self.key(&format!("derived:{}", hex(&digest.finalize())));
        self.event.semantic_key.clone_from(&key);
        self.event.delivery_key = key;
        self.event
    }

    fn key(&self, rest: &str) -> String {
        format!("{}:{}:{rest}", self.event.provider, self.event.source_id)
    }
}

/// SHA-256, as keys have it: `sha256:<hex>`. Also stands for ids that are too long to be kept.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Whether a value can be an id at all.
pub(super) fn is_id(value: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&value.len())
}

/// The first characters of a text.
pub(super) fn cut(text: &str, max_chars: usize) -> &str {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => text.get(..end).unwrap_or_default(),
        None => text,
    }
}

fn kept_headers(delivery: &Delivery<'_>) -> Vec<Header> {
    let mut kept = Vec::with_capacity(6);
    for name in delivery.kept_headers {
        for value in delivery.headers.get_all(name) {
            if let Ok(value) = value.to_str() {
                kept.push(Header {
                    name: name.as_str().to_owned(),
                    value: value.to_owned(),
                });
            }
        }
    }
    kept
}
