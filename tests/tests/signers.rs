//! Signatures as the senders' own libraries make and check them: each takes ours and we take theirs, for many
//! bodies, and neither takes the signature of another body.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use tocsin_ingress::provider::Provider;
use tocsin_ingress::verify::{LiveSecret, Verifier};
use tocsin_kit::Clock;
use tocsin_testkit::standins::signature;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Signatures of each scheme that are compared.
const CASES: usize = 300;
/// Of a script that does milliseconds of work.
const LIMIT: Duration = Duration::from_secs(60);
/// How far signed times may be off.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Texts that are easily read as something else.
const ODD_BODIES: [&str; 8] = [
    "{}",
    "\0",
    "\r\n",
    " {\"a\": 1}\n",
    "\u{feff}{}",
    "\u{2028}\u{2029}\u{85}",
    "\u{1f468}\u{200d}\u{1f680} é e\u{301}",
    "a.b=%7B%7D&c=\\u0000",
];

/// What a script is told, in one line.
#[derive(Debug, Serialize)]
struct Case {
    scheme: &'static str,
    secret: String,
    id: String,
    timestamp: i64,
    body: String,
    /// Ours.
    signature: String,
    /// Ours, of another body.
    wrong: String,
}

/// What it says.
#[derive(Debug, Deserialize)]
struct Answer {
    signature: String,
    accepts: bool,
    accepts_wrong: bool,
}

/// A sender as it is here and there.
struct Sender {
    /// As the scripts call it.
    scheme: &'static str,
    /// Whose row of ingress verifies it.
    provider: &'static str,
    /// Signs with a secret, an id and a time.
    sign: fn(&str, &str, i64, &[u8]) -> String,
    /// The secret as it is configured.
    shown: fn(&str) -> String,
    /// What a delivery bears, with an id, a time and a signature.
    headers: fn(&str, i64, &str) -> Vec<(&'static str, String)>,
}

const SLACK: Sender = Sender {
    scheme: "slack",
    provider: "slack",
    sign: |secret, _, time, body| signature::slack(secret, time, body).expect("signed"),
    shown: str::to_owned,
    headers: |_, time, signature| {
        vec![
            ("x-slack-request-timestamp", time.to_string()),
            ("x-slack-signature", signature.to_owned()),
        ]
    },
};

const STANDARD_WEBHOOKS: Sender = Sender {
    scheme: "standard_webhooks",
    provider: "incidentio",
    sign: |secret, id, time, body| {
        signature::standard_webhooks(secret, id, time, body).expect("signed")
    },
    shown: signature::standard_webhooks_secret,
    headers: |id, time, signature| {
        vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", time.to_string()),
            ("webhook-signature", signature.to_owned()),
        ]
    },
};

const GITHUB: Sender = Sender {
    scheme: "github",
    provider: "github",
    sign: |secret, _, _, body| signature::github(secret, body).expect("signed"),
    shown: str::to_owned,
    headers: |_, _, signature| vec![("x-hub-signature-256", signature.to_owned())],
};

impl Sender {
    fn cases(&self, now: Timestamp) -> Vec<Case> {
        let mut runner = TestRunner::deterministic();
        let strategy = (
            "[!-~][ -~é漢]{0,40}[!-~]",
            "msg_[A-Za-z0-9]{10,27}",
            proptest::collection::vec(any::<char>(), 1..400),
            -200_i64..200,
        );
        (0..CASES)
            .map(|number| {
                let tree = strategy.new_tree(&mut runner).expect("a case");
                let (secret, id, random, offset) = tree.current();
                let body = match ODD_BODIES.get(number) {
                    Some(odd) => (*odd).to_owned(),
                    None => random.into_iter().collect(),
                };
                let timestamp = now.as_second() + offset;
                let sign = |body: &str| (self.sign)(&secret, &id, timestamp, body.as_bytes());
                Case {
                    scheme: self.scheme,
                    signature: sign(&body),
                    wrong: sign(&other(&body)),
                    secret: (self.shown)(&secret),
                    id,
                    timestamp,
                    body,
                }
            })
            .collect()
    }

