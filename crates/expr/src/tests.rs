use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scope() -> Scope {
    Scope::of([
        "title",
        "severity",
        "actor.kind",
        "actor.name",
        "identifiers.github_repo",
        "identifiers.slack_channel_id",
        "attributes.*",
        "step.result.*",
    ])
}

fn values() -> Value {
    json!({
        "title": "Checkout is slow",
        "severity": "high",
        "actor": {"kind": "user", "name": "jane"},
        "identifiers": {"github_repo": "acme/checkout", "slack_channel_id": ""},
        "attributes": {"count": "12", "x-y": "z"},
        "step": {"result": {"category": "billing", "price": 2.5, "quantity": 4}},
        "list": ["a", "b"],
    })
}

fn outcome(source: &str) -> Result<Value, String> {
    let mut program = Program::default();
    let expression = Expression::parse(source).map_err(|fault| fault.to_string())?;
    let number = program
        .add(&expression)
        .map_err(|fault| fault.to_string())?;
    let values = Values::new(&values());
    program
        .evaluate(number, &values)
        .map_err(|failure| failure.to_string())
}

#[test]
fn expressions_have_their_values() {
    for (source, expected) in [
        ("severity == 'high'", json!(true)),
        ("severity in ['high', \"critical\"]", json!(true)),
        ("severity not in ['high']", json!(false)),
        ("'checkout' in title|lower", json!(true)),
        ("title is startingwith 'Check' and not (1 > 2)", json!(true)),
        ("title is not endingwith('slow')", json!(false)),
        ("title.toLowerCase().contains('slow')", json!(true)),
        ("title.startsWith('slow') or title|length > 3", json!(true)),
        ("attributes['x-y'] == 'z'", json!(true)),
        ("attributes.count|int > 9", json!(true)),
        ("attributes.nothing is defined", json!(false)),
        ("attributes.nothing|default('none') == 'none'", json!(true)),
        ("identifiers.slack_channel_id", json!("")),
        ("identifiers.slack_channel_id|default('C1')", json!("C1")),
        ("title[0] ~ title[1:3]", json!("Che")),
        ("list[1] ~ list|last ~ list|join('-')", json!("bba-b")),
        (
            "title|replace('slow', 'fast')|split(' ')|first",
            json!("Checkout"),
        ),
        ("1 + 2 * 3 - 4 / 2", json!(5.0)),
        ("2 * 3 * 4 == 24", json!(true)),
        ("2 * (1 + 1) ** 2", json!(8)),
        ("-2 * -3", json!(6)),
        ("7 // 2 + 7 % 2", json!(4)),
        ("1 < 2 < 3", json!(true)),
        ("'a' if severity == 'low' else 'b'", json!("b")),
        ("{'a': [1, none]}", json!({"a": [1, null]})),
        ("(1, 'two')", json!([1, "two"])),
        // Older forms.
        ("$step.result.category == 'billing'", json!(true)),
        ("${step.result.category == 'billing'}", json!(true)),
        ("${step.result.category} == 'billing'", json!(true)),
        (
            "${step.result.price} * ${step.result.quantity}",
            json!(10.0),
        ),
        ("!($severity == 'low') && title != null", json!(true)),
        ("!list[5:]&&severity=='high'||false", json!(true)),
        ("!severity == false", json!(true)),
    ] {
        assert_eq!(outcome(source), Ok(expected), "{source}");
    }
}

#[test]
fn older_forms_become_the_language_and_stay_it() {
    for (source, expected) in [
        ("$a.b == 'x'", "a.b == 'x'"),
        ("${a.b} == '${c}'", "a.b == '${c}'"),
        ("${ a.b  } ", " a.b   "),
        ("${a.b == 1}", "(a.b == 1)"),
        ("${not a}", "(not a)"),
        ("a&&b||c", "a and b or c"),
        ("a && b", "a and b"),
        ("(a)||(b)", "(a) or (b)"),
        ("!a == b", "(not a) == b"),
        ("!!a.b[0]", "(not (not a.b[0]))"),
        ("a == null", "a == none"),
        ("!a * b", "(not a) * b"),
        ("a*!b", "a*(not b)"),
        ("a and b", "a and b"),
    ] {
        let once = Expression::parse(source).expect(source);
        assert_eq!(once.normalised(), expected, "{source}");
        let twice = Expression::parse(once.normalised()).expect(expected);
        assert_eq!(twice.normalised(), expected, "{source}");
    }
}

