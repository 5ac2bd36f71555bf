//! Which names there are. Pure.

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::grammar::Reference;

/// Says that below a name any other may stand.
const ANY: &str = "*";

/// The names that an expression may use, as a tree.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    members: BTreeMap<String, Scope>,
    is_open: bool,
}

impl Scope {
    /// Of dotted names: `title`, `actor.name`; `attributes.*` when any name may follow.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut root = Self::default();
        for name in names {
            let mut place = &mut root;
            for part in name.split('.') {
                if part == ANY {
                    place.is_open = true;
                    break;
                }
                place = place.members.entry(part.to_owned()).or_default();
            }
        }
        root
    }

    /// Checks that a reference leads to a value.
    pub(crate) fn check(&self, source: &str, reference: &Reference) -> Result<(), Fault> {
        let mut place = self;
        let mut known = String::new();
        for (part, at) in reference.path.iter().zip(&reference.at) {
            if place.is_open {
                return Ok(());
            }
            if place.members.is_empty() {
                let problem = format!("{known} is a single value and has no member {part}");
                return Err(Fault::new(source, *at, problem));
            }
            let Some(next) = place.members.get(part) else {
                return Err(self.unknown((source, *at), place, &known, part));
            };
            if !known.is_empty() {
                known.push('.');
            }
            known.push_str(part);
            place = next;
        }
        if place.is_open || place.members.is_empty() {
            return Ok(());
        }
        let at = reference.at.last().copied().unwrap_or_default();
        let names = place.leaves(&known);
        let problem = format!("{known} is a group; take one of {}", names.join(", "));
        Err(Fault::new(source, at, problem))
    }

    /// The nearest name beside the unknown one, or else anywhere.
    fn unknown(&self, place: (&str, usize), beside: &Self, parent: &str, part: &str) -> Fault {
        let members = beside.members.keys();
        let full: Vec<String> = members
            .map(|name| match parent {
                "" => name.clone(),
                parent => format!("{parent}.{name}"),
            })
            .collect();
        let typed = match parent {
            "" => part.to_owned(),
            parent => format!("{parent}.{part}"),
        };
        // Compared without what they have in common, shown with it.
        let near = crate::nearest(part, beside.members.keys().map(String::as_str));
        if near.is_none() {
            let everywhere = self.leaves("");
            let elsewhere = crate::nearest(part, everywhere.iter().map(String::as_str));
            if let Some(elsewhere) = elsewhere {
                return suggested(place, &typed, elsewhere);
            }
            return Fault::unknown(place, "value", &typed, full.iter().map(String::as_str));
        }
        let meant = near.and_then(|near| {
            full.iter()
                .find(|name| name.rsplit('.').next() == Some(near))
        });
        suggested(place, &typed, meant.map_or("", String::as_str))
    }

    /// All names of single values, dotted, in order.
    fn leaves(&self, parent: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, place) in &self.members {
            let name = match parent {
                "" => name.clone(),
                parent => format!("{parent}.{name}"),
            };
            if place.is_open || place.members.is_empty() {
                found.push(name);
            } else {
                found.extend(place.leaves(&name));
            }
        }
        found
    }
}

fn suggested((source, at): (&str, usize), typed: &str, meant: &str) -> Fault {
    let problem = format!("there is no value {typed}; did you mean {meant}?");
    Fault {
        suggestion: Some(meant.to_owned()),
        ..Fault::new(source, at, problem)
    }
}
