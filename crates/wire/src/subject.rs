//! Subjects as a type: printing and parsing are inverses, and nothing else may write one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::ids::{EventId, RunId};
use crate::key_token::KeyToken;
use crate::priority::Priority;
use crate::service::Service;
use crate::token::{OrgId, Pool, TeamId, Token};

/// A subject of one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `events.<provider>.<source>.<kind>.<key>`
    Event {
        /// slack, github, pagerduty.
        provider: Token,
        /// Source id, or `shared`.
        source: Token,
        /// Kind of event.
        kind: Token,
        /// Channel, repository or service it is about.
        key: KeyToken,
    },
    /// `deferred.at.<provider>.<source>.<kind>.<key>.<id>`: an event that its stream holds back until a
    /// time, and then publishes as [`Subject::DueEvent`]
    DeferredEvent {
        /// As of the event's subject.
        provider: Token,
        /// As of the event's subject.
        source: Token,
        /// As of the event's subject.
        kind: Token,
        /// As of the event's subject.
        key: KeyToken,
        /// Which event: one that comes again takes the place of the one before.
        id: EventId,
    },
    /// `deferred.due.<provider>.<source>.<kind>.<key>`: an event whose time has come
    DueEvent {
        /// As of the event's subject.
        provider: Token,
        /// As of the event's subject.
        source: Token,
        /// As of the event's subject.
        kind: Token,
        /// As of the event's subject.
        key: KeyToken,
    },
    /// `work.run.<pool>.<org>.<team>`
    WorkRun {
        /// Pool of workers.
        pool: Pool,
        /// Owner.
        org: OrgId,
        /// Owner.
        team: TeamId,
    },
    /// `backlog.run.<pool>.<org>.<team>.<priority>`
    BacklogRun {
        /// Pool of workers.
        pool: Pool,
        /// Owner.
        org: OrgId,
        /// Owner.
        team: TeamId,
        /// Its place among the team's waiting runs.
        priority: Priority,
    },
    /// `signal.<org>.<team>.<run>`
    Signal {
        /// Owner.
        org: OrgId,
        /// Owner.
        team: TeamId,
        /// The run it is for.
        run: RunId,
    },
    /// `journal.<org>.<team>.<run>`
    Journal {
        /// Owner.
        org: OrgId,
        /// Owner.
        team: TeamId,
        /// The run that is journaled.
        run: RunId,
    },
    /// `results.<service>.<what>.<org>.<team>`
    Result {
        /// Who writes it.
        service: Service,
        /// decision, run_started, run_post, run_finished.
        what: Token,
        /// Owner, or `unrouted`.
        org: OrgId,
        /// Owner, or `unrouted`.
        team: TeamId,
    },
    /// `config.changed.<org>.<node>`
    ConfigChanged {
        /// Owner.
        org: OrgId,
        /// Node that changed.
        node: TeamId,
    },
    /// `cmd.<service>.<verb>.<org>.<team>`
    Command {
        /// Who is to do it.
        service: Service,
        /// replay.
        verb: Token,
        /// Whose things it may touch, or `all`.
        org: OrgId,
        /// Of that org, or `all`.
        team: TeamId,
    },
    /// `dead.<stream>.<consumer>`
    Dead {
        /// Stream of the original.
        stream: String,
        /// Consumer that gave it up.
        consumer: String,
    },
    /// `rate.<tier>.<source>.<key>`
    Rate {
        /// Tier of [`crate::rate`].
        tier: String,
        /// Source id, or `shared`.
        source: Token,
        /// What is limited: the source itself, or an address of it.
        key: KeyToken,
    },
    /// `$KV.<bucket>.<key>`
    KeyValue {
        /// Bucket.
        bucket: String,
        /// Key: tokens and encoded keys joined by dots.
        key: String,
    },
}

/// The text is not a subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject:?} is not a Tocsin subject: {why}")]
pub struct SubjectError {
    subject: String,
    why: String,
}

impl Subject {
    /// The subject as text.
    pub fn as_text(&self) -> String {
        self.to_string()
    }