#[test]
fn faults_say_where_and_what() {
    for (source, expected) in [
        ("", "column 1: an expression is needed"),
        ("  \n", "column 1: an expression is needed"),
        (
            "severity = 'high'",
            "column 10: = stands where the end, or an operator such as and, or, == is needed; two values are \
             compared with ==",
        ),
        (
            "severity ==",
            "column 12: the expression ends where a value is needed",
        ),
        (
            "title == 'x",
            "column 10: the text that begins here has no closing '",
        ),
        ("title # x", "column 7: '#' means nothing here"),
        (
            "title|lowre == 'x'",
            "column 7: there is no filter lowre; did you mean lower?",
        ),
        (
            "title is startswith 'x'",
            "column 10: there is no test startswith; did you mean startingwith?",
        ),
        (
            "title.startswith('x')",
            "column 7: there is no method startswith; did you mean startsWith?",
        ),
        (
            "range(10)",
            "column 1: there is no function range; known are filters, such as title|lower, and methods, such \
             as title.contains('x')",
        ),
        (
            "product(2, 3)",
            "column 1: there is no function product; known are filters, such as title|lower, and methods, \
             such as title.contains('x')",
        ),
        (
            "title == 'a'\n  and (severity",
            "line 2, column 16: the expression ends where ) is needed",
        ),
        (
            "title[0](1)",
            "column 9: only a method of a value can be called",
        ),
        (
            "'ä' in 5x",
            "column 9: a number ends where a name begins; put a space or an operator between",
        ),
        (
            "1 %}{% for x in y %}",
            "column 4: } stands where a value is needed",
        ),
        ("a[]", "column 3: ] stands where an index is needed"),
        ("and", "column 1: and stands where a value is needed"),
        (
            "$ 1",
            "column 3: 1 stands where the name of a value is needed",
        ),
    ] {
        let fault = Expression::parse(source).expect_err(source);
        assert_eq!(fault.to_string(), expected, "{source}");
    }
}

#[test]
fn limits_are_told() {
    let long = format!("'{}'", "a".repeat(MAX_SOURCE_BYTES));
    let deep = format!("{}1{}", "(".repeat(40), ")".repeat(40));
    let signs = format!("{}1", "-".repeat(2_000));
    let nots = format!("{}true", "not ".repeat(1_000));
    let many = vec!["a"; 300].join(" or ");
    let path = vec!["a"; 300].join(".");
    let grows = vec!["title"; 40].join("~");
    for (source, expected) in [
        (long, "at most 4096 are allowed"),
        (deep, "more than 32 levels"),
        (signs, "more than 32 levels"),
        (nots, "more than 32 levels"),
        (many, "more than 250 operations"),
        (path, "more than 250 operations"),
        (grows, "more than 32 of + ~ *"),
    ] {
        let fault = Expression::parse(&source).expect_err("refused").to_string();
        assert!(fault.contains(expected), "{fault}");
    }
}

/// On the stack of a test, as small as that of a worker thread.
#[test]
fn what_the_limits_allow_is_evaluated() {
    let deep = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    let calls = format!("{}title{}", "(".repeat(31), ")|lower".repeat(31));
    let many = vec!["title == 'x'"; 120].join(" or ");
    let path = format!("attributes{} is defined", "[0]".repeat(240));
    let products = vec!["1"; 33].join("*");
    for source in [deep, calls, many, products] {
        assert!(outcome(&source).is_ok(), "{source}");
    }
    assert!(Expression::parse(&path).is_ok());
}

#[test]
fn names_are_checked_against_what_there_is() {
    for (source, expected) in [
        ("title", None),
        ("attributes.whatever.it['is']", None),
        ("attributes[title]", None),
        ("actor['name'] ~ 'actor.nmae'", None),
        (
            "tilte == 'x'",
            Some("column 1: there is no value tilte; did you mean title?"),
        ),
        (
            "title and actor.nmae",
            Some("column 17: there is no value actor.nmae; did you mean actor.name?"),
        ),
        (
            "github_repo == 'a/b'",
            Some("column 1: there is no value github_repo; did you mean identifiers.github_repo?"),
        ),
        (
            "colour",
            Some(
                "column 1: there is no value colour; known are actor, attributes, identifiers, severity, \
                 step, title",
            ),
        ),
        (
            "title.length > 3",
            Some("column 7: title is a single value and has no member length"),
        ),
        (
            "actor == 'jane'",
            Some("column 1: actor is a group; take one of actor.kind, actor.name"),
        ),
        (
            "$actor[\"id\"]",
            Some("column 8: there is no value actor.id; did you mean actor.kind?"),
        ),
    ] {
        let expression = Expression::parse(source).expect(source);
        let told = expression
            .check(&scope())
            .map_err(|fault| fault.to_string());
        assert_eq!(told.err().as_deref(), expected, "{source}");
    }
}

