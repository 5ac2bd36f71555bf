//! `tocsin secrets …`, over config's HTTP API. Values come in by stdin and go nowhere else.

pub(crate) mod master_key;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::process::{Command, Stdio};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_kit::http_client::{HttpClient, Timeouts};
use tocsin_wire::SecretName;
use tocsin_wire::sealed::{MAX_VALUE_BYTES, Zeroizing};

use crate::cli::{ConfigAccess, SecretOwner, Secrets};
use crate::error::CommandError;
use crate::run::print;

pub(crate) async fn run(command: Secrets) -> Result<(), CommandError> {
    match command {
        Secrets::Set {
            name,
            owner,
            audience,
            expected_version,
            config,
        } => {
            let value = read_value(name.as_str(), &format!("tocsin secrets set {name} …"))?;
            let mut body = json!({"value": value.as_str()});
            if let Some(audience) = audience {
                insert(&mut body, "audience", json!(audience));
            }
            if let Some(version) = expected_version {
                insert(&mut body, "expected_version", json!(version));
            }
            let answer = call(&config, Method::PUT, &path(&owner, &name), Some(body)).await?;
            let set: Secret = parse(answer)?;
            print(&format!(
                "{} of {} is at version {}, for {}; configs refer to it as {}\n",
                set.name, set.node_id, set.version, set.audience, set.reference
            ))
        }
        Secrets::List {
            owner,
            inherited,
            json,
            config,
        } => {
            let path = format!("{}?inherited={inherited}", folder(&owner));
            let answer = call(&config, Method::GET, &path, None).await?;
            if json {
                return print(&format!("{answer:#}\n"));
            }
            print(&table(&parse::<Vec<Secret>>(answer)?))
        }
        Secrets::Delete {
            name,
            owner,
            force,
            config,
        } => {
            let path = format!("{}?force={force}", path(&owner, &name));
            call(&config, Method::DELETE, &path, None).await?;
            print(&format!("{name} is deleted\n"))
        }
        Secrets::RotateMaster { new_key_in, config } => {
            if let Some(file) = new_key_in {
                let id = master_key::add(&file)?;
                print(&format!("{id} is the first key of {}\n", file.display()))?;
            }
            rotate(&config).await
        }
    }
}

/// What config tells of a secret.
#[derive(Deserialize)]
struct Secret {
    node_id: String,
    name: String,
    reference: String,
    version: u64,
    audience: String,
    updated_at: String,
    updated_by: String,
}

fn table(secrets: &[Secret]) -> String {
    let mut text = format!(
        "{:<32}  {:<20}  {:>7}  {:<16}  {:<27}  {}\n",
        "NAME", "NODE", "VERSION", "AUDIENCE", "SET AT", "SET BY"
    );
    for secret in secrets {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "{:<32}  {:<20}  {:>7}  {:<16}  {:<27}  {}",
            secret.name,
            secret.node_id,
            secret.version,
            secret.audience,
            secret.updated_at,
            secret.updated_by
        );
    }
    text
}

/// How far a rotation is.
#[derive(Deserialize)]
struct Rotation {
    current: String,
    rewrapped: u64,
    remaining: u64,
    failed: Vec<String>,
}

async fn rotate(config: &ConfigAccess) -> Result<(), CommandError> {
    let mut done = 0;
    loop {
        let answer = call(config, Method::POST, "secrets/rotate-master", None).await?;
        let step: Rotation = parse(answer)?;
        done += step.rewrapped;
        print(&format!(
            "under {}: {done} moved, {} left\n",
            step.current, step.remaining
        ))?;
        if step.remaining == 0 {
            return print("nothing is under another key; older keys can be removed\n");
        }
        if step.rewrapped == 0 {
            return Err(CommandError::Input(format!(
                "{} secrets cannot be moved: {}",
                step.remaining,
                step.failed.join("; ")
            )));
        }
    }
}