    /// The subject on which the message will be consumed: what is signed. A message that waits in
    /// the backlog is signed for the work subject it will move to, one that is deferred for where it comes out.
    pub fn consumed_on(&self) -> Cow<'_, Self> {
        match self {
            Self::BacklogRun {
                pool, org, team, ..
            } => Cow::Owned(Self::WorkRun {
                pool: pool.clone(),
                org: org.clone(),
                team: team.clone(),
            }),
            Self::DeferredEvent {
                provider,
                source,
                kind,
                key,
                ..
            } => Cow::Owned(Self::DueEvent {
                provider: provider.clone(),
                source: source.clone(),
                kind: kind.clone(),
                key: key.clone(),
            }),
            other => Cow::Borrowed(other),
        }
    }

    /// Org and team that the subject names, if it names both.
    pub fn tenant(&self) -> Option<(&OrgId, &TeamId)> {
        match self {
            Self::WorkRun { org, team, .. }
            | Self::BacklogRun { org, team, .. }
            | Self::Signal { org, team, .. }
            | Self::Journal { org, team, .. }
            | Self::Result { org, team, .. } => Some((org, team)),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                provider,
                source,
                kind,
                key,
            } => {
                write!(formatter, "events.{provider}.{source}.{kind}.{key}")
            }
            Self::DeferredEvent {
                provider,
                source,
                kind,
                key,
                id,
            } => write!(
                formatter,
                "deferred.at.{provider}.{source}.{kind}.{key}.{id}"
            ),
            Self::DueEvent {
                provider,
                source,
                kind,
                key,
            } => write!(formatter, "deferred.due.{provider}.{source}.{kind}.{key}"),
            Self::WorkRun { pool, org, team } => write!(formatter, "work.run.{pool}.{org}.{team}"),
            Self::BacklogRun {
                pool,
                org,
                team,
                priority,
            } => {
                write!(formatter, "backlog.run.{pool}.{org}.{team}.{priority}")
            }
            Self::Signal { org, team, run } => write!(formatter, "signal.{org}.{team}.{run}"),
            Self::Journal { org, team, run } => write!(formatter, "journal.{org}.{team}.{run}"),
            Self::Result {
                service,
                what,
                org,
                team,
            } => {
                write!(formatter, "results.{service}.{what}.{org}.{team}")
            }
            Self::ConfigChanged { org, node } => write!(formatter, "config.changed.{org}.{node}"),
            Self::Command {
                service,
                verb,
                org,
                team,
            } => write!(formatter, "cmd.{service}.{verb}.{org}.{team}"),
            Self::Dead { stream, consumer } => write!(formatter, "dead.{stream}.{consumer}"),
            Self::Rate { tier, source, key } => write!(formatter, "rate.{tier}.{source}.{key}"),
            Self::KeyValue { bucket, key } => write!(formatter, "$KV.{bucket}.{key}"),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| SubjectError {
            subject: text.chars().take(200).collect(),
            why,
        })
    }
}

fn deferred(tokens: &[&str]) -> Result<Subject, String> {
    match tokens {
        ["due", provider, source, kind, key] => Ok(Subject::DueEvent {
            provider: token(provider)?,
            source: token(source)?,
            kind: token(kind)?,
            key: token(key)?,
        }),
        ["at", provider, source, kind, key, id] => Ok(Subject::DeferredEvent {
            provider: token(provider)?,
            source: token(source)?,
            kind: token(kind)?,
            key: token(key)?,
            id: token(id)?,
        }),
        _ => Err("deferred.at or deferred.due, and an event's tokens, are needed".to_owned()),
    }
}

fn parse(text: &str) -> Result<Subject, String> {
    if let Some(rest) = text.strip_prefix("$KV.") {
        let (bucket, key) = rest
            .split_once('.')
            .ok_or("a bucket and a key are needed")?;
        if key.is_empty() || !key.split('.').all(is_name) {
            return Err("the key is empty or has characters that keys may not have".to_owned());
        }
        return Ok(Subject::KeyValue {
            bucket: name(bucket)?,
            key: key.to_owned(),
        });
    }
    let tokens: Vec<&str> = text.split('.').collect();
    match tokens.as_slice() {
        ["deferred", rest @ ..] => deferred(rest),
        ["rate", tier, source, key] => Ok(Subject::Rate {
            tier: name(tier)?,
            source: token(source)?,
            key: token(key)?,
        }),
        ["events", provider, source, kind, key] => Ok(Subject::Event {
            provider: token(provider)?,
            source: token(source)?,
            kind: token(kind)?,
            key: token(key)?,
        }),
        ["work", "run", pool, org, team] => Ok(Subject::WorkRun {
            pool: token(pool)?,
            org: token(org)?,
            team: token(team)?,
        }),
        ["backlog", "run", pool, org, team, priority] => Ok(Subject::BacklogRun {
            pool: token(pool)?,
            org: token(org)?,
            team: token(team)?,
            priority: token(priority)?,
        }),
        ["signal", org, team, run] => Ok(Subject::Signal {
            org: token(org)?,
            team: token(team)?,
            run: run_id(run)?,
        }),
        ["journal", org, team, run] => Ok(Subject::Journal {
            org: token(org)?,
            team: token(team)?,
            run: run_id(run)?,
        }),
        ["results", service, what, org, team] => Ok(Subject::Result {
            service: token(service)?,
            what: token(what)?,
            org: token(org)?,
            team: token(team)?,
        }),
        ["config", "changed", org, node] => Ok(Subject::ConfigChanged {
            org: token(org)?,
            node: token(node)?,
        }),
        ["cmd", service, verb, org, team] => Ok(Subject::Command {
            service: token(service)?,
            verb: token(verb)?,
            org: token(org)?,
            team: token(team)?,
        }),
        ["dead", stream, consumer] => Ok(Subject::Dead {
            stream: name(stream)?,
            consumer: name(consumer)?,
        }),
        _ => Err("no stream has subjects of this form".to_owned()),
    }
}

