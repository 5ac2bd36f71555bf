//! The page.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shape;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation with where it is.
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    is: &'a Value,
}

/// The whole page, from an OpenAPI document.
pub(super) fn render(document: &Value) -> String {
    let areas = areas(document);
    let title = text(&document["info"]["title"]);
    let contents: String = areas
        .iter()
        .map(|(tag, area)| contents(tag, area))
        .collect();
    let sections: String = areas
        .iter()
        .map(|(tag, area)| section(document, tag, area))
        .collect();
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/style.css">
<script src="/docs/script.js" defer></script>
</head>
<body>
<header>
<h1>{title} <small>{version}</small></h1>
<p>{description}</p>
<a class="raw" href="/openapi.json">openapi.json</a>
</header>
<nav aria-label="Operations">
<input id="filter" type="search" placeholder="Filter: path, words, who" aria-label="Filter operations" autocomplete="off" spellcheck="false">
{contents}<p class="area"><a href="#shapes">Shapes</a></p>
</nav>
<main>
{credentials}{sections}{shapes}<p id="none" hidden>No operation matches.</p>
</main>
</body>
</html>
"##,
        version = text(&document["info"]["version"]),
        description = text(&document["info"]["description"]),
        credentials = credentials(document),
        shapes = shapes(document),
    )
}

/// Operations by their first tag, in the order of the document's tags, then by path.
fn areas(document: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let mut by_tag: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            if let Some(is) = item.get(method) {
                let tag = is["tags"][0].as_str().unwrap_or("other");
                let area = by_tag.entry(tag).or_default();
                area.push(Operation { method, path, is });
            }
        }
    }
    let tags = document["tags"].as_array();
    let order = |tag: &str| {
        let position = |tags: &Vec<Value>| tags.iter().position(|known| known["name"] == tag);
        tags.and_then(position).unwrap_or(usize::MAX)
    };
    let mut areas: Vec<_> = by_tag.into_iter().collect();
    areas.sort_by_key(|(tag, _)| order(tag));
    areas
}

