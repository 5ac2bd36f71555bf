//! Who may call, beyond the tokens of `token`: impersonation, identity providers, single sign-on,
//! and what keeps checking them fast and revoking them quick.
//!
//! `claims`, `impersonation`, `oidc`, `networks`, `lifecycle` and `sso` decide purely; `keys`,
//! `discovery`, `cache`, `notes` and `sweep` act.

pub(crate) mod cache;
pub(crate) mod claims;
pub(crate) mod discovery;
pub(crate) mod impersonation;
pub(crate) mod keys;
pub(crate) mod lifecycle;
mod networks;
pub(crate) mod notes;
pub(crate) mod oidc;
mod settings;
pub(crate) mod sso;
pub(crate) mod sweep;

use tocsin_bus::Revoked;
use tocsin_kit::http_client::BuildError;
use tokio::sync::Notify;

pub(crate) use networks::Networks;
pub(crate) use settings::IdentitySettings;

/// What checking and issuing credentials needs. One per process.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) settings: IdentitySettings,
    /// Of the operator's identity provider.
    pub(crate) keys: keys::Keys,
    pub(crate) cache: cache::TokenCache,
    pub(crate) revoked: Revoked,
    /// Rung after a revocation was committed here, so that it is told at once.
    pub(crate) revoked_here: Notify,
    pub(crate) notes: notes::Notes,
}

impl Identity {
    /// Also returns what [`notes::keep`] reads.
    pub(crate) fn new(settings: IdentitySettings) -> Result<(Self, notes::Inbox), BuildError> {
        let (notes, inbox) = notes::channel();
        let identity = Self {
            keys: keys::Keys::new(&settings.oidc)?,
            cache: cache::TokenCache::new(),
            revoked: Revoked::new(),
            revoked_here: Notify::new(),
            notes,
            settings,
        };
        identity.warn();
        Ok((identity, inbox))
    }

    /// After something was deleted on which tokens hung: here at once, elsewhere within a second.
    pub(crate) fn tokens_may_have_ended(&self) {
        self.cache.forget_all();
        self.revoked_here.notify_one();
    }

    /// Says what an operator may not have meant.
    fn warn(&self) {
        let settings = &self.settings;
        let wants_oidc =
            settings.admin_auth_mode.takes_oidc() || settings.team_auth_mode.takes_oidc();
        if wants_oidc && !settings.oidc.is_complete() {
            tracing::warn!(
                "tokens of an identity provider are to be taken, but none can be checked: set OIDC_ENABLED=1, OIDC_ISSUER and OIDC_AUDIENCE"
            );
        }
        if !settings.internal_trusted_names.0.is_empty()
            || !settings.internal_trusted_networks.is_empty()
        {
            tracing::warn!(
                "some callers are taken for services without INTERNAL_SERVICE_SECRET (INTERNAL_SERVICE_TRUSTED_*); for migration only"
            );
        }
    }
}
