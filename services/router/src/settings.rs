//! Settings of the router.

use std::num::NonZeroUsize;

use tocsin_bus::BusSettings;

use crate::rules::BotIdentity;

/// Flags and environment of the router.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub bus: BusSettings,

    /// Events at work at once. Most wait for an acknowledgement of the bus, so this is what fills
    /// its pipe. Up to four times as many are in hand, those included that wait for their turn behind
    /// alerts about the same; all routers together have no more than 4000.
    #[arg(long, env = "ROUTER_CONCURRENCY", default_value = "256")]
    pub concurrency: NonZeroUsize,

    /// Name that people mention on GitHub to call the bot, without `@`. A team's
    /// `integrations.github.bot_handle` counts as well.
    #[arg(long, env = "TOCSIN_BOT_HANDLE", default_value = "tocsin")]
    pub bot_handle: String,

    /// Slack user id of the bot, so that it never answers itself. Slack usually tells it with each
    /// event; this is for apps where it does not.
    #[arg(long, env = "SLACK_BOT_USER_ID")]
    pub slack_bot_user_id: Option<String>,

    /// Slack app id, as SLACK_BOT_USER_ID.
    #[arg(long, env = "SLACK_APP_ID")]
    pub slack_app_id: Option<String>,
}

impl Settings {
    /// The names under which this installation writes.
    pub(crate) fn bots(&self) -> BotIdentity {
        let handle = self.bot_handle.trim().trim_start_matches('@');
        BotIdentity {
            slack_user: self.slack_bot_user_id.clone(),
            slack_bot: None,
            slack_app: self.slack_app_id.clone(),
            github_handle: Some(handle.to_owned()).filter(|handle| !handle.is_empty()),
        }
    }
}
