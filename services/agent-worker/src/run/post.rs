//! Posting: exactly once, however often it is tried.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tocsin_kit::ErrorChain;
use tocsin_wire::proto::SlackDestination;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::journal_entry::Entry;
use tokio::time::Instant;

use super::{Record, Run};
use crate::decide::{Phase, Post, PostKey, Undelivered, conclude};
use crate::slack::client::SlackMessage;
use crate::slack::{
    Rendered, SlackClient, SlackError, Target, dashboard, final_message, notice_message,
};

/// An investigation begins without its first message when Slack stays away for so long.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);
/// A finished investigation waits longer for somebody to tell.
const FINAL_PATIENCE: Duration = Duration::from_secs(600);
/// Time spent waiting because Slack said so.
const RATE_PATIENCE: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl<R: Record> Run<'_, R> {
    /// Posts, and journals what became of it.
    pub(super) async fn post(&mut self, key: &PostKey, unknown: bool) {
        let destination = self.assignment.destination(&key.destination).cloned();
        let post = match destination.and_then(|destination| destination.kind) {
            _ if self.work.request.sandbox => off("a sandbox run posts nowhere"),
            Some(Kind::Slack(slack)) => self.post_to_slack(key, &slack, unknown).await,
            Some(Kind::Github(_)) => off("comments on GitHub are not supported yet"),
            Some(Kind::Pagerduty(_)) => off("notes in PagerDuty are not supported yet"),
            None => off("the destination is of a kind that this version does not know"),
        };
        if let Post::Undelivered(why) = &post {
            tracing::warn!(run = %self.work.request.run_id, destination = %key.destination, phase = key.phase.name(), %why, "nothing posted");
        }
        if let Some(posted) = post.to_journal(key) {
            self.push(Entry::Posted(posted));
        }
    }

    async fn post_to_slack(
        &mut self,
        key: &PostKey,
        slack: &SlackDestination,
        unknown: bool,
    ) -> Post {
        let Some(client) = self.slack.clone() else {
            return off(
                "SLACK_BOT_TOKEN is not set, and the team has no integrations.slack.bot_token",
            );
        };
        let target = Target {
            channel: slack.channel.clone(),
            thread: slack.thread.clone(),
        };
        let content = self.content(key);
        let posting = Posting {
            client: &client,
            target: &target,
            content: &content,
            run_id: &self.work.request.run_id,
            since: self.state.started.as_ref().map(|started| started.at),
            patience: match key.phase {
                Phase::First => FIRST_PATIENCE,
                Phase::Final => FINAL_PATIENCE,
            },
        };
        let first = self.state.first_message(&key.destination);
        let first = first.map(|(channel, ts)| SlackMessage {
            channel: channel.to_owned(),
            ts: ts.to_owned(),
        });
        match (key.phase, first) {
            (Phase::Final, Some(message)) => {
                self.live.close(&key.destination).await;
                posting.replace(&message).await
            }
            (Phase::Final, None) => {
                // The first post may have gone through after all, unseen.
                let first = PostKey::new(Phase::First, key.destination.clone());
                let maybe = self.state.posts.contains_key(&first);
                let post = posting.post(unknown || maybe).await;
                match &post {
                    // Found means that something of this run is there: it must show the end.
                    Post::Delivered {
                        message_id,
                        channel,
                        found_after_restart: true,
                    } => {
                        let (channel, ts) = (channel.clone(), message_id.clone());
                        posting.replace(&SlackMessage { channel, ts }).await
                    }
                    _ => post,
                }
            }
            (Phase::First, _) => {
                let post = posting.post(unknown).await;
                if let Post::Delivered {
                    message_id,
                    channel,
                    ..
                } = &post
                {
                    let (channel, ts) = (channel.clone(), message_id.clone());
                    let message = SlackMessage { channel, ts };
                    let next = Instant::now() + client.limits().update_interval;
                    self.live.open(&key.destination, message, self.worker, next);
                }
                post
            }
        }
    }

    fn content(&self, key: &PostKey) -> Rendered {
        let request = &self.work.request;
        match (&self.assignment.notice, key.phase) {
            (Some(text), _) => notice_message(text),
            (None, Phase::First) => {
                dashboard(&self.state, request, self.live.user(&key.destination))
            }
            (None, Phase::Final) => {
                let conclusion = conclude(&self.state, &self.assignment);
                final_message(&self.state, request, &conclusion)
            }
        }
    }
}

