//! Schedules: the five fields of cron, checked when they are saved. Pure.

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

/// Whether the text is a schedule: `*`, numbers, names, ranges, steps and lists in five fields.
pub(crate) fn is_cron(text: &str) -> bool {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    fields.len() == FIELDS.len()
        && fields
            .iter()
            .zip(FIELDS)
            .all(|(field, limits)| field.split(',').all(|part| is_part(part, limits)))
}

fn is_part(part: &str, limits: (u32, u32, &[&str])) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let step_is_good = step.is_none_or(|step| {
        step.parse::<u32>()
            .is_ok_and(|step| (1..=limits.1).contains(&step))
    });
    let range_is_good = match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => {
            matches!((number(from, limits), number(to, limits)), (Some(from), Some(to)) if from <= to)
        }
        None => number(range, limits).is_some(),
    };
    step_is_good && range_is_good
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
            assert!(is_cron(good), "{good}");
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
            "5-1 * * * *",
            "a * * * *",
            "@daily",
            "+1 * * * *",
            "0 2 * * mon-",
        ] {
            assert!(!is_cron(bad), "{bad}");
        }
    }
}
