use super::*;

#[test]
fn questions_become_filters_or_say_what_is_wrong() {
    let now: Timestamp = "2026-01-02T12:00:00Z".parse().expect("a time");
    let limit = |question| filter(question, now).map(|filter| filter.limit);
    assert_eq!(limit(Value::Null), Ok(DEFAULT_LIMIT));
    assert_eq!(limit(json!({ "limit": 0 })), Ok(1));
    assert_eq!(
        limit(json!({ "limit": 9_999, "provider": null })),
        Ok(MAX_LIMIT)
    );
    assert_eq!(
        limit(json!({ "limit": "many" })).map_err(|answer| answer.code),
        Err(400)
    );
    assert_eq!(
        limit(json!({ "lmit": 1 })).map_err(|answer| answer.code),
        Err(400)
    );
    for (text, expected) in [
        ("15m", Some("2026-01-02T11:45:00Z")),
        ("2h", Some("2026-01-02T10:00:00Z")),
        ("PT1H", Some("2026-01-02T11:00:00Z")),
        ("2026-01-01T00:00:00+01:00", Some("2025-12-31T23:00:00Z")),
        ("yesterday", None),
        ("", None),
    ] {
        assert_eq!(
            since(text, now).map(|at| at.to_string()).as_deref(),
            expected,
            "{text:?}"
        );
    }
}
