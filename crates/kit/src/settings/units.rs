//! Numbers with their unit: lengths of time and sizes.

use std::{fmt, str::FromStr, time::Duration};

/// A length of time, written `250ms`, `5s`, `2m`, `1h` or `7d`. Prints in the largest whole unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(Duration);

/// A size in bytes, written `512`, `64KiB`, `1MiB` or `2GiB`. Prints in the largest whole unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

/// A setting's number or unit is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidUnit {
    pub value: String,
    pub expected: &'static str,
}

const MILLISECONDS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const BYTES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Seconds {
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

impl FromStr for Seconds {
    type Err = InvalidUnit;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        parse(value, MILLISECONDS)
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .ok_or_else(|| InvalidUnit {
                value: value.to_owned(),
                expected: "a whole number followed by ms, s, m, h or d, such as 250ms or 5s",
            })
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        print(formatter, milliseconds, MILLISECONDS, "0s")
    }
}

impl Bytes {
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As a length of something in memory; more than that can address is as good as no limit.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = InvalidUnit;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        parse(value, BYTES).map(Self).ok_or_else(|| InvalidUnit {
            value: value.to_owned(),
            expected: "a whole number of bytes, or one followed by KiB, MiB or GiB, such as 512KiB",
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(formatter, self.0, BYTES, "0")
    }
}

/// Digits, then exactly one of the units; `None` for anything else and for what overflows.
fn parse(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The largest unit that divides the number, so that printing loses nothing.
fn print(
    formatter: &mut fmt::Formatter<'_>,
    number: u64,
    units: &[(&str, u64)],
    zero: &str,
) -> fmt::Result {
    if number == 0 {
        return formatter.write_str(zero);
    }
    let unit = units
        .iter()
        .rev()
        .find(|(_, factor)| number.is_multiple_of(*factor));
    match unit {
        // Plain bytes print without the unit that they may be written with.
        Some((_, 1)) | None => write!(formatter, "{number}{}", units.first().map_or("", |u| u.0)),
        Some((name, factor)) => write!(formatter, "{}{name}", number / factor),
    }
}
