//! Who may call a route: what a caller is, and the one place that judges it.
//!
//! Each route names its [`Access`] in its table of routes. The guard identifies the caller, judges
//! it here, and hands it to the handler as a [`Caller`]; handlers never check access themselves.

mod guard;

use std::collections::BTreeSet;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use tocsin_kit::Problem;
use tocsin_wire::{OrgId, TeamId};
use uuid::Uuid;

use super::App;
use crate::pg::Author;
use crate::token::Permission;

pub(super) use guard::{Guard, guard};

/// Who may call anything, beyond what routes say.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AccessSettings {
    /// Whether admins need `admin:*`. With 0, an admin may have only some of the scopes, and may
    /// call what they cover.
    #[arg(
        id = "require_admin_star",
        long = "require-admin-star",
        env = "ORCHESTRATOR_REQUIRE_ADMIN_STAR",
        default_value = "1",
        action = clap::ArgAction::Set,
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub require_admin_star: bool,
}

/// What an admin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Everything.
    All,
    /// Read configs, nodes and catalogues.
    ConfigRead,
    /// Change configs and nodes.
    ConfigWrite,
    /// Issue, list and revoke tokens.
    Tokens,
    /// See and decide changes that wait.
    Approvals,
    /// Field definitions and the security policy.
    Policy,
    /// Write and list secrets; nobody reads them.
    Secrets,
    /// Read the record.
    Audit,
    /// Create and delete orgs.
    Orgs,
    /// Single sign-on of an org.
    Sso,
    /// Templates and their application.
    Templates,
    /// Integrations and their tests.
    Integrations,
    /// Set up teams in one go.
    Provision,
}

impl Scope {
    /// Every scope there is.
    pub(crate) const ALL: [Self; 13] = [
        Self::All,
        Self::ConfigRead,
        Self::ConfigWrite,
        Self::Tokens,
        Self::Approvals,
        Self::Policy,
        Self::Secrets,
        Self::Audit,
        Self::Orgs,
        Self::Sso,
        Self::Templates,
        Self::Integrations,
        Self::Provision,
    ];

    /// As it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "admin:*",
            Self::ConfigRead => "admin:config:read",
            Self::ConfigWrite => "admin:config:write",
            Self::Tokens => "admin:tokens",
            Self::Approvals => "admin:approvals",
            Self::Policy => "admin:policy",
            Self::Secrets => "admin:secrets",
            Self::Audit => "admin:audit",
            Self::Orgs => "admin:orgs",
            Self::Sso => "admin:sso",
            Self::Templates => "admin:templates",
            Self::Integrations => "admin:integrations",
            Self::Provision => "admin:provision",
        }
    }

    /// Undoes [`Scope::as_str`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without a credential.
    Public,
    /// Whoever has a good credential.
    Anybody,
    /// Other services, by name and shared secret.
    Internal,
    /// Global admins only.
    GlobalAdmin(Scope),
    /// Global admins, and admins of the org that the path names as `{org}`.
    Admin(Scope),
    /// A team's own credential; who impersonates it may only read.
    Team(Permission),
    /// The same, or an admin of one org for that org.
    TeamOrOrgAdmin(Permission, Scope),
}

impl Access {
    /// What a caller must have, for the record.
    fn wanted(self) -> String {
        match self {
            Self::Public | Self::Anybody => String::new(),
            Self::Internal => "internal".to_owned(),
            Self::GlobalAdmin(scope) | Self::Admin(scope) => scope.as_str().to_owned(),
            Self::Team(permission) => permission.as_str().to_owned(),
            Self::TeamOrOrgAdmin(permission, scope) => {
                format!("{} or {}", permission.as_str(), scope.as_str())
            }
        }
    }
}

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerKind {
    /// Admin of all orgs.
    GlobalAdmin,
    /// Admin of one org.
    OrgAdmin,
    /// A team.
    Team,
    /// An admin who looks at what a team sees.
    Impersonation,
    /// Another service.
    Internal,
}

/// By what a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A token of an admin.
    AdminToken,
    /// A token of a team.
    TeamToken,
    /// A short-lived token that an admin got to look as a team.
    Impersonation,
    /// A token of an identity provider.
    Oidc,
    /// The secret that services share.
    InternalSecret,
    /// Its name alone, from where the operator says that this is enough.
    InternalHeader,
}

impl Proof {
    /// As `auth_kind` shows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AdminToken => "admin_token",
            Self::TeamToken => "team_token",
            Self::Impersonation => "impersonation",
            Self::Oidc => "oidc",
            Self::InternalSecret | Self::InternalHeader => "internal_service",
        }
    }
}

/// Who is calling. Org and team come from the credential and from nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// What it is.
    pub(crate) kind: CallerKind,
    /// How we know.
    pub(crate) proof: Proof,
    /// For the record: `admin_token:ada`, `team_token:<id>`, `internal:<service>`.
    pub(crate) subject: String,
    /// Of the person, where an identity provider told it.
    pub(crate) email: Option<String>,
    /// The only org it has to do with.
    pub(crate) org: Option<OrgId>,
    /// The only team it has to do with.
    pub(crate) team: Option<TeamId>,
    /// Of admins.
    pub(crate) scopes: BTreeSet<Scope>,
    /// Of teams.
    pub(crate) permissions: BTreeSet<Permission>,
    /// The row of its token.
    pub(crate) token: Option<Uuid>,
}

