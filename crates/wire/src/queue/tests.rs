use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn team(name: &str) -> TeamId {
    TeamId::new(name).expect("token")
}

/// Team, admitted, waiting as normal.
fn load(teams: &[(&str, u64, u64)]) -> OrgLoad {
    let teams = teams.iter().map(|(name, running, waiting)| {
        let waiting = [(Priority::Normal, *waiting)].into();
        let running = *running;
        (team(name), TeamLoad { running, waiting })
    });
    OrgLoad {
        teams: teams.collect(),
    }
}

fn limits(teams: &[&str], org_running: u64, team_running: u64) -> OrgLimits {
    let own = QueueLimits {
        org_running,
        team_running,
        ..QueueLimits::default()
    };
    OrgLimits {
        teams: teams.iter().map(|name| (team(name), own)).collect(),
    }
}

#[test]
fn limits_are_read_with_defaults_beneath() {
    let default = QueueLimits::default();
    for odd in [
        json!({}),
        json!(null),
        json!({"limits": {"org": {"running": 0, "queued": "many"}, "team": []}}),
        json!({"limits": {"team": {"running": 11, "queued": 1_001}}}),
    ] {
        assert_eq!(QueueLimits::read(&odd), default, "{odd}");
    }
    let own = json!({"limits": {"org": {"running": 3, "queued": 40}, "team": {"running": 2, "queued": 5}}});
    let expected = QueueLimits {
        team_running: 2,
        team_queued: 5,
        org_running: 3,
        org_queued: 40,
    };
    assert_eq!(QueueLimits::read(&own), expected);
    let much = QueueLimits::read(&json!({"limits": {"org": {"running": u64::MAX}}}));
    assert_eq!(much.org_running, limits::MAX_ORG_WINDOW);
}