fn contents(tag: &str, area: &[Operation<'_>]) -> String {
    let links: String = area
        .iter()
        .map(|operation| {
            format!(
                r##"<li><a href="#{id}"><b class="{method}">{method}</b> {summary}</a></li>
"##,
                id = id(operation),
                method = operation.method,
                summary = text(&operation.is["summary"]),
            )
        })
        .collect();
    let tag = escape(tag);
    format!(
        r##"<details open><summary class="area"><a href="#area-{tag}">{tag}</a></summary>
<ul>
{links}</ul></details>
"##
    )
}

/// The anchor of an operation, by which others can link to it.
fn id(operation: &Operation<'_>) -> String {
    format!("op-{}", text(&operation.is["operationId"]))
}

fn credentials(document: &Value) -> String {
    let schemes = document["components"]["securitySchemes"].as_object();
    let rows: String = schemes
        .into_iter()
        .flatten()
        .map(|(_, scheme)| {
            let header = match scheme["name"].as_str() {
                Some(name) => format!("{}: …", escape(name)),
                None => "Authorization: Bearer …".to_owned(),
            };
            let what = text(&scheme["description"]);
            format!("<tr><td><code>{header}</code></td><td>{what}</td></tr>\n")
        })
        .collect();
    format!(
        r##"<section class="plain" id="credentials">
<h2>Credentials and errors</h2>
<div class="wide"><table>
{rows}</table></div>
<p>What is refused or fails is answered as <code>application/problem+json</code>, a <a href="#shape-Problem">Problem</a>:
its <code>code</code> is for machines and stays, its <code>detail</code> says what to do. Every answer has an <code>x-request-id</code>, yours if you send one.</p>
</section>
"##
    )
}

fn section(document: &Value, tag: &str, area: &[Operation<'_>]) -> String {
    let operations: String = area
        .iter()
        .map(|operation| self::operation(document, operation))
        .collect();
    let described = document["tags"].as_array().into_iter().flatten();
    let about: String = described
        .filter(|known| known["name"] == tag)
        .map(|known| format!("<p>{}</p>\n", text(&known["description"])))
        .collect();
    let tag = escape(tag);
    format!(
        r##"<section id="area-{tag}">
<h2>{tag}</h2>
{about}{operations}</section>
"##
    )
}

fn operation(document: &Value, operation: &Operation<'_>) -> String {
    let Operation { method, path, is } = operation;
    let description = match is["description"].as_str() {
        Some(description) => format!("<p>{}</p>\n", escape(description)),
        None => String::new(),
    };
    format!(
        r##"<details class="operation" id="{id}">
<summary><b class="{method}">{method}</b> <code>{path}</code> <span>{summary}</span></summary>
<div>
{description}{access}{parameters}{body}{answers}{curl}</div>
</details>
"##,
        id = id(operation),
        path = marked(path),
        summary = text(&is["summary"]),
        access = access(&is["x-access"]),
        parameters = parameters(&is["parameters"]),
        body = body(document, &is["requestBody"]),
        answers = answers(&is["responses"]),
        curl = curl(document, operation),
    )
}

/// A path that can break after each slash, with its parameters marked.
fn marked(path: &str) -> String {
    escape(path)
        .replace('/', "/<wbr>")
        .replace('{', "<i>{")
        .replace('}', "}</i>")
}

fn access(access: &Value) -> String {
    let needs = |key: &str| match access[key].as_str() {
        Some(name) => format!(" with <code>{}</code>", escape(name)),
        None => String::new(),
    };
    format!(
        "<p class=\"who\"><b>Who</b> {}{}{}</p>\n",
        text(&access["who"]),
        needs("permission"),
        needs("scope"),
    )
}

fn parameters(parameters: &Value) -> String {
    let rows: String = parameters
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| {
            let limits = shape::limits(&parameter["schema"]);
            let optional = match (&parameter["required"], &parameter["in"]) {
                (Value::Bool(true), place) => text(place),
                (_, place) => format!("{}, optional", text(place)),
            };
            row(
                &text(&parameter["name"]),
                &shape::in_words(&parameter["schema"]),
                &[optional, limits, text(&parameter["description"])],
            )
        })
        .collect();
    table("Parameters", &rows)
}

fn row(name: &str, kind: &str, rest: &[String]) -> String {
    let rest: Vec<&str> = rest
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    format!(
        "<tr><td><code>{name}</code></td><td>{kind}</td><td>{}</td></tr>\n",
        rest.join(" · ")
    )
}

fn table(title: &str, rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!("<h3>{title}</h3>\n<div class=\"wide\"><table>\n{rows}</table></div>\n")
}

fn body(document: &Value, body: &Value) -> String {
    let Some((kind, content)) = first_content(body) else {
        return String::new();
    };
    let optional = match &body["required"] {
        Value::Bool(true) => "",
        _ => ", may be left out",
    };
    let schema = &content["schema"];
    let example = format!("{:#}", shape::example(document, schema));
    format!(
        "<h3>Body</h3>\n<p>{} <span class=\"quiet\">{}{optional}</span></p>\n{}",
        shape::in_words(schema),
        escape(kind),
        copyable(&example),
    )
}

fn first_content(holder: &Value) -> Option<(&String, &Value)> {
    holder["content"].as_object()?.iter().next()
}

/// Each success by itself; what fails has one shape, so it takes one row.
fn answers(answers: &Value) -> String {
    let (mut rows, mut failures) = (String::new(), Vec::new());
    for (status, answer) in answers.as_object().into_iter().flatten() {
        if answer["$ref"].is_string() {
            failures.push(format!("<code>{}</code>", escape(status)));
            continue;
        }
        let shape = match first_content(answer) {
            Some((_, content)) => shape::in_words(&content["schema"]),
            None => String::new(),
        };
        rows += &row(&escape(status), &shape, &[text(&answer["description"])]);
    }
    if !failures.is_empty() {
        rows += &format!(
            "<tr><td colspan=\"2\">{}</td><td><a href=\"#shape-Problem\">Problem</a></td></tr>\n",
            failures.join(" ")
        );
    }
    table("Answers", &rows)
}

fn curl(document: &Value, operation: &Operation<'_>) -> String {
    let Operation { method, path, is } = operation;
    let mut path = (*path).to_owned();
    for parameter in is["parameters"].as_array().into_iter().flatten() {
        let (Some(name), Some("path")) = (parameter["name"].as_str(), parameter["in"].as_str())
        else {
            continue;
        };
        let example = parameter["example"]
            .as_str()
            .or_else(|| parameter["schema"]["example"].as_str());
        path = path.replace(&format!("{{{name}}}"), example.unwrap_or(name));
    }
    let mut command = match *method {
        "get" => "curl".to_owned(),
        method => format!("curl -X {}", method.to_ascii_uppercase()),
    };
    command += &format!(" \"$CONFIG{path}\"");
    for (header, variable) in headers(document, is) {
        command += &format!(" \\\n  -H \"{header}{variable}\"");
    }
    if let Some((_, content)) = first_content(&is["requestBody"]) {
        let example = shape::example(document, &content["schema"]).to_string();
        command += &format!(" \\\n  -d '{}'", example.replace('\'', r"'\''"));
    }
    format!("<h3>curl</h3>\n{}", copyable(&command))
}

/// Those of the first way to authenticate.
fn headers<'a>(document: &'a Value, is: &'a Value) -> Vec<(String, &'static str)> {
    let schemes = is["security"][0].as_object();
    let header = |name: &String| {
        let scheme = &document["components"]["securitySchemes"][name];
        match scheme["name"].as_str() {
            None => ("Authorization: Bearer ".to_owned(), "$TOKEN"),
            Some(name) if name.ends_with("Service") => (format!("{name}: "), "me"),
            Some(name) => (format!("{name}: "), "$SECRET"),
        }
    };
    schemes
        .into_iter()
        .flatten()
        .map(|(name, _)| header(name))
        .collect()
}

