//! How many runs of a team and of an org may go on and wait, and which team is next. Pure: whoever
//! decides has counted before, and publishes so that the broker refuses what was decided too late.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use serde_json::Value;

use crate::limits;
use crate::priority::Priority;
use crate::token::TeamId;

/// What a team's effective config says under `limits`. The numbers of the org are the same for all its
/// teams: config lets nobody below the org set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// `team.running`: runs of the team that are admitted at once, at most [`limits::TEAM_WINDOW`].
    pub team_running: u64,
    /// `team.queued`: runs of the team and one severity that wait, at most [`limits::TEAM_BACKLOG`].
    pub team_queued: u64,
    /// `org.running`: admitted runs of all teams of the org.
    pub org_running: u64,
    /// `org.queued`: waiting runs of one severity of all teams of the org.
    pub org_queued: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            team_running: limits::TEAM_WINDOW.unsigned_abs(),
            team_queued: limits::TEAM_BACKLOG.unsigned_abs(),
            org_running: limits::ORG_WINDOW,
            org_queued: limits::ORG_BACKLOG,
        }
    }
}

impl QueueLimits {
    /// Reads an effective config. What is absent or odd counts as the default, what is too much as the most
    /// that the broker holds; config refuses both when they are saved.
    pub fn read(effective: &Value) -> Self {
        let default = Self::default();
        let number = |path: &str, default: u64, most: u64| {
            let number = effective.pointer(path).and_then(Value::as_u64);
            number
                .filter(|number| *number > 0)
                .unwrap_or(default)
                .min(most)
        };
        Self {
            team_running: number(
                "/limits/team/running",
                default.team_running,
                default.team_running,
            ),
            team_queued: number(
                "/limits/team/queued",
                default.team_queued,
                default.team_queued,
            ),
            org_running: number(
                "/limits/org/running",
                default.org_running,
                limits::MAX_ORG_WINDOW,
            ),
            org_queued: number(
                "/limits/org/queued",
                default.org_queued,
                limits::MAX_ORG_BACKLOG,
            ),
        }
    }
}

/// The limits of all teams of one org.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrgLimits {
    /// By team. A team that is not here has the defaults.
    pub teams: BTreeMap<TeamId, QueueLimits>,
}

impl OrgLimits {
    /// Of one team.
    pub fn team(&self, team: &TeamId) -> QueueLimits {
        let known = self.teams.get(team).copied();
        // While a change of the org's numbers is on its way to its teams, the lower one holds.
        let mut own = known.unwrap_or_default();
        own.org_running = self.least(|one| one.org_running).unwrap_or(own.org_running);
        own.org_queued = self.least(|one| one.org_queued).unwrap_or(own.org_queued);
        own
    }

    fn least(&self, of: impl Fn(&QueueLimits) -> u64) -> Option<u64> {
        self.teams.values().map(of).min()
    }

    /// Whether the broker's own window per team is not all that holds `team` back: its own is smaller, or
    /// the windows of the org's teams together are more than the org's. Else nobody has to count.
    pub fn counts_running(&self, team: &TeamId) -> bool {
        let own = self.team(team);
        let all: u64 = self.teams.values().map(|one| one.team_running).sum();
        own.team_running < QueueLimits::default().team_running || all > own.org_running
    }

    /// The same for the runs that wait.
    pub fn counts_queued(&self, team: &TeamId) -> bool {
        let own = self.team(team);
        let all: u64 = self.teams.values().map(|one| one.team_queued).sum();
        own.team_queued < QueueLimits::default().team_queued || all > own.org_queued
    }

    /// Whether an end of a run may make room for other teams than its own.
    pub fn shares_running(&self) -> bool {
        self.teams.keys().any(|team| self.counts_running(team))
    }
}

/// Runs of one team.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamLoad {
    /// Admitted: with a worker, or about to be.
    pub running: u64,
    /// Behind those, by priority.
    pub waiting: BTreeMap<Priority, u64>,
}

/// Runs of one org at about one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrgLoad {
    /// By team.
    pub teams: BTreeMap<TeamId, TeamLoad>,
}

/// Which number a run ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// The team's.
    Team(u64),
    /// The org's.
    Org(u64),
}

/// Who moves up next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This team's most severe run of this priority.
    Team(TeamId, Priority),
    /// There is no room for those that wait.
    Full,
    /// Nobody waits.
    Nobody,
}

impl OrgLoad {
    /// Admitted runs of the org.
    pub fn running(&self) -> u64 {
        self.teams.values().map(|team| team.running).sum()
    }

    /// Waiting runs of one priority of the org.
    pub fn waiting(&self, priority: Priority) -> u64 {
        let counts = self.teams.values().map(|team| team.waiting.get(&priority));
        counts.flatten().sum()
    }

    /// Why a new run of `team` has to wait, if it has to. A free place belongs to those that wait for it:
    /// a team that floods may not take it from another one because its events come in between.
    pub fn must_wait(&self, team: &TeamId, limits: &OrgLimits) -> Option<Cap> {
        let own = limits.team(team);
        let running = self.teams.get(team).map_or(0, |load| load.running);
        if running >= own.team_running {
            return Some(Cap::Team(own.team_running));
        }
        let ahead = self.teams.iter().filter(|(other, _)| *other != team);
        let ahead: u64 = ahead
            .map(|(other, load)| {
                let room = limits.team(other).team_running.saturating_sub(load.running);
                load.waiting.values().sum::<u64>().min(room)
            })
            .sum();
        (self.running() + ahead >= own.org_running).then_some(Cap::Org(own.org_running))
    }

    /// Why a run of `team` and `priority` may not even wait, if it may not.
    pub fn may_not_wait(
        &self,
        team: &TeamId,
        priority: Priority,
        limits: &OrgLimits,
    ) -> Option<Cap> {
        let own = limits.team(team);
        let waiting = self
            .teams
            .get(team)
            .and_then(|load| load.waiting.get(&priority));
        if waiting.is_some_and(|waiting| *waiting >= own.team_queued) {
            return Some(Cap::Team(own.team_queued));
        }
        (self.waiting(priority) >= own.org_queued).then_some(Cap::Org(own.org_queued))
    }

    /// Who moves up: of the teams that wait and have room, one with the fewest admitted runs; of several,
    /// the next behind `after` in the circle of names, which is the team whose run ended, or the one that moved
    /// up last. So with room for one run only the teams still take turns, and nobody is passed over.
    pub fn next(&self, limits: &OrgLimits, after: Option<&TeamId>) -> Next {
        let mut waiting = self.teams.iter().filter(|(_, load)| load.first().is_some());
        let Some((any, _)) = waiting.next() else {
            return Next::Nobody;
        };
        if self.running() >= limits.team(any).org_running {
            return Next::Full;
        }
        let behind = after.map_or(Unbounded, Excluded);
        let circle = self.teams.range::<TeamId, _>((behind, Unbounded));
        let circle = circle.chain(self.teams.iter());
        let with_room = circle.filter_map(|(team, load)| {
            let has_room = load.running < limits.team(team).team_running;
            let first = load.first().filter(|_| has_room)?;
            Some((load.running, team, first))
        });
        // Of equals the first one.
        match with_room.min_by_key(|(running, ..)| *running) {
            Some((_, team, first)) => Next::Team(team.clone(), first),
            None => Next::Full,
        }
    }
}

impl TeamLoad {
    /// The most severe priority in which somebody waits.
    pub fn first(&self) -> Option<Priority> {
        let mut waiting = self.waiting.iter().filter(|(_, count)| **count > 0);
        waiting.next().map(|(priority, _)| *priority)
    }
}

#[cfg(test)]
mod tests;