#[test]
fn counting_is_left_to_the_broker_where_its_windows_are_enough() {
    let names: Vec<String> = (0..11).map(|number| format!("t{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let counts = |limits: &OrgLimits| limits.counts_running(&team("t00"));
    assert!(!counts(&OrgLimits::default()));
    assert!(!counts(&limits(&names[..10], 100, 10)));
    assert!(counts(&limits(&names, 100, 10)), "eleven windows of ten");
    assert!(counts(&limits(&names[..1], 100, 9)));
    assert!(counts(&limits(&names[..1], 9, 10)));
    let queued = limits(&names[..5], 100, 10);
    assert!(!queued.counts_queued(&team("t00")));
    assert!(limits(&names[..6], 100, 10).counts_queued(&team("t00")));
}

#[test]
fn the_lower_number_holds_while_a_change_is_on_its_way() {
    let mut limits = limits(&["a", "b"], 20, 10);
    if let Some(own) = limits.teams.get_mut(&team("b")) {
        own.org_running = 5;
    }
    assert_eq!(limits.team(&team("a")).org_running, 5);
    assert_eq!(limits.team(&team("unknown")).org_running, 5);
}

#[test]
fn a_run_waits_for_its_team_for_its_org_and_behind_those_that_wait() {
    for (teams, org_running, team_running, expected) in [
        (&[][..], 1, 10, None),
        (&[("a", 1, 0)], 2, 10, None),
        (&[("a", 2, 0)], 9, 2, Some(Cap::Team(2))),
        (&[("a", 1, 0), ("b", 1, 0)], 2, 10, Some(Cap::Org(2))),
        // The free place is b's.
        (&[("a", 1, 0), ("b", 0, 1)], 2, 10, Some(Cap::Org(2))),
        (&[("a", 1, 0), ("b", 0, 1)], 3, 10, None),
        // b waits for its own window: nobody keeps a place for it.
        (&[("a", 1, 0), ("b", 2, 5)], 4, 2, None),
        // As before there were orgs: a free place in the own window goes to whoever comes.
        (&[("a", 1, 9)], 2, 10, None),
    ] {
        let limits = limits(&["a", "b"], org_running, team_running);
        let told = load(teams).must_wait(&team("a"), &limits);
        assert_eq!(told, expected, "{teams:?} of {org_running}");
    }
}

#[test]
fn a_full_queue_says_whose_number_it_ran_into() {
    let mut limits = limits(&["a", "b"], 1, 10);
    for own in limits.teams.values_mut() {
        (own.team_queued, own.org_queued) = (3, 5);
    }
    for (teams, priority, expected) in [
        (&[("a", 0, 2), ("b", 0, 2)][..], Priority::Normal, None),
        (&[("a", 0, 3)], Priority::Normal, Some(Cap::Team(3))),
        (
            &[("a", 0, 2), ("b", 0, 3)],
            Priority::Normal,
            Some(Cap::Org(5)),
        ),
        // A flood of one severity takes no room from what is worse.
        (&[("a", 0, 3), ("b", 0, 3)], Priority::Critical, None),
    ] {
        let told = load(teams).may_not_wait(&team("a"), priority, &limits);
        assert_eq!(told, expected, "{teams:?}");
    }
}

#[test]
fn the_team_with_the_fewest_runs_is_next_and_equals_take_turns() {
    for (teams, org_running, after, expected) in [
        (&[("a", 1, 0)][..], 2, None, None),
        (&[("a", 1, 9), ("b", 0, 1)], 2, Some("a"), Some("b")),
        (&[("a", 1, 9), ("b", 1, 1)], 2, Some("a"), None),
        (&[("a", 0, 9), ("b", 0, 1)], 1, Some("a"), Some("b")),
        (&[("a", 0, 9), ("b", 0, 1)], 1, Some("b"), Some("a")),
        (&[("a", 0, 9), ("b", 0, 1)], 1, None, Some("a")),
        (&[("a", 0, 9), ("c", 0, 9)], 1, Some("b"), Some("c")),
        (&[("a", 0, 9)], 1, Some("a"), Some("a")),
        (&[("a", 10, 9), ("b", 10, 9)], 50, Some("a"), None),
    ] {
        let limits = limits(&["a", "b", "c"], org_running, 10);
        let next = load(teams).next(&limits, after.map(team).as_ref());
        let told = match &next {
            Next::Team(team, Priority::Normal) => Some(team.as_str()),
            _ => None,
        };
        assert_eq!(told, expected, "{teams:?} after {after:?}: {next:?}");
    }
    let nobody = load(&[("a", 1, 0)]).next(&limits(&["a"], 1, 10), None);
    assert_eq!(nobody, Next::Nobody);
}

#[test]
fn the_most_severe_run_of_the_team_is_next() {
    let mut load = load(&[("a", 0, 5)]);
    let limits = limits(&["a"], 1, 10);
    for (priority, count) in [
        (Priority::Low, 2),
        (Priority::High, 1),
        (Priority::Critical, 0),
    ] {
        if let Some(own) = load.teams.get_mut(&team("a")) {
            own.waiting.insert(priority, count);
        }
    }
    assert_eq!(
        load.next(&limits, None),
        Next::Team(team("a"), Priority::High)
    );
}

proptest! {
    /// Whatever ends in which order: the org's number is kept, and each place goes around the circle of teams
    /// without passing over one that has nothing and waits.
    #[test]
    fn nobody_is_passed_over(
        places in 1_usize..6,
        floods in prop::collection::vec(1_u64..40, 2..8),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let names: Vec<String> = (0..floods.len()).map(|number| format!("t{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let limits = limits(&names, places as u64, 10);
        let start: Vec<_> = names.iter().zip(&floods).map(|(name, count)| (*name, 0, *count)).collect();
        let mut load = load(&start);
        let mut running: VecDeque<TeamId> = VecDeque::new();
        let mut passed: BTreeMap<TeamId, usize> = BTreeMap::new();
        let mut after: Option<TeamId> = None;
        for end in ends {
            while let Next::Team(next, priority) = load.next(&limits, after.as_ref()) {
                let others: Vec<TeamId> = load.teams.iter()
                    .filter(|(other, own)| **other != next && own.running == 0 && own.first().is_some())
                    .map(|(other, _)| other.clone()).collect();
                for other in others {
                    let times = passed.entry(other).or_default();
                    *times += 1;
                    prop_assert!(*times <= places * names.len(), "passed over {times} times");
                }
                passed.remove(&next);
                if let Some(own) = load.teams.get_mut(&next) {
                    own.running += 1;
                    if let Some(count) = own.waiting.get_mut(&priority) {
                        *count -= 1;
                    }
                }
                running.push_back(next.clone());
                after = Some(next);
            }
            prop_assert!(load.running() <= places as u64);
            if running.is_empty() {
                break;
            }
            if let Some(ended) = running.remove(end.index(running.len())) {
                if let Some(own) = load.teams.get_mut(&ended) {
                    own.running -= 1;
                }
                after = Some(ended);
            }
        }
    }
}
