//! Markdown, as models write it, to Slack's mrkdwn; and the defence against what it may contain.
//!
//! Every `<`, `>` and `&` of the input is escaped first, so no text of a model, an alert or a log can
//! mention a channel, a person or a group. The only angle brackets in the output are the links that are
//! made here, to http and https only.

/// Slack's limit for a section is 3,000 characters; the rest is room for closing a fence.
const MAX_SECTION: usize = 2_900;

const FENCE: &str = "```";

/// For text that is not markdown: titles, ids, errors.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text that Tocsin itself composed in mrkdwn: left as it is, but that it can never call a whole
/// channel or group.
pub fn without_broadcasts(text: &str) -> String {
    text.replace("<!", "&lt;!")
}

/// Cut to at most `most` characters, with an ellipsis where something is missing.
pub fn clip(text: &str, most: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// The whole conversion.
pub fn from_markdown(markdown: &str) -> String {
    let mut lines = Vec::new();
    let (mut in_fence, mut in_table) = (false, false);
    for line in markdown.trim().lines() {
        let is_fence = line.trim_start().starts_with(FENCE);
        let is_row = !in_fence && !is_fence && line.trim_start().starts_with('|');
        if is_row != in_table {
            lines.push(FENCE.to_owned());
            in_table = is_row;
        }
        if is_fence {
            in_fence = !in_fence;
            // Slack shows a language tag as text.
            lines.push(FENCE.to_owned());
        } else if in_fence || in_table {
            lines.push(escape(line));
        } else {
            lines.push(inline_line(line));
        }
    }
    if in_fence || in_table {
        lines.push(FENCE.to_owned());
    }
    lines.join("\n")
}

fn inline_line(line: &str) -> String {
    let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
    let body = line.trim_start();
    let hashes = body.len() - body.trim_start_matches('#').len();
    if (1..=6).contains(&hashes)
        && let Some(title) = body.get(hashes..).and_then(|rest| rest.strip_prefix(' '))
    {
        let title = inline(title.trim_end_matches(['#', ' '])).replace('*', "");
        return format!("*{title}*");
    }
    let item = body.strip_prefix("- ").or_else(|| body.strip_prefix("* "));
    match item {
        Some(item) => format!("{indent}• {}", inline(item)),
        None => format!("{indent}{}", inline(body)),
    }
}

/// Code spans stay; outside of them bold and links are rewritten.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            out.push('`');
        }
        if index % 2 == 1 {
            out.push_str(&escape(part));
        } else {
            out.push_str(&links(part).replace("**", "*").replace("__", "_"));
        }
    }
    out
}

/// `[label](https://…)` becomes a Slack link; a link to anything else stays text.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, label, url, after)) = next_link(rest) {
        out.push_str(&escape(before));
        if is_safe_url(url) {
            let label = escape(label).replace('|', "¦");
            out.push_str(&format!("<{}|{label}>", url.replace('&', "&amp;")));
        } else {
            out.push_str(&escape(&format!("{label} ({url})")));
        }
        rest = after;
    }
    out.push_str(&escape(rest));
    out
}

fn next_link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, tail) = text.split_once("](")?;
    let (before, label) = head.rsplit_once('[')?;
    let (url, after) = tail.split_once(')')?;
    Some((before, label, url, after))
}

fn is_safe_url(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>|\"`".contains(&byte))
}

/// Splits mrkdwn into texts that fit a section each, at most `most` of them; the last one says when
/// something was left out. Lines stay whole where they fit; a code fence is closed and opened again.
pub fn sections(mrkdwn: &str, most: usize) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut in_fence = false;
    for line in mrkdwn.lines().flat_map(pieces) {
        if length(&current) + length(line) + 1 + FENCE.len() > MAX_SECTION && !current.is_empty() {
            if in_fence {
                current.push_str(FENCE);
            }
            sections.push(std::mem::take(&mut current));
            if in_fence {
                current.push_str("```\n");
            }
        }
        current.push_str(line);
        current.push('\n');
        if line.trim() == FENCE {
            in_fence = !in_fence;
        }
    }
    if in_fence {
        current.push_str(FENCE);
    }
    sections.push(current);
    let mut sections: Vec<String> = sections
        .into_iter()
        .map(|section| section.trim_end().to_owned())
        .filter(|section| !section.trim().is_empty())
        .collect();
    if sections.len() > most {
        sections.truncate(most);
        if let Some(last) = sections.last_mut() {
            last.push_str("\n_… cut here; the run's record has all of it._");
        }
    }
    sections
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A line in pieces that fit a section, never cut inside an escape such as `&lt;`.
fn pieces(line: &str) -> Vec<&str> {
    /// Room for a fence before and after, and the note about what was cut.
    const PIECE: usize = MAX_SECTION - 100;
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((end, _)) = rest.char_indices().nth(PIECE) {
        let (head, _) = rest.split_at(end);
        let end = match head.rfind('&') {
            Some(start) if end - start < 6 && start > 0 => start,
            _ => end,
        };
        let (head, tail) = rest.split_at(end);
        pieces.push(head);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_reads_well_in_slack() {
        for (markdown, expected) in [
            ("**bold** and *it*", "*bold* and *it*"),
            ("## Root cause", "*Root cause*"),
            ("- one\n  * two", "• one\n  • two"),
            (
                "[runbook](https://x.io/a?b=1&c=2)",
                "<https://x.io/a?b=1&amp;c=2|runbook>",
            ),
            ("[x](javascript:alert(1))", "x (javascript:alert(1))"),
            ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
            ("`a<b` **c**", "`a&lt;b` *c*"),
            ("```rust\nlet a = **b**;\n```", "```\nlet a = **b**;\n```"),
            (
                "| a | b |\n|---|---|\nend",
                "```\n| a | b |\n|---|---|\n```\nend",
            ),
            ("```\nopen", "```\nopen\n```"),
            ("#hashtag", "#hashtag"),
        ] {
            assert_eq!(from_markdown(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn nobody_is_called_by_a_model() {
        for attack in [
            "<!channel>",
            "<@U123>",
            "<!subteam^S1>",
            "[x](<!here>)",
            "`<!channel>`",
        ] {
            let safe = from_markdown(attack);
            assert!(!safe.contains('<'), "{attack} -> {safe}");
        }
        assert_eq!(
            without_broadcasts("ask <!here> in <#C1>"),
            "ask &lt;!here> in <#C1>"
        );
    }

    #[test]
    fn long_texts_are_split_at_lines_and_fences_stay_closed() {
        let text = format!("```\n{}```\nend", "0123456789\n".repeat(600));
        let sections = sections(&text, 10);
        assert_eq!(sections.len(), 3);
        for section in &sections {
            assert_eq!(section.matches(FENCE).count() % 2, 0, "{section}");
        }
    }

    proptest! {
        #[test]
        fn sections_always_fit(text in "(\\PC{0,200}|`{3}\n|\n|&|<!channel>|x{4000}){0,30}", most in 1_usize..6) {
            let mrkdwn = from_markdown(&text);
            let sections = sections(&mrkdwn, most);
            prop_assert!(sections.len() <= most);
            for section in &sections {
                prop_assert!(section.chars().count() <= 3_000);
                prop_assert!(!section.contains("<!"));
            }
        }
    }
}