fn folder(owner: &SecretOwner) -> String {
    let node = owner
        .node
        .as_ref()
        .map_or(owner.org.as_str(), |node| node.as_str());
    format!("orgs/{}/nodes/{node}/secrets", owner.org)
}

fn path(owner: &SecretOwner, name: &SecretName) -> String {
    format!("{}/{name}", folder(owner))
}

fn insert(body: &mut Value, key: &str, value: Value) {
    if let Some(object) = body.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The value of what is called `name`: all of stdin without one line end, or a line that is typed unseen.
/// `command` reads it, for those who gave none.
pub(crate) fn read_value(name: &str, command: &str) -> Result<Zeroizing<String>, CommandError> {
    let mut stdin = std::io::stdin().lock();
    let mut value = Zeroizing::new(String::new());
    let read = if stdin.is_terminal() {
        ask(name, command)?;
        let read = stdin.read_line(&mut value);
        set_echo(true);
        read
    } else {
        // One more than allowed, so that too much is seen.
        let limit = u64::try_from(MAX_VALUE_BYTES).unwrap_or(u64::MAX) + 3;
        stdin.take(limit).read_to_string(&mut value)
    };
    read.map_err(|source| CommandError::Files {
        operation: "read the secret from stdin".to_owned(),
        source,
    })?;
    let length = value.strip_suffix('\n').map_or(value.len(), str::len);
    let length = value
        .get(..length)
        .and_then(|text| text.strip_suffix('\r'))
        .map_or(length, str::len);
    value.truncate(length);
    if value.is_empty() || value.len() > MAX_VALUE_BYTES {
        return Err(CommandError::Input(format!(
            "a secret has 1 to {MAX_VALUE_BYTES} bytes; give it on stdin: printf %s \"$VALUE\" | {command}"
        )));
    }
    Ok(value)
}

#[expect(
    clippy::print_stderr,
    reason = "a prompt is for the person, not for the pipe"
)]
fn ask(name: &str, command: &str) -> Result<(), CommandError> {
    if !set_echo(false) {
        return Err(CommandError::Input(format!(
            "the terminal would show what you type; pipe the value instead: … | {command}"
        )));
    }
    eprint!("value of {name} (not shown): ");
    std::io::stderr()
        .flush()
        .map_err(|source| CommandError::Files {
            operation: "ask for the secret".to_owned(),
            source,
        })
}

/// `stty`, as shells do it; `false` when the terminal cannot be told.
fn set_echo(on: bool) -> bool {
    let status = Command::new("stty")
        .arg(if on { "echo" } else { "-echo" })
        .stdin(Stdio::inherit())
        .status();
    status.is_ok_and(|status| status.success())
}

pub(crate) async fn call(
    config: &ConfigAccess,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, CommandError> {
    let client = HttpClient::trusted(Timeouts::default())
        .map_err(|error| CommandError::Http(error.into()))?;
    let base = config.config_url.trim_end_matches('/');
    let url = format!("{base}/api/v1/admin/{path}");
    let request = client
        .request(method, &url)
        .map_err(|error| CommandError::Url {
            url: url.clone(),
            source: error.into(),
        })?;
    let mut request = request.bearer_auth(config.admin_token.expose());
    if let Some(body) = &body {
        request = request.json(body);
    }
    let unreachable = |source| CommandError::Unreachable {
        url: url.clone(),
        source,
    };
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    if status.is_success() {
        return Ok(parsed.unwrap_or_default());
    }
    let detail = parsed.as_ref().and_then(|problem| problem.get("detail"));
    let detail = detail.and_then(Value::as_str).map(str::to_owned);
    Err(CommandError::Refused {
        url,
        status: status.as_u16(),
        body: detail.unwrap_or(text),
    })
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, CommandError> {
    serde_json::from_value(answer)
        .map_err(|error| CommandError::Input(format!("config's answer is not understood: {error}")))
}