fn token<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err: fmt::Display>,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Run ids have exactly one spelling, or two subjects would mean one run.
fn run_id(text: &str) -> Result<RunId, String> {
    let id: RunId = text.parse().map_err(|error| format!("run id: {error}"))?;
    if id.to_string() == text {
        Ok(id)
    } else {
        Err("run id is not in canonical form".to_owned())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte))
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn any_token<T: FromStr<Err: fmt::Debug> + fmt::Debug>() -> impl Strategy<Value = T> {
        "[a-z0-9][a-z0-9_-]{0,20}".prop_map(|text| text.parse().expect("valid token"))
    }

    fn any_run() -> impl Strategy<Value = RunId> {
        any::<u128>().prop_map(|bits| Uuid::from_u128(bits).into())
    }

    fn any_service() -> impl Strategy<Value = Service> {
        prop::sample::select(Service::ALL.to_vec())
    }

    const NAME: &str = "[A-Z]{1,10}";

    fn any_event_subject() -> impl Strategy<Value = Subject> {
        prop_oneof![
            (any_token(), any_token(), any_token(), ".{0,30}").prop_map(
                |(provider, source, kind, key)| Subject::Event {
                    provider,
                    source,
                    kind,
                    key: KeyToken::encode(&key)
                }
            ),
            (any_token(), any_token(), any_token()).prop_map(|(provider, source, kind)| {
                Subject::DueEvent {
                    provider,
                    source,
                    kind,
                    key: KeyToken::encode("a key"),
                }
            }),
            (any_token(), any_token(), any_token(), any::<u128>()).prop_map(
                |(provider, source, kind, id)| Subject::DeferredEvent {
                    provider,
                    source,
                    kind,
                    key: KeyToken::encode("a key"),
                    id: Uuid::from_u128(id).into(),
                }
            ),
        ]
    }

    fn any_subject() -> impl Strategy<Value = Subject> {
        prop_oneof![
            any_event_subject(),
            (any_token(), any_token(), any_token())
                .prop_map(|(pool, org, team)| Subject::WorkRun { pool, org, team }),
            (
                any_token(),
                any_token(),
                any_token(),
                prop::sample::select(&Priority::ALL[..])
            )
                .prop_map(|(pool, org, team, priority)| Subject::BacklogRun {
                    pool,
                    org,
                    team,
                    priority
                }),
            (any_token(), any_token(), any_run()).prop_map(|(org, team, run)| Subject::Signal {
                org,
                team,
                run
            }),
            (any_token(), any_token(), any_run()).prop_map(|(org, team, run)| Subject::Journal {
                org,
                team,
                run
            }),
            (any_service(), any_token(), any_token(), any_token()).prop_map(
                |(service, what, org, team)| Subject::Result {
                    service,
                    what,
                    org,
                    team
                }
            ),
            (any_service(), any_token(), any_token(), any_token()).prop_map(
                |(service, verb, org, team)| Subject::Command {
                    service,
                    verb,
                    org,
                    team
                }
            ),
            (any_token(), any_token()).prop_map(|(org, node)| Subject::ConfigChanged { org, node }),
            (NAME, any_token(), ".{0,30}").prop_map(|(tier, source, key)| Subject::Rate {
                tier,
                source,
                key: KeyToken::encode(&key)
            }),
            (NAME, NAME).prop_map(|(stream, consumer)| Subject::Dead { stream, consumer }),
            (NAME, ".{1,20}").prop_map(|(bucket, key)| Subject::KeyValue {
                bucket,
                key: KeyToken::encode(&key).to_string()
            }),
        ]
    }

    proptest! {
        #[test]
        fn parsing_undoes_printing(subject in any_subject()) {
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }

        #[test]
        fn what_parses_prints_the_same(text in "(events|work|backlog|journal|dead|results|\\$KV)(\\.[a-zA-Z0-9=_-]{1,8}){0,5}") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_subjects_are_refused() {
        for text in [
            "",
            "events",
            "events.a.b.c",
            "events.a.b.c.*",
            "work.run.default.Acme.x",
            "$KV.keys",
            "signal.a.b.not-a-uuid",
            "backlog.run.default.a.b",
            "backlog.run.default.a.b.p6",
            "results.nobody.x.a.b",
            "events.slack.shared.message.>",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