fn off(why: &str) -> Post {
    Post::Undelivered(Undelivered::Off(why.to_owned()))
}

/// One message on its way.
struct Posting<'a> {
    client: &'a SlackClient,
    target: &'a Target,
    content: &'a Rendered,
    run_id: &'a str,
    /// Nothing of this run was posted earlier.
    since: Option<jiff::Timestamp>,
    patience: Duration,
}

impl Posting<'_> {
    /// Posts once. Whenever it is unknown whether an earlier try went through, looks first.
    async fn post(&self, unknown: bool) -> Post {
        let mut tries = Tries::new(self.patience);
        let mut look = unknown;
        loop {
            let found = if look { self.find().await } else { Ok(None) };
            let posted = match found {
                Ok(Some(message)) => return delivered(message, true),
                Ok(None) => {
                    self.client
                        .post(self.target, self.content, self.run_id)
                        .await
                }
                Err(error) => Err(error),
            };
            match posted {
                Ok(message) => return delivered(message, false),
                Err(error) => {
                    look |= matches!(error, SlackError::Unknown { .. });
                    if let Err(undelivered) = tries.after(&error).await {
                        return Post::Undelivered(undelivered);
                    }
                }
            }
        }
    }

    /// Puts the content in the place of `message`; posts anew when that one is gone.
    async fn replace(&self, message: &SlackMessage) -> Post {
        let mut tries = Tries::new(self.patience);
        loop {
            let updated = self.client.update(message, self.content, self.run_id).await;
            match updated {
                Ok(()) => return delivered(message.clone(), false),
                Err(SlackError::Refused { error, .. }) if is_gone(&error) => {
                    tracing::info!(
                        run = self.run_id,
                        error,
                        "the first message is gone; posting anew"
                    );
                    return self.post(false).await;
                }
                Err(error) => {
                    if let Err(undelivered) = tries.after(&error).await {
                        return Post::Undelivered(undelivered);
                    }
                }
            }
        }
    }

    async fn find(&self) -> Result<Option<SlackMessage>, SlackError> {
        let since = self.since.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        match self.client.find(self.target, self.run_id, since).await {
            // Without the right to read nobody can look; a second message is better than none.
            Err(error @ SlackError::Refused { .. }) => {
                tracing::warn!(run = self.run_id, error = %ErrorChain(&error), "cannot look for an earlier post");
                Ok(None)
            }
            found => found,
        }
    }
}

fn is_gone(error: &str) -> bool {
    [
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
    ]
    .iter()
    .any(|known| error.starts_with(known))
}

fn delivered(message: SlackMessage, found: bool) -> Post {
    Post::Delivered {
        message_id: message.ts,
        channel: message.channel,
        found_after_restart: found,
    }
}

/// How long it is worth trying.
struct Tries {
    began: Instant,
    patience: Duration,
    pauses: backon::ExponentialBackoff,
}

impl Tries {
    fn new(patience: Duration) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .with_jitter()
            .build();
        Self {
            began: Instant::now(),
            patience,
            pauses,
        }
    }

    /// Waits before the next try, or says why there is none.
    async fn after(&mut self, error: &SlackError) -> Result<(), Undelivered> {
        let why = || ErrorChain(error).to_string();
        let (patience, pause) = match error {
            SlackError::Refused { .. } | SlackError::Address(_) => {
                return Err(Undelivered::Refused(why()));
            }
            // The client itself holds the next call back until Slack's time is over.
            SlackError::RateLimited { .. } => (RATE_PATIENCE, Duration::ZERO),
            SlackError::Token { source, .. } if !source.is_temporary() => {
                return Err(Undelivered::Refused(why()));
            }
            SlackError::Unreachable { .. }
            | SlackError::Unknown { .. }
            | SlackError::Token { .. } => {
                (self.patience, self.pauses.next().unwrap_or(LONGEST_PAUSE))
            }
        };
        if self.began.elapsed() >= patience {
            return Err(Undelivered::Unavailable(why()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
