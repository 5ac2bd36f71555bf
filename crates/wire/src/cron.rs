//! Schedules: the five fields of cron, in a time zone.
//!
//! `*`, numbers, names, ranges, steps and lists. As in every cron: when both the day of the month and the day
//! of the week are restricted, one of the two is enough.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Lowest and highest number of each field, and names that may stand for numbers.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Both kinds of day are restricted.
    either_day: bool,
}

/// The text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no schedule: expected five cron fields, such as \"0 2 * * *\"")]
pub struct InvalidCron(pub String);

/// Numbers below 64, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn insert(&mut self, number: u32) {
        self.0 |= 1_u64.checked_shl(number).unwrap_or(0);
    }

    fn has(self, number: u32) -> bool {
        self.0 & 1_u64.checked_shl(number).unwrap_or(0) != 0
    }

    /// Highest first.
    fn descending(self, high: i8) -> impl Iterator<Item = i8> {
        (0..=high)
            .rev()
            .filter(move |number| u32::try_from(*number).is_ok_and(|number| self.has(number)))
    }
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidCron(text.chars().take(100).collect()))
    }
}

fn parse(text: &str) -> Option<Cron> {
    let texts: Vec<&str> = text.split_ascii_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return None;
    }
    let mut sets = [Set::default(); FIELDS.len()];
    for ((text, limits), set) in texts.iter().zip(FIELDS).zip(&mut sets) {
        for part in text.split(',') {
            add(part, limits, set)?;
        }
    }
    let [minutes, hours, days, months, mut weekdays] = sets;
    if weekdays.has(7) {
        weekdays.insert(0);
    }
    let is_restricted = |place: usize| texts.get(place).is_some_and(|text| !text.starts_with('*'));
    Some(Cron {
        minutes,
        hours,
        days,
        months,
        weekdays,
        either_day: is_restricted(2) && is_restricted(4),
    })
}

fn add(part: &str, limits: (u32, u32, &[&str]), set: &mut Set) -> Option<()> {
    let (low, high, _) = limits;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)?),
        None => (part, 1),
    };
    if step > high {
        return None;
    }
    let (from, to) = match range.split_once('-') {
        _ if range == "*" => (low, high),
        Some((from, to)) => (number(from, limits)?, number(to, limits)?),
        // `5/15` goes on to the end of the field.
        None if part.contains('/') => (number(range, limits)?, high),
        None => {
            let only = number(range, limits)?;
            (only, only)
        }
    };
    if from > to {
        return None;
    }
    let step = usize::try_from(step).ok()?;
    (from..=to)
        .step_by(step)
        .for_each(|number| set.insert(number));
    Some(())
}

fn number(text: &str, (low, high, names): (u32, u32, &[&str])) -> Option<u32> {
    let named = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .and_then(|position| u32::try_from(position).ok())
        .map(|position| position + low);
    let digits = || {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse().ok()).flatten()
    };
    named
        .or_else(digits)
        .filter(|number| (low..=high).contains(number))
}

impl Cron {
    /// The last time at or before `at` that the schedule names, if it is less than `within` ago. A local
    /// time that a change of clocks skips counts as the one after the gap; one that comes twice counts the
    /// first time.
    pub fn latest(
        &self,
        at: Timestamp,
        within: SignedDuration,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let earliest = at.checked_sub(within).ok()?;
        let first = earliest.to_zoned(zone.clone()).date();
        let mut date = at.to_zoned(zone.clone()).date();
        while date >= first {
            if self.has_day(date) {
                let times = self.hours.descending(23).flat_map(|hour| {
                    self.minutes
                        .descending(59)
                        .map(move |minute| date.at(hour, minute, 0, 0))
                });
                let mut times = times.filter_map(|time| zone.to_timestamp(time).ok());
                if let Some(found) = times.find(|time| *time <= at) {
                    // The latest of all: an earlier one is no answer either.
                    return (found > earliest).then_some(found);
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let has = |set: Set, number: i8| u32::try_from(number).is_ok_and(|number| set.has(number));
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let day = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        day && has(self.months, date.month())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_told_from_other_text() {
        for good in [
            "0 2 * * *",
            "0 */2 * * *",
            "*/5 0-12 1,15 jan-mar MON",
            " 0  3 * * 0 ",
            "0 4 * * 7",
        ] {
            assert!(good.parse::<Cron>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "0 2 * *",
            "0 2 * * * *",
            "60 2 * * *",
            "0 24 * * *",
            "0 2 0 * *",
            "0 2 * * 8",
            "*/0 * * * *",
            "*/60 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "@daily",
            "+1 * * * *",
            "0 2 * * mon-",
        ] {
            assert!(bad.parse::<Cron>().is_err(), "{bad}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_latest_time_is_found_in_its_zone() {
        let hours = SignedDuration::from_hours;
        for (cron, zone, at, within, expected) in [
            (
                "0 2 * * *",
                "UTC",
                "2026-11-21T02:00:00Z",
                1,
                Some("2026-11-21T02:00:00Z"),
            ),
            (
                "0 2 * * *",
                "UTC",
                "2026-11-21T02:59:59Z",
                1,
                Some("2026-11-21T02:00:00Z"),
            ),
            ("0 2 * * *", "UTC", "2026-11-21T03:00:00Z", 1, None),
            ("0 2 * * *", "UTC", "2026-11-21T01:59:59Z", 1, None),
            (
                "30 23 * * *",
                "UTC",
                "2026-11-22T00:15:00Z",
                1,
                Some("2026-11-21T23:30:00Z"),
            ),
            (
                "0 2 * * *",
                "Europe/Berlin",
                "2026-11-21T01:30:00Z",
                1,
                Some("2026-11-21T01:00:00Z"),
            ),
            (
                "0 2 * * sat",
                "Europe/Berlin",
                "2026-11-21T01:30:00Z",
                1,
                Some("2026-11-21T01:00:00Z"),
            ),
            (
                "0 2 * * 7",
                "Europe/Berlin",
                "2026-11-21T01:30:00Z",
                1,
                None,
            ),
            (
                "0 2 21 * mon",
                "UTC",
                "2026-11-21T02:30:00Z",
                1,
                Some("2026-11-21T02:00:00Z"),
            ),
            (
                "*/15 * * * *",
                "Asia/Kathmandu",
                "2026-11-21T02:07:00Z",
                1,
                Some("2026-11-21T02:00:00Z"),
            ),
            // 02:30 does not exist on this day; the clock goes from 02:00 to 03:00.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-29T01:45:00Z",
                1,
                Some("2026-03-29T01:30:00Z"),
            ),
            // 02:30 comes twice on this one.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-25T01:15:00Z",
                1,
                Some("2026-10-25T00:30:00Z"),
            ),
            (
                "0 0 1 * *",
                "UTC",
                "2026-11-05T00:00:00Z",
                168,
                Some("2026-11-01T00:00:00Z"),
            ),
            ("0 0 1 * *", "UTC", "2026-11-09T00:00:00Z", 168, None),
        ] {
            let schedule: Cron = cron.parse().expect("cron");
            let timezone = TimeZone::get(zone).expect("zone");
            let found = schedule.latest(at.parse().expect("time"), hours(within), &timezone);
            let expected = expected.map(|text| text.parse().expect("time"));
            assert_eq!(found, expected, "{cron} in {zone} at {at}");
        }
    }
}
