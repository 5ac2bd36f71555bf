use proptest::prelude::*;
use serde_json::json;

use super::*;

fn overlay(upper: &Config, lower: &Config) -> Config {
    let mut result = upper.clone();
    super::overlay(&mut result, lower);
    result
}

fn config(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

#[test]
fn layers_combine_as_documented() {
    for (name, layers, expected) in [
        (
            "the worked example",
            vec![
                json!({"x":{"a":1,"b":[1,2],"c":"k"},"l":[1,2,3]}),
                json!({"x":{"a":null,"b":[9],"d":5},"l":[]}),
            ],
            json!({"x":{"a":null,"b":[9],"c":"k","d":5},"l":[]}),
        ),
        ("no layer", vec![], json!({})),
        (
            "an empty object changes nothing",
            vec![json!({"a":{"b":1}}), json!({"a":{}})],
            json!({"a":{"b":1}}),
        ),
        (
            "types that differ replace",
            vec![json!({"a":{"b":1},"c":2}), json!({"a":3,"c":{"d":4}})],
            json!({"a":3,"c":{"d":4}}),
        ),
        (
            "null over an object is null",
            vec![json!({"a":{"b":1}}), json!({"a":null})],
            json!({"a":null}),
        ),
        (
            "a marker that was stored long ago lets the upper value show",
            vec![
                json!({"a":1,"b":{"c":2}}),
                json!({"a":"__INHERIT__","b":{"c":"__INHERIT__"},"d":{"e":"__INHERIT__"}}),
            ],
            json!({"a":1,"b":{"c":2}}),
        ),
        (
            "three layers",
            vec![
                json!({"a":1,"b":1,"c":1}),
                json!({"b":2,"c":2}),
                json!({"c":3}),
            ],
            json!({"a":1,"b":2,"c":3}),
        ),
    ] {
        let layers: Vec<Config> = layers.into_iter().map(config).collect();
        assert_eq!(Value::Object(effective(&layers)), expected, "{name}");
    }
}

#[test]
fn patches_change_a_nodes_own_config_as_documented() {
    for (name, own, patch, expected) in [
        (
            "merges",
            json!({"a":{"b":1}}),
            json!({"a":{"c":2}}),
            json!({"a":{"b":1,"c":2}}),
        ),
        (
            "keeps null",
            json!({"a":1}),
            json!({"a":null}),
            json!({"a":null}),
        ),
        (
            "removes a key",
            json!({"a":1,"b":2}),
            json!({"a":"__INHERIT__"}),
            json!({"b":2}),
        ),
        (
            "removes what it emptied",
            json!({"a":{"b":{"c":1}},"d":2}),
            json!({"a":{"b":{"c":"__INHERIT__"}}}),
            json!({"d":2}),
        ),
        (
            "keeps what was empty before",
            json!({"a":{}}),
            json!({"a":{"b":"__INHERIT__"}}),
            json!({"a":{}}),
        ),
        (
            "removing what is not there changes nothing",
            json!({"a":5}),
            json!({"a":{"b":"__INHERIT__"},"c":{"d":"__INHERIT__"}}),
            json!({"a":5}),
        ),
        (
            "removes and sets in one go",
            json!({"a":{"b":1}}),
            json!({"a":{"b":"__INHERIT__","c":2}}),
            json!({"a":{"c":2}}),
        ),
        (
            "an array is one value",
            json!({"a":[1]}),
            json!({"a":["__INHERIT__"]}),
            json!({"a":["__INHERIT__"]}),
        ),
    ] {
        let result = patched(&config(own), &config(patch));
        assert_eq!(Value::Object(result), expected, "{name}");
    }
}

#[test]
fn grouping_matters_where_an_object_meets_a_scalar() {
    let [upper, middle, lower] =
        [json!({"k":{"x":1}}), json!({"k":5}), json!({"k":{"y":2}})].map(config);
    let from_the_top = overlay(&overlay(&upper, &middle), &lower);
    let from_below = overlay(&upper, &overlay(&middle, &lower));
    assert_eq!(Value::Object(from_the_top.clone()), json!({"k":{"y":2}}));
    assert_eq!(Value::Object(from_below), json!({"k":{"x":1,"y":2}}));
    assert_eq!(effective([&upper, &middle, &lower]), from_the_top);
}

/// Any JSON value, markers included.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5_i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
        Just(Value::from(INHERIT)),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn any_config() -> impl Strategy<Value = Config> {
    prop::collection::btree_map("[abc]", any_value(), 0..4)
        .prop_map(|entries| entries.into_iter().collect())
}

fn clean_config() -> impl Strategy<Value = Config> {
    any_config().prop_map(|config| without_markers(&config))
}

/// Configs that agree on which keys are objects: upper-case ones are, and no others.
fn shaped_config() -> impl Strategy<Value = Config> {
    let leaf = (0..5_i64).prop_map(Value::from);
    let leaves = prop::collection::btree_map("[ab]", leaf, 0..3);
    let level: BoxedStrategy<Config> = leaves
        .clone()
        .prop_map(|entries| entries.into_iter().collect())
        .boxed();
    (0..3).fold(level, |inner, _| {
        let objects = prop::collection::btree_map("[AB]", inner.prop_map(Value::Object), 0..3);
        (leaves.clone(), objects)
            .prop_map(|(leaves, objects)| leaves.into_iter().chain(objects).collect())
            .boxed()
    })
}

proptest! {
    #[test]
    fn the_empty_config_is_neutral(config in clean_config()) {
        prop_assert_eq!(&overlay(&Config::new(), &config), &config);
        prop_assert_eq!(&overlay(&config, &Config::new()), &config);
        prop_assert_eq!(&patched(&config, &Config::new()), &config);
    }

    #[test]
    fn repeating_changes_nothing(upper in any_config(), lower in any_config()) {
        let once = effective([&upper, &lower]);
        prop_assert_eq!(&effective([&upper, &lower, &lower]), &once);
        let own = patched(&upper, &lower);
        prop_assert_eq!(patched(&own, &lower), own);
    }

    #[test]
    fn grouping_is_free_where_shapes_agree(
        upper in shaped_config(), middle in shaped_config(), lower in shaped_config()
    ) {
        prop_assert_eq!(
            overlay(&overlay(&upper, &middle), &lower),
            overlay(&upper, &overlay(&middle, &lower))
        );
    }

    #[test]
    fn the_last_writer_wins(upper in any_config(), lower in clean_config()) {
        let result = effective([&upper, &lower]);
        for (key, value) in &lower {
            match value {
                Value::Object(_) => prop_assert!(result[key].is_object()),
                leaf => prop_assert_eq!(&result[key], leaf),
            }
        }
    }

    #[test]
    fn what_nobody_below_mentions_is_inherited(upper in clean_config(), lower in any_config()) {
        let result = effective([&upper, &lower]);
        for (key, value) in &upper {
            if !lower.contains_key(key) {
                prop_assert_eq!(&result[key], value);
            }
        }
    }

    #[test]
    fn a_patch_without_markers_merges_like_a_layer(own in clean_config(), patch in clean_config()) {
        prop_assert_eq!(patched(&own, &patch), overlay(&own, &patch));
    }

    #[test]
    fn inputs_stay_as_they_were(own in any_config(), patch in any_config()) {
        let (own_before, patch_before) = (own.clone(), patch.clone());
        let _result = (patched(&own, &patch), effective([&own, &patch]));
        prop_assert_eq!((own, patch), (own_before, patch_before));
    }

    #[test]
    fn no_marker_survives(own in clean_config(), patch in any_config()) {
        let result = patched(&own, &patch);
        prop_assert_eq!(&without_markers(&result), &result);
    }
}