impl Caller {
    /// Who writes, and when.
    pub(crate) fn author(&self, app: &App) -> Author {
        Author {
            by: self.subject.clone(),
            at: app.clock.now(),
        }
    }

    /// The team whose credential this is.
    ///
    /// # Errors
    /// 403 for callers that are no team's: only on routes that are not for teams alone.
    pub(crate) fn team(&self) -> Result<(OrgId, TeamId), Problem> {
        match (&self.org, &self.team) {
            (Some(org), Some(team)) => Ok((org.clone(), team.clone())),
            _ => Err(team_token_required()),
        }
    }

    /// Whether it may do that to its team.
    pub(crate) fn has(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

/// In handlers of routes that are not [`Access::Public`].
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(
                path = parts.uri.path(),
                "a public route asks for its caller"
            );
            Problem::internal()
        })
    }
}

/// `None` on public routes.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Judges a caller. `org` is the `{org}` of the path.
///
/// # Errors
/// 403 with a code that says what is missing.
pub(crate) fn judge(
    access: Access,
    caller: &Caller,
    org: Option<&str>,
    require_star: bool,
) -> Result<(), Problem> {
    match access {
        Access::Public | Access::Anybody => Ok(()),
        Access::Internal => match caller.kind {
            CallerKind::Internal => Ok(()),
            _ => Err(Problem::forbidden(
                "internal_service_required",
                "this is for other services, which send X-Internal-Service and X-Internal-Secret",
            )),
        },
        Access::GlobalAdmin(scope) => match caller.kind {
            CallerKind::GlobalAdmin => has_scope(caller, scope, require_star),
            CallerKind::OrgAdmin => Err(Problem::forbidden(
                "global_admin_required",
                "an admin of one org cannot do this; use a token of a global admin",
            )),
            _ => Err(admin_required()),
        },
        Access::Admin(scope) => match caller.kind {
            CallerKind::GlobalAdmin => has_scope(caller, scope, require_star),
            CallerKind::OrgAdmin => {
                is_own_org(caller, org)?;
                has_scope(caller, scope, require_star)
            }
            _ => Err(admin_required()),
        },
        Access::Team(permission) => may(caller, permission),
        Access::TeamOrOrgAdmin(permission, scope) => match caller.kind {
            CallerKind::OrgAdmin => has_scope(caller, scope, require_star),
            _ => may(caller, permission),
        },
    }
}

/// Fails closed: on a route whose path names no org, an admin of one org has no business.
fn is_own_org(caller: &Caller, org: Option<&str>) -> Result<(), Problem> {
    let own = caller.org.as_ref().map(OrgId::as_str);
    match own {
        Some(own) if org == Some(own) => Ok(()),
        own => Err(Problem::forbidden(
            "org_denied",
            format!(
                "Access denied: you can only access org '{}'",
                own.unwrap_or_default()
            ),
        )),
    }
}

fn has_scope(caller: &Caller, scope: Scope, require_star: bool) -> Result<(), Problem> {
    if caller.scopes.contains(&Scope::All) {
        return Ok(());
    }
    if require_star {
        return Err(Problem::forbidden(
            "admin_star_required",
            format!(
                "this needs the scope {}; narrower ones count only with ORCHESTRATOR_REQUIRE_ADMIN_STAR=0",
                Scope::All.as_str()
            ),
        ));
    }
    if caller.scopes.contains(&scope) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "scope_denied",
        format!(
            "you lack the scope {}; ask a global admin for it",
            scope.as_str()
        ),
    ))
}

fn may(caller: &Caller, permission: Permission) -> Result<(), Problem> {
    match caller.kind {
        CallerKind::Impersonation if !permission.is_read() => Err(Problem::forbidden(
            "impersonation_is_read_only",
            "whoever impersonates a team may only read; use a token of the team itself",
        )),
        CallerKind::Team | CallerKind::Impersonation => {
            if caller.has(permission) {
                return Ok(());
            }
            Err(Problem::forbidden(
                "permission_denied",
                format!(
                    "this token lacks the permission {}; ask an admin for one that has it",
                    permission.as_str()
                ),
            ))
        }
        CallerKind::GlobalAdmin | CallerKind::OrgAdmin | CallerKind::Internal => {
            Err(team_token_required())
        }
    }
}

fn admin_required() -> Problem {
    Problem::forbidden(
        "admin_required",
        "a team token cannot do this; use an admin token",
    )
}

fn team_token_required() -> Problem {
    Problem::forbidden(
        "team_token_required",
        "an admin token names no team; use a team token, or the routes under /api/v1/admin",
    )
}

#[cfg(test)]
mod tests;
