//! What somebody may have meant. Pure.

/// Names that are compared at most: a list beyond it is no list to mistype from.
const MAX_NAMES: usize = 2_000;

/// Longest name that is compared.
const MAX_CHARS: usize = 64;

/// The known name that is nearest to `typed`, if one is near: a third of the letters may differ.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if typed.chars().count() > MAX_CHARS {
        return None;
    }
    let typed: Vec<char> = typed.to_lowercase().chars().collect();
    known
        .take(MAX_NAMES)
        .filter_map(|name| {
            let letters: Vec<char> = name.to_lowercase().chars().take(MAX_CHARS).collect();
            let allowed = typed.len().max(letters.len()).div_ceil(3).min(4);
            let far = distance(&typed, &letters);
            // `channel` and `slack_channel_ids`: one is a part of the other.
            let is_part = typed.len() >= 4 && contains(&letters, &typed);
            match (far <= allowed && far < letters.len(), is_part) {
                (true, _) => Some((far, name)),
                (false, true) => Some((letters.len(), name)),
                (false, false) => None,
            }
        })
        .min_by_key(|(far, name)| (*far, *name))
        .map(|(_, name)| name)
}

fn contains(letters: &[char], part: &[char]) -> bool {
    letters.windows(part.len()).any(|window| window == part)
}

/// Insertions, deletions and replacements from one to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.iter().enumerate() {
        let mut next = vec![line + 1];
        for ((above_left, above), right) in row.iter().zip(row.iter().skip(1)).zip(to) {
            let replaced = above_left + usize::from(left != right);
            let before = next.last().copied().unwrap_or(line + 1);
            next.push(replaced.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        let known = [
            "agents",
            "tools",
            "routing",
            "slack_channel_ids",
            "mcp_servers",
        ];
        for (typed, expected) in [
            ("agent", Some("agents")),
            ("Agents", Some("agents")),
            ("tool", Some("tools")),
            ("slack_channel_id", Some("slack_channel_ids")),
            ("slack_channels", Some("slack_channel_ids")),
            ("mcp-servers", Some("mcp_servers")),
            ("rooting", Some("routing")),
            ("colour", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), expected, "{typed}");
        }
    }
}
