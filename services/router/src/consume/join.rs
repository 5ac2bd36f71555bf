//! Alerts that belong to a run: they join it, or start the run that others join.

use tocsin_wire::ids::RunId;
use tocsin_wire::proto::{Decision, DecisionAction};

use super::{RESOLVED_TRIES, Router, Task, Unsettled, push, run_id};
use crate::claim::{Claimant, Held};
use crate::decide::{Decided, Fingerprint, Reason, ReasonCode, Start, is_later_news};
use crate::owner::Owner;
use crate::signals::{News, Told};
use crate::storm::{Alert, Entered, Open};

impl Router {
    /// The event as one of several that tell of one thing, if it is.
    pub(super) fn alert<'a>(&self, task: &'a Task<'_>, decided: &Decided) -> Option<Alert<'a>> {
        Some(alert(
            task,
            decided.owner.clone()?,
            decided.fingerprint.clone()?,
        ))
    }

    /// The same under what its end will be found by, where that is something else.
    pub(super) fn ending<'a>(&self, task: &'a Task<'_>, decided: &Decided) -> Option<Alert<'a>> {
        let resolution = decided.resolution(task.event)?;
        Some(alert(task, decided.owner.clone()?, resolution))
    }

    /// Which run the end of the alert is for.
    pub(super) async fn remember(
        &self,
        ending: &Alert<'_>,
        decision: &Decision,
    ) -> Result<(), Unsettled> {
        let has_run = matches!(
            decision.action(),
            DecisionAction::Run | DecisionAction::Join
        );
        if let Ok(run) = decision.run_id.parse()
            && has_run
            && !is_later_news(ending.event)
        {
            self.storm.remember(ending, run).await?;
        }
        Ok(())
    }

    /// Joins the run that is open, or opens and queues `own`. `meant` is the run that an earlier try meant
    /// to join: it may have heard of the event, and have ended since.
    pub(super) async fn join_or_start(
        &self,
        task: &Task<'_>,
        alert: &Alert<'_>,
        (own, meant): (RunId, Option<RunId>),
        start: &Start,
        decision: &mut Decision,
    ) -> Result<(), Unsettled> {
        if let Some(run) = meant
            && task.is_repeat
            && let Some(joined) = self.storm.heard(alert, run).await?
        {
            let open = self.storm.open(alert).await?;
            let first = open.filter(|open| open.run == run).map(|open| open.event);
            joined_run(decision, run, first.as_deref(), joined);
            return Ok(());
        }
        match self.storm.enter(alert, own).await? {
            Entered::Joined { open, joined } => {
                joined_run(decision, open.run, Some(&open.event), joined);
            }
            Entered::Opened { revision } => {
                self.start(task, own, start, Some(&alert.key()), decision)
                    .await?;
                if decision.action() == DecisionAction::QueueFull {
                    self.storm.release(alert, revision).await?;
                } else {
                    self.storm.queued(alert, own, revision).await?;
                }
            }
        }
        Ok(())
    }

    /// Tells the run that looks into it that it is over; without one the event is only recorded, once its
    /// alert had the time to come. `alerts` are the names under which the run may be known, the surest first.
    pub(super) async fn tell_resolved(
        &self,
        task: &Task<'_>,
        alerts: &[Option<Alert<'_>>],
        decision: &mut Decision,
    ) -> Result<(), Unsettled> {
        let Some((alert, open)) = self.known_as(alerts).await? else {
            return Ok(());
        };
        if let Some(resolves) = self.resolves(task, alert, open).await? {
            let Resolves { run, first, found } = resolves;
            let alert = Alert {
                is_repeat: alert.is_repeat || found,
                ..alert.clone()
            };
            let told = self.storm.tell(&alert, run, News::Resolved).await?;
            if let Told::Heard { .. } = told {
                let by = spoken(first.as_deref());
                let detail = format!("The alert is over; run {run}{by} is told.");
                push(decision, Reason::new(ReasonCode::ResolvedRun, detail));
                decision.set_action(DecisionAction::Join);
                decision.run_id = run.to_string();
                decision.joined_event_id = first.unwrap_or_default();
                return Ok(());
            }
        }
        if task.attempt < RESOLVED_TRIES {
            return Err(Unsettled::NobodyToTell);
        }
        let detail = "The alert is over, and no run is looking into it: there is nobody to tell.";
        push(decision, Reason::new(ReasonCode::NoOpenRun, detail));
        Ok(())
    }

    /// The first of `alerts` under which a run is known; without one, the last of them.
    async fn known_as<'a, 'b>(
        &self,
        alerts: &'a [Option<Alert<'b>>],
    ) -> Result<Option<(&'a Alert<'b>, Option<Open>)>, Unsettled> {
        let mut last = None;
        for alert in alerts.iter().flatten() {
            if let Some(open) = self.storm.open(alert).await? {
                return Ok(Some((alert, Some(open))));
            }
            last = Some((alert, None));
        }
        Ok(last)
    }

    /// The run to be told, the same at every try: once told, it may end and leave the bucket.
    async fn resolves(
        &self,
        task: &Task<'_>,
        alert: &Alert<'_>,
        open: Option<Open>,
    ) -> Result<Option<Resolves>, Unsettled> {
        let by = Claimant {
            event: task.cause.event,
            run: run_id(&task.event.semantic_key, &alert.owner),
            owner: alert.owner.clone(),
            joins: open.as_ref().map(|open| open.run),
        };
        let key = &task.event.delivery_key;
        let held = match open {
            Some(_) => Some(self.claims.delivery(key, &by).await?),
            None => self.claims.find_delivery(key, &by).await?,
        };
        let Some(Held::Ours {
            found,
            joins: Some(run),
        }) = held
        else {
            return Ok(None);
        };
        let first = open.filter(|open| open.run == run).map(|open| open.event);
        Ok(Some(Resolves { run, first, found }))
    }
}

fn alert<'a>(task: &'a Task<'_>, owner: Owner, fingerprint: Fingerprint) -> Alert<'a> {
    Alert {
        owner,
        fingerprint,
        received: task.received,
        event: task.event,
        cause: &task.cause,
        attempt: task.attempt,
        is_repeat: task.is_repeat,
    }
}

/// Which run the end of an alert is told to.
struct Resolves {
    run: RunId,
    /// The event that started it, while the bucket names it.
    first: Option<String>,
    /// An earlier try meant to tell it.
    found: bool,
}

fn joined_run(decision: &mut Decision, run: RunId, first: Option<&str>, joined: u64) {
    let by = spoken(first);
    let detail = format!(
        "Run {run}{by} is looking into this already; it is told that the alert fired again, the {} since it \
         began.",
        ordinal(joined)
    );
    push(decision, Reason::new(ReasonCode::JoinedRun, detail));
    decision.set_action(DecisionAction::Join);
    decision.run_id = run.to_string();
    decision.joined_event_id = first.unwrap_or_default().to_owned();
    decision.joined_count = joined;
}

fn spoken(first: Option<&str>) -> String {
    first.map_or_else(String::new, |event| {
        format!(", which event {event} started,")
    })
}

/// `1st`, `2nd`, `37th`.
pub(crate) fn ordinal(number: u64) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_in_words() {
        for (number, expected) in [
            (1, "1st"),
            (2, "2nd"),
            (3, "3rd"),
            (4, "4th"),
            (11, "11th"),
            (12, "12th"),
            (13, "13th"),
            (21, "21st"),
            (37, "37th"),
            (101, "101st"),
            (111, "111th"),
        ] {
            assert_eq!(ordinal(number), expected);
        }
    }
}