#[test]
fn failures_say_what_went_wrong() {
    for (source, expected) in [
        ("titel == 'x'", "titel has no value"),
        ("actor.nmae and true", "actor.nmae has no value"),
        (
            "attributes.nothing == 'x'",
            "attributes.nothing has no value",
        ),
        ("attributes[title] == 'x'", "the expression has no value"),
        (
            "title|int > 3",
            "the text \"Checkout is slow\" is no number",
        ),
        (
            "title * 1000000",
            "cannot multiply the text \"Checkout is slow\" by 1000000: both must be numbers",
        ),
        (
            "1000000 * [title]",
            "cannot multiply 1000000 by a value of kind sequence: both must be numbers",
        ),
        (
            "2.5.lower()",
            "2.5 is no text, and only texts have the method lower",
        ),
        ("title.contains(5)", "contains needs a text, not 5"),
        (
            "title.contains()",
            "the method contains takes another number of arguments",
        ),
        ("'x' if severity == 'low'", "the expression has no value"),
        (
            "title|replace('', title)|replace('', title)|replace('', title)|replace('', title)|replace('', title)",
            "the text would be longer than 262144 bytes",
        ),
        (
            "title|split('')",
            "split needs a text to split by, such as split(',')",
        ),
        ("1 / 0", "unable to calculate 1 / 0"),
    ] {
        assert_eq!(outcome(source), Err(expected.to_owned()), "{source}");
    }
}

/// The engine knows the same references as our grammar: none escapes the check.
#[test]
fn the_engine_finds_no_other_names() {
    for source in [
        "severity == 'high' and attributes.count|int > 9",
        "title.toLowerCase().contains(actor.name) if list[0] else {'a': severity}",
        "title is startingwith actor['kind']",
        "(title, [severity, -list[1:list|length]])",
    ] {
        let expression = Expression::parse(source).expect(source);
        let roots = |names: Vec<String>| -> std::collections::BTreeSet<String> {
            names.into_iter().collect()
        };
        let ours = expression.references().iter();
        let ours = roots(ours.map(|reference| reference.path[0].clone()).collect());
        let environment = minijinja::Environment::empty();
        let theirs = environment
            .compile_expression(expression.normalised())
            .expect("compiles")
            .undeclared_variables(false);
        assert_eq!(ours, roots(theirs.into_iter().collect()), "{source}");
    }
}

const PIECES: &str = r#"
    title severity actor.name attributes.count list $step.result.price ${step.result.category}
    x 'a' "b" 1 2.5 99999999 null true none ( ) [ ] { } , : . | |lower |int |length
    |join(title) |default('x') .contains('c') .upper() [0] [1:] is defined startingwith not
    and or in if else && || ! == != < >= + - * / // % ** ~ ${ $ %} {{ ä
"#;

/// Pieces of the language, thrown together: some of it is sound, most is not.
fn any_source() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES.split_whitespace().collect::<Vec<_>>());
    let pieces = prop::collection::vec((piece, prop::bool::ANY), 0..40);
    let made = pieces.prop_map(|pieces| {
        let spaced = pieces.into_iter();
        spaced
            .map(|(piece, is_spaced)| format!("{piece}{}", if is_spaced { " " } else { "" }))
            .collect::<String>()
    });
    prop_oneof![9 => made, 1 => ".{0,80}"]
}

/// Sound expressions, of which operands are made again.
fn sound_source() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "title",
        "severity",
        "$actor.name",
        "${attributes.count}",
        "list",
        "'a b'",
        "12",
        "2.5",
        "null",
        "attributes['x-y']",
        "[title, 1]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 2, |inner| {
        let operator = prop::sample::select(vec![
            "&&", "||", " and ", " or ", "==", "!=", " in ", " not in ", "+", "-", "*", "/", "~",
            "<", "**",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}){operator}({right})")),
            inner.clone().prop_map(|inner| format!("!({inner})")),
            inner.clone().prop_map(|inner| format!("${{{inner}}}")),
            inner.clone().prop_map(|inner| format!("({inner})|lower")),
            inner
                .clone()
                .prop_map(|inner| format!("({inner})|join(title)")),
            inner.prop_map(|inner| format!("({inner})|replace('', title)")),
        ]
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time that an evaluation takes is what is tested"
)]
fn now() -> Instant {
    Instant::now()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Nothing panics, and what is sound ends.
    #[test]
    fn anything_ends(source in any_source()) {
        let begin = now();
        let _outcome = outcome(&source);
        prop_assert!(begin.elapsed() < Duration::from_secs(5), "{source}");
    }

    #[test]
    fn what_is_sound_is_read_and_normalised_once(source in sound_source()) {
        let Ok(expression) = Expression::parse(&source) else {
            // Only for a limit.
            prop_assert!(Expression::parse(&source).expect_err("a fault").problem.contains("more than"));
            return Ok(());
        };
        let again = Expression::parse(expression.normalised()).expect("still sound");
        prop_assert_eq!(again.normalised(), expression.normalised());
        prop_assert_eq!(outcome(&source), outcome(expression.normalised()));
        let paths = |expression: &Expression| -> Vec<Vec<String>> {
            expression.references().iter().map(|reference| reference.path.clone()).collect()
        };
        prop_assert_eq!(paths(&again), paths(&expression));
    }
}