    /// Whether ingress takes it.
    fn takes(&self, case: &Case, signature: &str, body: &str, now: Timestamp) -> bool {
        let provider = Provider::named(self.provider).expect("a provider");
        let scheme = provider.scheme([case.secret.as_str()]).expect("a scheme");
        let secrets = [LiveSecret::always(&case.secret)];
        let verifier = Verifier::new(scheme, &secrets).expect("a verifier");
        let headers = (self.headers)(&case.id, case.timestamp, signature);
        let headers: HeaderMap = headers
            .into_iter()
            .map(|(name, value)| {
                let value = value.parse().expect("a value");
                (HeaderName::from_static(name), value)
            })
            .collect();
        verifier
            .verify(&headers, body.as_bytes(), now, TOLERANCE)
            .is_ok()
    }
}

fn other(body: &str) -> String {
    format!("{body} ")
}

/// Both ways, for all cases.
async fn agree(senders: &[Sender], script: impl AsyncFn(String) -> String) {
    let now = Clock::system().now();
    for sender in senders {
        let cases = sender.cases(now);
        let lines = cases.iter().map(|case| {
            let line = serde_json::to_string(case).expect("JSON");
            format!("{line}\n")
        });
        let output = script(lines.collect()).await;
        let answers: Vec<Answer> = output
            .lines()
            .map(|line| serde_json::from_str(line).expect("an answer"))
            .collect();
        assert_eq!(answers.len(), cases.len(), "an answer for each case");
        for (case, answer) in cases.iter().zip(&answers) {
            assert!(answer.accepts, "they refuse ours: {case:?}");
            assert!(!answer.accepts_wrong, "they take anything: {case:?}");
            let theirs = &answer.signature;
            assert!(
                sender.takes(case, theirs, &case.body, now),
                "we refuse {theirs} of {case:?}"
            );
            assert!(
                !sender.takes(case, theirs, &other(&case.body), now),
                "we take {theirs} for another body than that of {case:?}"
            );
        }
    }
}

/// What a command prints for these lines.
async fn run(mut command: Command, input: String) -> String {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("it starts");
    let mut stdin = child.stdin.take().expect("its input");
    let telling = async move {
        stdin.write_all(input.as_bytes()).await.expect("it reads");
        drop(stdin);
    };
    let both = futures::future::join(telling, child.wait_with_output());
    let ((), output) = tokio::time::timeout(LIMIT, both).await.expect("in time");
    let output = output.expect("an end");
    assert!(output.status.success(), "the script failed");
    String::from_utf8(output.stdout).expect("text")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("signers")
        .join(name)
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the libraries are is the environment's choice"
)]
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Says loudly that nothing was compared; where the libraries must be there, that is a failure.
fn missing(what: &str, is_given: bool) {
    let is_needed = is_given || variable("CI").is_some();
    assert!(
        !is_needed,
        "{what} cannot be used: `./dev test` installs it"
    );
    println!("SKIPPED: no {what}; run `./dev test`, which installs it");
}

#[tokio::test]
async fn python_libraries_agree() {
    let given = variable("TOCSIN_SIGNERS_PYTHON");
    let python = given.clone().unwrap_or_else(|| PathBuf::from("python3"));
    let probe = Command::new(&python)
        .args(["-c", "import slack_sdk, standardwebhooks"])
        .stderr(Stdio::null())
        .status();
    if !probe.await.is_ok_and(|status| status.success()) {
        return missing(
            "Python with slack_sdk and standardwebhooks",
            given.is_some(),
        );
    }
    agree(&[SLACK, STANDARD_WEBHOOKS], async |input| {
        let mut command = Command::new(&python);
        command.arg(script("sign.py"));
        run(command, input).await
    })
    .await;
}

#[tokio::test]
async fn githubs_library_agrees() {
    // Node resolves what a script names from where the script lies, but from the working directory what
    // `--eval` names: the libraries need not be in the checkout.
    let given = variable("TOCSIN_SIGNERS_NODE");
    let folder = given.clone().unwrap_or_else(|| script(""));
    let node = |code: &str| {
        let mut command = Command::new("node");
        command
            .args(["--input-type=module", "--eval", code])
            .current_dir(&folder);
        command
    };
    let probe = node("import '@octokit/webhooks-methods'")
        .stderr(Stdio::null())
        .status();
    if !probe.await.is_ok_and(|status| status.success()) {
        return missing("Node with @octokit/webhooks-methods", given.is_some());
    }
    let code = std::fs::read_to_string(script("sign.mjs")).expect("the script");
    agree(&[GITHUB], async |input| run(node(&code), input).await).await;
}