fn copyable(text: &str) -> String {
    format!(
        "<div class=\"copyable\"><pre><code>{}</code></pre></div>\n",
        escape(text)
    )
}

fn shapes(document: &Value) -> String {
    let schemas = document["components"]["schemas"].as_object();
    let all: String = schemas
        .into_iter()
        .flatten()
        .map(|(name, schema)| one_shape(document, name, schema))
        .collect();
    format!("<section id=\"shapes\">\n<h2>Shapes</h2>\n{all}</section>\n")
}

fn one_shape(document: &Value, name: &str, schema: &Value) -> String {
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
    let rows: String = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, field)| {
            let optional = if is_required(name) { "" } else { "optional" };
            let rest = [
                optional.to_owned(),
                shape::limits(field),
                text(&field["description"]),
            ];
            row(&escape(name), &shape::in_words(field), &rest)
        })
        .collect();
    let fields = match rows.as_str() {
        "" => format!("<p>{}</p>\n", shape::in_words(schema)),
        rows => format!("<div class=\"wide\"><table>\n{rows}</table></div>\n"),
    };
    let example = format!("{:#}", shape::example(document, schema));
    format!(
        r##"<details class="shape" id="shape-{name}">
<summary><code>{name}</code> <span>{description}</span></summary>
<div>
{fields}{example}</div>
</details>
"##,
        name = escape(name),
        description = text(&schema["description"]),
        example = copyable(&example),
    )
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Safe inside elements and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_document_says_cannot_become_markup() {
        let evil = "<script>alert(\"x\")</script>";
        let document = json!({
            "info": {"title": evil, "version": evil, "description": evil},
            "paths": {evil: {"get": {
                "operationId": evil, "summary": evil, "tags": [evil], "description": evil,
                "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"pattern": evil}}],
                "requestBody": {"content": {evil: {"schema": {"enum": [evil]}}}},
                "responses": {evil: {"description": evil}},
                "x-access": {"who": evil, "scope": evil},
            }}},
            "components": {"schemas": {evil: {"description": evil}}},
        });
        let page = render(&document);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }
}
