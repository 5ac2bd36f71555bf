//! The description of the API, its page, and what holds for every route.

use std::collections::BTreeSet;

use http::{Method, header};
use serde_json::{Value, json};

use crate::stage::{ADMIN, Request, Servers, Service, config_path};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Method, path and description of each operation.
pub(crate) fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let method = method.to_uppercase().parse().expect("method");
                operations.push((method, path.clone(), operation.clone()));
            }
        }
    }
    operations
}

pub(crate) async fn document(service: &Service) -> Value {
    let answer = service
        .call(Request::new(Method::GET, "/openapi.json"))
        .await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn the_description_is_complete_and_each_path_of_it_is_served() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let document = document(&service).await;
    let again = Request::new(Method::GET, "/api/v1/openapi.json");
    assert_eq!(service.call(again).await.body, document);
    let version = document["openapi"].as_str().expect("version");
    assert!(version.starts_with("3.1."), "{version}");

    let tags: Vec<&Value> = document["tags"].as_array().expect("tags").iter().collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("operationId");
        assert!(ids.insert(id.to_owned()), "{what}: {id} is taken");
        assert!(operation["summary"].is_string(), "{what} has no summary");
        let tag = &operation["tags"][0];
        assert!(
            tags.iter().any(|known| known["name"] == *tag),
            "{what}: tag {tag}"
        );
        let answers = operation["responses"].as_object().expect("responses");
        assert!(
            answers.keys().any(|status| status.starts_with('2')),
            "{what} never succeeds"
        );
        assert!(
            operation["x-access"]["who"].is_string(),
            "{what} says not for whom it is"
        );
        let named: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let described: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(named, described, "{what}: parameters of the path");

        let path = path.replace(['{', '}'], "");
        let answer = service.call(Request::new(method, &path)).await;
        let code = answer.problem().1;
        let is_asset = path == "/docs/asset";
        assert!(
            code != "method_not_allowed" && (code != "route_not_found" || is_asset),
            "{what}: {code}"
        );
    }
    for reference in references(&document) {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    service.stop().await;
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(target) if key == "$ref" => vec![target.as_str()],
                value => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_page_shows_every_operation_and_fetches_nothing_from_elsewhere() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    let document = document(&service).await;
    let page = service.call(Request::new(Method::GET, "/docs")).await;
    let html = page.body.as_str().expect("a page").to_owned();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().expect("operationId");
        assert!(html.contains(&format!("id=\"op-{id}\"")), "{method} {path}");
    }
    let policy = page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .expect("text");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for unsafe_source in ["unsafe", "http", "*"] {
        assert!(!policy.contains(unsafe_source), "{policy}");
    }
    let sources: Vec<&str> = html
        .split("<link ")
        .chain(html.split("<script "))
        .chain(html.split("<img "))
        .skip(1)
        .filter_map(|tag| {
            tag.split(['"'])
                .find(|part| part.starts_with('/') || part.contains(':'))
        })
        .collect();
    for source in sources {
        assert!(
            source.starts_with("/docs/") || source == "data:,",
            "{source}"
        );
    }
    assert!(
        !html.contains("style=") && !html.contains("onclick="),
        "the policy forbids inline code"
    );
    for (asset, kind) in [("style.css", "text/css"), ("script.js", "text/javascript")] {
        let path = format!("/docs/{asset}");
        let answer = service.call(Request::new(Method::GET, &path)).await;
        let served = answer.headers[header::CONTENT_TYPE].to_str().expect("text");
        assert!(served.starts_with(kind), "{asset}: {served}");
        let text = answer.body.as_str().expect("text");
        for fetch in ["http:", "https:", "url(", "@import", "fetch(", "import("] {
            assert!(!text.contains(fetch), "{asset} has {fetch}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn each_bad_request_has_a_code_of_its_own_and_the_same_manners() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let sre = config_path("acme", "sre");
    let deep = {
        let mut value = json!(1);
        for _ in 0..200 {
            value = json!({ "a": value });
        }
        json!({ "patch": value })
    };
    let large = json!({"patch": {"a": "x".repeat(1 << 20)}});
    let get = |path| Request::new(Method::GET, path).bearer(ADMIN);
    let put = |body| Request::new(Method::PUT, &sre).bearer(ADMIN).json(body);
    for (request, expected, part) in [
        (get("/nowhere"), (404, "route_not_found"), "/nowhere"),
        (get("/api/v1/admin"), (404, "route_not_found"), "/docs"),
        (
            Request::new(Method::DELETE, &sre),
            (405, "method_not_allowed"),
            "DELETE",
        ),
        (put(deep), (422, "too_deep"), "goes deeper than"),
        (put(large), (413, "too_large"), "1048576"),
        (
            get("/api/v1/admin/orgs/acme/nodes/sre/audit?limit=many"),
            (400, "invalid_query"),
            "limit",
        ),
        (
            get("/api/v1/admin/orgs/ACME/nodes/sre"),
            (422, "invalid_id"),
            "must be 1 to 63 characters",
        ),
        (
            get("/api/v1/admin/orgs/acme/nodes/a%20b"),
            (422, "invalid_id"),
            "node id",
        ),
        (
            get("/api/v1/admin/orgs/acme/nodes/%FF"),
            (422, "invalid_id"),
            "UTF-8",
        ),
        (
            get("/api/v1/admin/orgs/shared/nodes"),
            (422, "invalid_id"),
            "reserved",
        ),
    ] {
        let answer = service
            .call(request.header("x-request-id", "from-the-test"))
            .await;
        assert_eq!(answer.problem(), expected, "{:?}", answer.body);
        let detail = answer.body["detail"].as_str().expect("detail");
        assert!(detail.contains(part), "{detail}");
        assert_eq!(answer.body["request_id"], "from-the-test");
        assert_eq!(answer.headers["x-request-id"], "from-the-test");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        // A declared length over the limit is refused by the server, before there is a route.
        if answer.status != 413 {
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }

    service.stop().await;
}

#[tokio::test]
async fn methods_and_caches_are_told_what_they_need() {
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    let sre = config_path("acme", "sre");
    let as_admin = |method, path| Request::new(method, path).bearer(ADMIN);
    let refused = service.call(Request::new(Method::DELETE, &sre)).await;
    assert_eq!(allowed(&refused.headers["allow"]), ["GET", "HEAD", "PUT"]);
    let asked = service.call(Request::new(Method::OPTIONS, &sre)).await;
    assert_eq!((asked.status.as_u16(), &asked.body), (204, &json!("")));
    assert_eq!(allowed(&asked.headers["allow"]), ["GET", "HEAD", "PUT"]);

    let read = service.call(as_admin(Method::GET, &sre)).await;
    assert_eq!(read.headers["cache-control"], "private, no-cache");
    let head = service.call(as_admin(Method::HEAD, &sre)).await;
    assert_eq!((head.status.as_u16(), &head.body), (200, &json!("")));
    assert_eq!(head.headers["etag"], read.headers["etag"]);
    let tokens = "/api/v1/admin/orgs/acme/teams/sre/tokens";
    let issued = service.call(as_admin(Method::POST, tokens)).await;
    assert_eq!(issued.headers["cache-control"], "no-store");
    service.stop().await;
}

fn allowed(header: &http::HeaderValue) -> Vec<String> {
    let text = header.to_str().expect("text");
    let mut methods: Vec<String> = text.split(',').map(|one| one.trim().to_owned()).collect();
    methods.sort();
    methods
}
