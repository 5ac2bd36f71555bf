//! PromQL functions: over the samples of a range, and over single numbers.

use super::series::SCRAPE_SECONDS;

pub(super) const NAMES: [&str; 20] = [
    "rate",
    "irate",
    "increase",
    "delta",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "abs",
    "ceil",
    "floor",
    "round",
    "sqrt",
    "ln",
    "clamp_min",
    "clamp_max",
    "scalar",
    "time",
];

pub(super) fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether the function takes a range selector.
pub(super) fn over_range(name: &str) -> bool {
    name.ends_with("_over_time") || matches!(name, "rate" | "irate" | "increase" | "delta")
}

/// The value of a function of the samples in `(from, to]`; none when there are too few.
pub(super) fn of_samples(name: &str, samples: &[(f64, f64)], from: f64, to: f64) -> Option<f64> {
    let values = || samples.iter().map(|(_, value)| *value);
    let last = values().next_back()?;
    let count = u32::try_from(samples.len()).map_or(f64::MAX, f64::from);
    match name {
        "rate" => extrapolated(samples, from, to, true).map(|grown| grown / (to - from)),
        "increase" => extrapolated(samples, from, to, true),
        "delta" => extrapolated(samples, from, to, false),
        "irate" => {
            let [.., (earlier, before), (later, after)] = samples else {
                return None;
            };
            let grown = if after < before {
                *after
            } else {
                after - before
            };
            Some(grown / (later - earlier))
        }
        "avg_over_time" => Some(values().sum::<f64>() / count),
        "sum_over_time" => Some(values().sum()),
        "count_over_time" => Some(count),
        "min_over_time" => values().reduce(f64::min),
        "max_over_time" => values().reduce(f64::max),
        "last_over_time" => Some(last),
        _ => None,
    }
}

/// Growth over the whole window, extrapolated from the samples inside it as Prometheus does.
fn extrapolated(samples: &[(f64, f64)], from: f64, to: f64, counter: bool) -> Option<f64> {
    let [(first_at, first), .., (last_at, last)] = samples else {
        return None;
    };
    let mut grown = last - first;
    if counter {
        let resets = samples.iter().zip(samples.iter().skip(1));
        let lost = resets.filter(|((_, before), (_, after))| after < before);
        grown += lost.map(|((_, before), _)| *before).sum::<f64>();
    }
    let sampled = last_at - first_at;
    let mut to_start = first_at - from;
    if counter && grown > 0.0 && *first >= 0.0 {
        // A counter cannot have been below zero.
        to_start = to_start.min(sampled * (first / grown));
    }
    let near = SCRAPE_SECONDS * 1.1;
    let reach = |gap: f64| {
        if gap < near {
            gap
        } else {
            SCRAPE_SECONDS / 2.0
        }
    };
    Some(grown * (sampled + reach(to_start) + reach(to - last_at)) / sampled)
}

/// A function of one number and, for some, a second argument.
pub(super) fn of_number(name: &str, value: f64, argument: Option<f64>) -> Option<f64> {
    match name {
        "abs" => Some(value.abs()),
        "ceil" => Some(value.ceil()),
        "floor" => Some(value.floor()),
        "sqrt" => Some(value.sqrt()),
        "ln" => Some(value.ln()),
        "round" => {
            let step = argument.unwrap_or(1.0);
            Some((value / step).round() * step)
        }
        "clamp_min" => argument.map(|least| value.max(least)),
        "clamp_max" => argument.map(|most| value.min(most)),
        _ => None,
    }
}
