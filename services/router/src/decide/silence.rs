//! Alerts that the team does not want to be looked at for a while.

use tocsin_wire::proto::Event;
use tocsin_wire::time;

use super::event_parts::is_said;
use super::reason::{Reason, ReasonCode};
use crate::rules::TeamRules;

/// Why the event starts nothing, if a silence holds. The clock is the time at which the event was received:
/// an alert of the maintenance window that is decided on after it (the router was away, the event is
/// replayed) is still one of the window. What people say to the bot is never silenced.
pub(super) fn silenced(event: &Event, rules: &TeamRules) -> Option<Reason> {
    if is_said(event) {
        return None;
    }
    let at = event.received_at.as_ref().and_then(time::from_proto)?;
    let held = |silence: &crate::rules::Silence| silence.holds(event, at);
    let mut silences = rules.silences.iter();
    let (silence, end) = silences.find_map(|silence| Some((silence, held(silence)?)))?;
    let because = if silence.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", silence.reason)
    };
    let detail = format!(
        "The silence {:?} of the team holds until {end}{because}.",
        silence.name
    );
    Some(Reason::new(ReasonCode::Silenced, detail))
}
