//! What a source picks from bodies, judged when it is saved: as ingress compiles it. Pure.

use tocsin_expr::{Expression, Scope, nearest};
use tocsin_wire::identifier::PRIORITY;
use tocsin_wire::source::{MAX_PICK_BYTES, PICK_NAMES, SourcePick, SourceProvider};

use super::Fault;
use super::settings::at;

/// Longest name of an identifier that a refusal repeats.
const MAX_SHOWN_CHARS: usize = 64;

/// Whether ingress can evaluate every expression.
pub(super) fn check_pick(provider: &SourceProvider, pick: &SourcePick) -> Result<(), Fault> {
    if !provider.takes_pick() {
        let title = provider.title;
        let rule = format!(
            "must be left out: what {title} sends has a known form; a source of provider generic takes any JSON"
        );
        return Err(Fault::new("pick_not_supported", at("pick"), rule));
    }
    if let Some(unknown) = pick.unknown_identifier() {
        return Err(unknown_identifier(unknown));
    }
    let bytes: usize = pick.expressions().map(|(_, source)| source.len()).sum();
    if bytes > MAX_PICK_BYTES {
        let rule =
            format!("must have at most {MAX_PICK_BYTES} bytes in all its expressions, not {bytes}");
        return Err(Fault::new("pick_too_long", at("pick"), rule));
    }
    let scope = Scope::of(PICK_NAMES.iter().copied());
    for (field, source) in pick.expressions() {
        let checked = Expression::parse(source).and_then(|expression| expression.check(&scope));
        if let Err(fault) = checked {
            let rule = format!("must be an expression over body: {fault}");
            let place = at(&format!("pick.{field}"));
            return Err(Fault::new("invalid_expression", place, rule));
        }
    }
    Ok(())
}

fn unknown_identifier(unknown: &str) -> Fault {
    let shown: String = unknown.chars().take(MAX_SHOWN_CHARS).collect();
    let names = PRIORITY.iter().map(|known| known.name);
    let rule = match nearest(unknown, names.clone()) {
        Some(meant) => format!("is no type of identifier that routes; did you mean {meant}?"),
        None => {
            let names: Vec<&str> = names.collect();
            format!(
                "is no type of identifier that routes; those are {}",
                names.join(", ")
            )
        }
    };
    let place = at(&format!("pick.identifiers.{shown}"));
    Fault::new("unknown_identifier", place, rule)
}
