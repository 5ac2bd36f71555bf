use super::*;

object! {
    Inner { "id" => id: Text<'a> }
}

object! {
    Outer {
        "title" => title: Text<'a>,
        "open" => open: Flag,
        "link" => link: Present,
        "inner" => inner: Inner<'a>,
        "list" => list: List<Inner<'a>>,
    }
}

fn summary(json: &str) -> String {
    match serde_json::from_str::<Outer<'_>>(json) {
        Ok(outer) => {
            let ids: Vec<&str> = outer.list.iter().map(|inner| inner.id.text()).collect();
            format!(
                "{:?} {} {} {:?} {ids:?}",
                outer.title.get(),
                outer.open.0,
                outer.link.0,
                outer.inner.id.get()
            )
        }
        Err(_) => "error".to_owned(),
    }
}

#[test]
fn only_broken_json_is_an_error() {
    let nothing = "None false false None []";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (json, expected) in [
        (
            r#"{"title":"t","open":true,"link":{},"inner":{"id":7},"list":[{"id":"a"},3,{"id":"b"}]}"#,
            r#"Some("t") true true Some("7") ["a", "", "b"]"#,
        ),
        // The last of two keys wins; keys may be escaped.
        (
            r#"{"title":"a","\u0074itle":"b"}"#,
            r#"Some("b") false false None []"#,
        ),
        (
            r#"{"title":{"x":[1]},"open":"true","link":null,"inner":[[]],"list":{"a":1}}"#,
            nothing,
        ),
        (
            r#"{"title":["x"],"open":{"a":1},"inner":"x","list":true}"#,
            nothing,
        ),
        (
            r#"{"title":true,"open":[1],"inner":1.5,"list":-1}"#,
            nothing,
        ),
        (r#"{"title":""}"#, nothing),
        ("[1,2]", nothing),
        ("null", nothing),
        ("5", nothing),
        (&format!(r#"{{"unknown":{deep}}}"#), nothing),
        ("", "error"),
        ("{", "error"),
        (r#"{"title":"x"} y"#, "error"),
        (r#"{"title":tru}"#, "error"),
    ] {
        assert_eq!(summary(json), expected, "{}", &json[..json.len().min(80)]);
    }
}

#[test]
fn text_borrows_and_lists_are_bounded() {
    let body = r#"{"title":"plain","inner":{"id":"esc\"aped"}}"#;
    let outer: Outer<'_> = serde_json::from_str(body).expect("valid");
    assert!(matches!(outer.title.0, Some(Cow::Borrowed("plain"))));
    assert!(matches!(outer.inner.id.0, Some(Cow::Owned(_))));
    let long = format!(r#"{{"list":[{}{{}}]}}"#, "{},".repeat(5000));
    let outer: Outer<'_> = serde_json::from_str(&long).expect("valid");
    assert_eq!(outer.list.len(), MAX_LIST);
}

#[test]
fn members_of_any_name_are_read_and_bounded() {
    let read = |json: &str| serde_json::from_str::<Members<'_>>(json).map(|_| ());
    for json in ["null", "[1]", "7", "true", r#""x""#, "{}", "1.5", "-1"] {
        assert!(read(json).is_ok(), "{json}");
    }
    assert!(read("{").is_err());
    let json = r#"{"a":"1","\u0062":2,"list":[1],"a":"3","empty":""}"#;
    let members: Members<'_> = serde_json::from_str(json).expect("valid");
    assert_eq!(
        (
            members.text("a"),
            members.text("b"),
            members.text("list"),
            members.text("c")
        ),
        ("3", "2", "", "")
    );
    let all: Vec<_> = members.iter().collect();
    assert_eq!(all, [("a", "1"), ("b", "2"), ("a", "3")]);
    let many = (0..5000).map(|index| format!(r#""k{index}":"v""#));
    let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
    let members: Members<'_> = serde_json::from_str(&many).expect("valid");
    assert_eq!(members.iter().count(), MAX_LIST);
}
