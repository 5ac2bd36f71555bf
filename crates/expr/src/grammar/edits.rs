//! Changes of a source, at bytes of it. Pure.

use std::ops::Range;

/// A change of the source; the greater classes come later at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Close,
    Open,
    Replace,
}

#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) class: Class,
    pub(super) text: &'static str,
    /// Only for the engine, not for people.
    pub(super) is_hidden: bool,
}

/// `source` with the changes made.
pub(super) fn edited<'a>(source: &str, edits: impl Iterator<Item = &'a Edit>) -> String {
    let mut edits: Vec<&Edit> = edits.collect();
    edits.sort_by(|one, two| (one.at.start, &one.class).cmp(&(two.at.start, &two.class)));
    let mut text = String::with_capacity(source.len() + 64);
    let mut done = 0;
    for edit in edits {
        text.push_str(source.get(done..edit.at.start).unwrap_or_default());
        done = edit.at.end;
        // A word needs its spaces, a bracket does not.
        let is_word = edit.text.starts_with(char::is_alphabetic) && edit.class == Class::Replace;
        if is_word && !text.is_empty() && !text.ends_with([' ', '(', '\n', '\t']) {
            text.push(' ');
        }
        text.push_str(edit.text);
        let rest = source.get(done..).unwrap_or_default();
        if is_word && !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            text.push(' ');
        }
    }
    text.push_str(source.get(done..).unwrap_or_default());
    text
}
