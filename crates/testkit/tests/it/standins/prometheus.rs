use serde_json::{Value, json};
use tocsin_testkit::standins::prometheus::Points;
use tocsin_testkit::standins::{Prometheus, http_client};

async fn query(prometheus: &Prometheus, query: &str) -> (u16, Value) {
    let url = format!("{}/api/v1/query", prometheus.url());
    let sent = http_client()
        .unwrap()
        .post(url)
        .form(&[("query", query)])
        .send()
        .await
        .unwrap();
    (sent.status().as_u16(), sent.json().await.unwrap())
}

/// `label=value` pairs and the value rounded to 3 decimals, in order of the labels.
async fn vector(prometheus: &Prometheus, text: &str) -> Vec<String> {
    let (status, body) = query(prometheus, text).await;
    assert_eq!(status, 200, "{text}: {body}");
    let show = |element: &Value| {
        let metric = element["metric"].as_object().unwrap();
        let labels: Vec<String> = metric
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        let value: f64 = element["value"][1].as_str().unwrap().parse().unwrap();
        format!("{} {}", labels.join(","), (value * 1000.0).round() / 1000.0)
    };
    let mut shown: Vec<String> = body["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(show)
        .collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn queries_give_what_prometheus_gives() {
    let prometheus = Prometheus::start().await.unwrap();
    for (service, code, rate) in [
        ("a", "200", 9.0),
        ("a", "500", 1.0),
        ("b", "200", 4.0),
        ("b", "503", 4.0),
        ("c", "200", 2.0),
    ] {
        prometheus.set(
            "hits",
            &[("service", service), ("code", code)],
            Points::rate(rate),
        );
    }
    prometheus.set("temp", &[("room", "x")], 20.0);
    prometheus.set("temp", &[("room", "y")], 30.0);
    let cases: [(&str, &[&str]); 14] = [
        (
            "temp",
            &["__name__=temp,room=x 20", "__name__=temp,room=y 30"],
        ),
        ("temp{room!=\"x\"}", &["__name__=temp,room=y 30"]),
        ("temp{room=~\"x|z\"} * 2", &["room=x 40"]),
        ("temp > 25", &["__name__=temp,room=y 30"]),
        ("-temp{room='x'} + 2 ^ 3 ^ 0", &["room=x -18"]),
        ("sum(rate(hits[5m]))", &[" 20"]),
        (
            "sum by (service) (rate(hits{code=~\"5..\"}[5m])) / sum by (service) (rate(hits[5m]))",
            &["service=a 0.1", "service=b 0.5"],
        ),
        (
            "sum without (code) (increase(hits{service=\"a\"}[10m]))",
            &["service=a 6000"],
        ),
        (
            "topk(1, sum(rate(hits[5m])) by (service))",
            &["service=a 10"],
        ),
        ("count(hits) - 1", &[" 4"]),
        (
            "max_over_time(temp{room=\"x\"}[1h]) >= bool 20",
            &["room=x 1"],
        ),
        ("round(avg(temp) / 10) + scalar(temp{room=\"x\"})", &[" 23"]),
        ("temp / on(room) temp offset 5m", &["room=x 1", "room=y 1"]),
        ("nothing_here", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(vector(&prometheus, text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn what_it_does_not_know_is_a_bad_query_and_never_a_guess() {
    let prometheus = Prometheus::start().await.unwrap();
    let cases = [
        "",
        "sum(",
        "up{job=}",
        "histogram_quantile(0.9, x)",
        "up and up",
        "rate(up)",
        "up * on(job) group_left(x) up",
        "max_over_time(rate(x[5m])[1h:])",
        "{}",
        "up[5x]",
        "1 > 2",
        &format!("{}1{}", "(".repeat(500), ")".repeat(500)),
    ];
    for text in cases {
        let (status, body) = query(&prometheus, text).await;
        assert_eq!(
            (status, &body["errorType"]),
            (400, &json!("bad_data")),
            "{text}: {body}"
        );
    }
}

#[tokio::test]
async fn ranges_series_and_the_door_for_changes() {
    let prometheus = Prometheus::start().await.unwrap();
    let client = http_client().unwrap();
    let get = async |path: &str| -> Value {
        client
            .get(format!("{}{path}", prometheus.url()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let series =
        json!({"metric": "level", "labels": {"tank": "1"}, "points": [[-3600, 1], [-600, 5]]});
    let url = format!("{}/standin/series", prometheus.url());
    let put = client.put(url).json(&series).send().await.unwrap();
    assert_eq!(put.status(), 204);

    let now = get("/api/v1/query?query=time()").await["data"]["result"][0]
        .as_f64()
        .unwrap();
    let (start, end) = (now - 1200.0, now);
    let range = get(&format!(
        "/api/v1/query_range?query=level&start={start}&end={end}&step=5m"
    ))
    .await;
    let values: Vec<&str> = range["data"]["result"][0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point[1].as_str().unwrap())
        .collect();
    assert_eq!((values.len(), values[0], values[4]), (5, "1", "5"));
    let fine = get(&format!(
        "/api/v1/query_range?query=level&start=0&end={end}&step=1"
    ))
    .await;
    assert_eq!(fine["errorType"], "bad_data", "more than 11,000 points");

    let found = get("/api/v1/series?match[]=level").await;
    assert_eq!(found["data"], json!([{"__name__": "level", "tank": "1"}]));
    assert!(
        get("/api/v1/labels").await["data"]
            .as_array()
            .unwrap()
            .contains(&json!("tank"))
    );
}
