//! Why an event went where it went: a stable code for machines, a sentence for people.

use tocsin_wire::proto;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// Stable codes of reasons: they are stored in decisions, so they only ever grow in number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $name,)*
        }

        impl ReasonCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As decisions have it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

codes! {
    /// A team owns an identifier of the event.
    MatchedIdentifier = "matched_identifier";
    /// Several organisations own it, and the workspace tells which one is meant.
    Disambiguated = "disambiguated";
    /// Several own it, and nothing tells which one is meant.
    AmbiguousIdentifier = "ambiguous_identifier";
    /// Teams of other organisations own it too, and have no part in what this source receives.
    OtherOrgIgnored = "other_org_ignored";
    /// Nothing else routes it, and its source names a team for that.
    SourceDefaultTeam = "source_default_team";
    /// The event names nothing that could route it.
    NoIdentifier = "no_identifier";
    /// Nobody owns what it names.
    NoIdentifierMatched = "no_identifier_matched";
    /// Somebody asked to have the event decided on once more.
    Replayed = "replayed";
    /// An earlier try at this event has settled whose it is.
    ClaimedBefore = "claimed_before";
    /// Routing names a team whose settings are not published.
    UnknownTeam = "unknown_team";
    /// Tocsin wrote it.
    OwnMessage = "own_message";
    /// Another bot wrote it, or nobody.
    BotAuthor = "bot_author";
    /// Slack marks it as not shown.
    HiddenMessage = "hidden_message";
    /// An edit, a deletion, a join: not something that was said.
    MessageSubtype = "message_subtype";
    /// A rule of the team decided: its agent, or joining the open run.
    RuleMatched = "rule_matched";
    /// A rule of the team says that such events start nothing.
    RuleIgnored = "rule_ignored";
    /// A rule could not be evaluated and was skipped.
    RuleFailed = "rule_failed";
    /// A rule holds that starts runs for alerts that fire, and this one is over or somebody has seen it.
    NotFiring = "not_firing";
    /// This kind of event starts nothing.
    KindNotATrigger = "kind_not_a_trigger";
    /// Tocsin has no name for this kind.
    UnknownKind = "unknown_kind";
    /// Buttons, shortcuts and commands: only recorded so far.
    NotActedOnYet = "not_acted_on_yet";
    /// The kind would, but not when this happens to it.
    ActionNotATrigger = "action_not_a_trigger";
    /// A message without a mention, in a channel that is not investigated by itself.
    ChannelNotWatched = "channel_not_watched";
    /// A reply, in a channel whose top-level messages are investigated.
    ThreadReply = "thread_reply";
    /// A comment that does not mention the bot.
    NotMentioned = "not_mentioned";
    /// A check that passed, or was skipped.
    CheckDidNotFail = "check_did_not_fail";
    /// This is what teams want to be looked at.
    Trigger = "trigger";
    /// Somebody mentioned the bot and said nothing.
    EmptyMention = "empty_mention";
    /// The run has nowhere to post to; its result is only recorded.
    NoDestination = "no_destination";
    /// The same delivery led to a run before.
    DuplicateDelivery = "duplicate_delivery";
    /// The same thing was told before, under another delivery.
    DuplicateEvent = "duplicate_event";
    /// The team's window is full: the run waits behind the team's other runs.
    Queued = "queued";
    /// The team's queue is full: no run was started.
    QueueFull = "queue_full";
    /// A silence or a maintenance window of the team holds.
    Silenced = "silenced";
    /// A run is looking into this already: it was told.
    JoinedRun = "joined_run";
    /// The alert is over, and the run that looks into it was told.
    ResolvedRun = "resolved_run";
    /// The alert is over, and no run is looking into it.
    NoOpenRun = "no_open_run";
}

/// One consideration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: ReasonCode,
    /// One or two sentences for the team's people.
    pub detail: String,
}

impl Reason {
    pub(crate) fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl From<Reason> for proto::Reason {
    fn from(reason: Reason) -> Self {
        Self {
            code: reason.code.as_str().to_owned(),
            detail: reason.detail,
        }
    }
}
