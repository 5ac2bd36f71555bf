//! `tocsin sources …`, over config's HTTP API: senders of an org, each with a URL, secrets and limits of
//! its own. Secrets come in by stdin; they go out once, when Tocsin made them.

mod health;
mod settings;
mod setup;
mod text;
mod trial;
mod verb;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tocsin_kit::Clock;
use tocsin_wire::source::{SourceFigures, SourceProvider};

use crate::cli::ConfigAccess;
use crate::error::CommandError;
use crate::run::print;
use crate::secrets::{call, parse, read_value};

use setup::Setup;
pub(crate) use verb::Sources;
use verb::{Create, Filter, One, Rotate, Test, Update};

/// What config tells of a source.
#[derive(Debug, Clone, Deserialize)]
struct Source {
    id: String,
    org_id: String,
    provider: String,
    name: String,
    path: String,
    disabled: bool,
    settings: Map<String, Value>,
    secrets: Vec<SourceSecret>,
    /// Whether ingress said when secrets were last used.
    usage_known: bool,
    version: u64,
}

/// One secret of it, never the value.
#[derive(Debug, Clone, Deserialize)]
struct SourceSecret {
    id: String,
    state: SecretState,
    not_before: Option<Timestamp>,
    expires: Option<Timestamp>,
    last_used: Option<Timestamp>,
    created_at: Timestamp,
    created_by: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretState {
    Waiting,
    Live,
    Expired,
}

/// How a source does.
#[derive(Debug, Deserialize)]
struct Health {
    provider: String,
    name: String,
    disabled: bool,
    figures: Option<SourceFigures>,
}

impl Source {
    /// As people name it.
    fn label(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }
}

/// What its maker calls the provider.
fn title(provider: &str) -> &str {
    SourceProvider::named(provider).map_or(provider, |provider| provider.title)
}

pub(crate) async fn run(command: Sources) -> Result<(), CommandError> {
    match command {
        Sources::Create(create) => run_create(create).await,
        Sources::List(filter) => list(filter).await,
        Sources::Show(one) => {
            let answer = one.found().await?;
            if one.json {
                return print(&format!("{answer:#}\n"));
            }
            print(&text::page(&parse(answer)?, now()))
        }
        Sources::Update(update) => run_update(update).await,
        Sources::Rotate(rotate) => run_rotate(rotate).await,
        Sources::Disable(one) => switch(&one, true).await,
        Sources::Enable(one) => switch(&one, false).await,
        Sources::RemoveSecret { one, secret } => {
            let path = format!("{}/secrets/{secret}", one.path().await?);
            let answer = call(&one.config, Method::DELETE, &path, None).await?;
            changed(&one, answer)
        }
        Sources::Delete(one) => {
            let path = one.path().await?;
            let answer = call(&one.config, Method::DELETE, &path, None).await?;
            if one.json {
                return print(&format!("{answer:#}\n"));
            }
            let gone: Source = parse(answer)?;
            print(&format!(
                "{} ({}) is deleted with its secrets; its URL answers 404 now\n",
                gone.label(),
                gone.id
            ))
        }
        Sources::Test(test) => run_test(test).await,
        Sources::Health(filter) => {
            let path = format!("{}/health{}", folder(&filter.org), filter.query());
            let answer = call(&filter.config, Method::GET, &path, None).await?;
            if filter.json {
                return print(&format!("{answer:#}\n"));
            }
            print(&health::page(&parse::<Vec<Health>>(answer)?, now()))
        }
    }
}

async fn run_create(create: Create) -> Result<(), CommandError> {
    let mut body = json!({
        "provider": create.provider,
        "name": create.name,
        "settings": create.settings.given(),
    });
    if create.secret_stdin {
        put_secret(
            &mut body,
            &format!("tocsin sources create --secret-stdin {} …", create.provider),
        )?;
    }
    let path = folder(&create.org);
    let answer = call(&create.config, Method::POST, &path, Some(body)).await?;
    if create.json {
        return print(&format!("{answer:#}\n"));
    }
    let secret = made(&answer, create.secret_stdin)?;
    let source: Source = parse(answer)?;
    print(&Setup::new(&source, secret.as_deref(), &create.ingress_url).page())
}

async fn list(filter: Filter) -> Result<(), CommandError> {
    let path = format!("{}{}", folder(&filter.org), filter.query());
    let answer = call(&filter.config, Method::GET, &path, None).await?;
    if filter.json {
        return print(&format!("{answer:#}\n"));
    }
    print(&text::table(&parse::<Vec<Source>>(answer)?, now()))
}

async fn run_update(update: Update) -> Result<(), CommandError> {
    let one = &update.one;
    let present: Source = parse(one.found().await?)?;
    let mut body = json!({"expected_version": present.version});
    if let Some(name) = &update.name {
        put(&mut body, "name", json!(name));
    }
    let settings = update.settings.applied(&present.settings, &update.unset);
    if settings != present.settings {
        put(&mut body, "settings", Value::Object(settings));
    }
    let path = one.path_of(&present.id);
    let answer = call(&one.config, Method::PATCH, &path, Some(body)).await?;
    changed(one, answer)
}

async fn run_rotate(rotate: Rotate) -> Result<(), CommandError> {
    let one = &rotate.one;
    let mut body = json!({});
    if rotate.secret_stdin {
        put_secret(&mut body, "tocsin sources rotate --secret-stdin …")?;
    }
    let old = rotate.old_expires_in.duration().as_secs();
    put(&mut body, "old_expires_in_seconds", json!(old));
    if let Some(from) = rotate.not_before {
        put(&mut body, "not_before", json!(from));
    }
    if let Some(until) = rotate.expires {
        put(&mut body, "expires", json!(until));
    }
    let path = format!("{}/secrets", one.path().await?);
    let answer = call(&one.config, Method::POST, &path, Some(body)).await?;
    if one.json {
        return print(&format!("{answer:#}\n"));
    }
    let secret = made(&answer, rotate.secret_stdin)?;
    let source: Source = parse(answer)?;
    print(&text::rotated(&source, secret.as_deref(), now()))
}

async fn switch(one: &One, disabled: bool) -> Result<(), CommandError> {
    let path = one.path().await?;
    let body = json!({"disabled": disabled});
    let answer = call(&one.config, Method::PATCH, &path, Some(body)).await?;
    changed(one, answer)
}

async fn run_test(test: Test) -> Result<(), CommandError> {
    let mut body = json!({});
    if let Some(file) = &test.body {
        let headers: BTreeMap<&str, &str> = test
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        put(&mut body, "headers", json!(headers));
        put(
            &mut body,
            "body_base64",
            json!(STANDARD.encode(read_bytes(file)?)),
        );
        if let Some(at) = test.received_at {
            put(&mut body, "received_at", json!(at));
        }
    }
    let path = format!("{}/test", test.one.path().await?);
    let answer = call(&test.one.config, Method::POST, &path, Some(body)).await?;
    if test.one.json {
        return print(&format!("{answer:#}\n"));
    }
    print(&trial::verdict_page(&answer, test.body.is_some(), now()))
}

/// The source after a change.
fn changed(one: &One, answer: Value) -> Result<(), CommandError> {
    if one.json {
        return print(&format!("{answer:#}\n"));
    }
    print(&text::page(&parse(answer)?, now()))
}

/// The secret of an answer, when Tocsin made it: what was given is known already.
fn made(answer: &Value, was_given: bool) -> Result<Option<String>, CommandError> {
    if was_given {
        return Ok(None);
    }
    let secret = answer.get("secret").and_then(Value::as_str);
    let missing =
        || CommandError::Input("config's answer is not understood: it has no secret".to_owned());
    secret
        .map(|secret| Some(secret.to_owned()))
        .ok_or_else(missing)
}

fn put_secret(body: &mut Value, command: &str) -> Result<(), CommandError> {
    let secret = read_value("the secret", command)?;
    put(body, "secret", json!(secret.as_str()));
    Ok(())
}

fn put(body: &mut Value, key: &str, value: Value) {
    if let Some(object) = body.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn folder(org: &tocsin_wire::OrgId) -> String {
    format!("orgs/{org}/sources")
}

impl Filter {
    fn query(&self) -> String {
        let provider = self.provider.as_ref();
        provider.map_or_else(String::new, |provider| format!("?provider={provider}"))
    }
}

impl One {
    fn path_of(&self, id: &str) -> String {
        format!("{}/{id}", folder(&self.org))
    }

    /// Where config has it.
    async fn path(&self) -> Result<String, CommandError> {
        if is_id(&self.source) {
            return Ok(self.path_of(&self.source));
        }
        let found: Source = parse(self.found().await?)?;
        Ok(self.path_of(&found.id))
    }

    /// What config tells of it.
    async fn found(&self) -> Result<Value, CommandError> {
        if is_id(&self.source) {
            return call(&self.config, Method::GET, &self.path_of(&self.source), None).await;
        }
        let all = listed(&self.config, &folder(&self.org)).await?;
        named(all, &self.source).map_err(CommandError::Input)
    }
}

async fn listed(config: &ConfigAccess, path: &str) -> Result<Vec<Value>, CommandError> {
    parse(call(config, Method::GET, path, None).await?)
}

/// `src_` and hex digits: it needs no search, and may stand in a path as it is.
fn is_id(text: &str) -> bool {
    text.strip_prefix("src_")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The one source that is called so: by its name, or by provider and name.
fn named(all: Vec<Value>, wanted: &str) -> Result<Value, String> {
    let field = |source: &Value, name: &str| {
        let text = source.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let label = |source: &Value| format!("{}/{}", field(source, "provider"), field(source, "name"));
    let is_meant = |source: &Value| label(source) == wanted || field(source, "name") == wanted;
    let mut found: Vec<Value> = all.into_iter().filter(is_meant).collect();
    match (found.pop(), found.as_slice()) {
        (Some(one), []) => Ok(one),
        (None, _) => Err(format!(
            "the org has no source {wanted:?}; `tocsin sources list` shows those it has"
        )),
        (Some(one), others) => {
            let labels: Vec<String> = others.iter().chain([&one]).map(label).collect();
            Err(format!("{wanted:?} is {}; say which", labels.join(" or ")))
        }
    }
}

/// `-` is stdin.
fn read_bytes(path: &Path) -> Result<Vec<u8>, CommandError> {
    let read = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_length| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|source| CommandError::Files {
        operation: format!("read {}", PathBuf::from(path).display()),
        source,
    })
}

fn now() -> Timestamp {
    Clock::system().now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(provider: &str, name: &str) -> Value {
        json!({"id": format!("src_{}", "0".repeat(24)), "provider": provider, "name": name})
    }

    #[test]
    fn a_source_is_found_by_its_name_or_by_provider_and_name() {
        let all = vec![
            source("github", "web"),
            source("grafana", "web"),
            source("grafana", "a/b"),
        ];
        let found = |wanted: &str| named(all.clone(), wanted);
        assert_eq!(found("grafana/web"), Ok(source("grafana", "web")));
        assert_eq!(found("a/b"), Ok(source("grafana", "a/b")));
        let several = found("web").expect_err("two");
        assert_eq!(several, "\"web\" is github/web or grafana/web; say which");
        assert!(found("github").expect_err("none").contains("no source"));
    }

    #[test]
    fn only_ids_go_into_a_path_as_they_are() {
        assert!(is_id("src_0123456789abcdef01234567"));
        for text in ["web", "github/web", "src_../../tokens", "src_1?x", "source"] {
            assert!(!is_id(text), "{text}");
        }
    }

    #[test]
    fn a_secret_that_was_given_is_not_printed_again() {
        let answer = json!({"secret": "s3"});
        assert_eq!(made(&answer, false).expect("there"), Some("s3".to_owned()));
        assert_eq!(made(&answer, true).expect("there"), None);
        assert!(made(&json!({}), false).is_err());
    }
}
