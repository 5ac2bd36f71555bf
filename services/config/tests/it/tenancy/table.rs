//! Who may call what, written down by people. A route that is not here fails the test.

/// Who a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// No credential needed.
    Everybody,
    /// Any good credential.
    Known,
    /// Other services.
    Services,
    /// Admins of everything.
    GlobalAdmins,
    /// Admins of everything, and those of the path's org.
    Admins,
    /// A team with this permission.
    Team(&'static str),
    /// The same, or an admin of one org.
    TeamOrItsAdmins(&'static str),
}

use For::{Admins, Everybody, GlobalAdmins, Known, Services, Team, TeamOrItsAdmins};

pub(super) const TABLE: &[(&str, &str, For)] = &[
    ("GET", "/health", Everybody),
    ("GET", "/openapi.json", Everybody),
    ("GET", "/api/v1/openapi.json", Everybody),
    ("GET", "/docs", Everybody),
    ("GET", "/docs/{asset}", Everybody),
    //
    ("GET", "/api/v1/auth/me", Known),
    ("POST", "/api/v1/internal/routing/lookup", Services),
    //
    ("GET", "/api/v1/config/me", Team("config:read")),
    ("GET", "/api/v1/config/me/effective", Team("config:read")),
    ("PATCH", "/api/v1/config/me", Team("config:write")),
    ("PUT", "/api/v1/config/me", Team("config:write")),
    ("GET", "/api/v1/config/me/raw", Team("config:read")),
    ("GET", "/api/v1/config/me/explain", Team("config:read")),
    ("GET", "/api/v1/config/me/audit", Team("audit:read")),
    ("POST", "/api/v1/config/me/rollback", Team("config:write")),
    //
    ("GET", "/api/v1/config/defaults", Everybody),
    ("GET", "/api/v1/config/orgs/{org}/nodes/{node}/raw", Admins),
    (
        "GET",
        "/api/v1/config/orgs/{org}/nodes/{node}/effective",
        Admins,
    ),
    ("PATCH", "/api/v1/config/orgs/{org}/nodes/{node}", Admins),
    (
        "GET",
        "/api/v1/config/orgs/{org}/nodes/{node}/history",
        Admins,
    ),
    (
        "POST",
        "/api/v1/config/orgs/{org}/nodes/{node}/rollback/{version}",
        Admins,
    ),
    //
    ("GET", "/api/v1/tools/metadata", Everybody),
    ("GET", "/api/v1/agents/metadata", Everybody),
    ("GET", "/api/v1/integrations/schemas", Everybody),
    (
        "GET",
        "/api/v1/integrations/schemas/{integration}",
        Everybody,
    ),
    ("GET", "/api/v1/team/tools/catalog", Team("config:read")),
    (
        "GET",
        "/api/v1/team/integrations/health",
        Team("config:read"),
    ),
    (
        "GET",
        "/api/v1/config/me/effective-trees",
        Team("config:read"),
    ),
    ("GET", "/api/v1/team/output-config", Team("config:read")),
    ("PUT", "/api/v1/team/output-config", Team("config:write")),
    ("GET", "/api/v1/team/notifications", Team("config:read")),
    ("PUT", "/api/v1/team/notifications", Team("config:write")),
    (
        "GET",
        "/api/v1/config/me/org-settings",
        TeamOrItsAdmins("config:read"),
    ),
    (
        "PUT",
        "/api/v1/config/me/org-settings",
        TeamOrItsAdmins("config:write"),
    ),
    ("GET", "/api/v1/admin/orgs/{org}/settings", Admins),
    ("PUT", "/api/v1/admin/orgs/{org}/settings", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/output-config",
        Admins,
    ),
    (
        "PUT",
        "/api/v1/admin/orgs/{org}/nodes/{node}/output-config",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/notifications",
        Admins,
    ),
    (
        "PUT",
        "/api/v1/admin/orgs/{org}/nodes/{node}/notifications",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/integrations", Admins),
    ("PUT", "/api/v1/admin/orgs/{org}/integrations", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/integrations/{integration}",
        Admins,
    ),
    (
        "PUT",
        "/api/v1/admin/orgs/{org}/integrations/{integration}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/integrations/{integration}/test",
        Admins,
    ),
    //
    ("GET", "/api/v1/templates", Known),
    ("GET", "/api/v1/templates/{template}", Known),
    (
        "GET",
        "/api/v1/team/templates/{template}/preview",
        Team("config:read"),
    ),
    (
        "POST",
        "/api/v1/team/templates/{template}/apply",
        Team("config:write"),
    ),
    ("GET", "/api/v1/team/template", Team("config:read")),
    ("DELETE", "/api/v1/team/template", Team("config:write")),
    ("GET", "/api/v1/admin/templates", GlobalAdmins),
    ("POST", "/api/v1/admin/templates", GlobalAdmins),
    ("GET", "/api/v1/admin/templates/{template}", GlobalAdmins),
    ("PUT", "/api/v1/admin/templates/{template}", GlobalAdmins),
    ("DELETE", "/api/v1/admin/templates/{template}", GlobalAdmins),
    (
        "POST",
        "/api/v1/admin/templates/{template}/apply",
        GlobalAdmins,
    ),
    (
        "GET",
        "/api/v1/admin/templates/{template}/analytics",
        GlobalAdmins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/template",
        Admins,
    ),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/nodes/{node}/template",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/templates/{template}/preview",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/nodes/{node}/templates/{template}/apply",
        Admins,
    ),
    //
    ("POST", "/api/v1/admin/orgs", GlobalAdmins),
    ("GET", "/api/v1/admin/orgs", GlobalAdmins),
    ("DELETE", "/api/v1/admin/orgs/{org}", GlobalAdmins),
    ("GET", "/api/v1/admin/orgs/{org}/audit", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/audit/export", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/export", Admins),
    ("POST", "/api/v1/admin/orgs/{org}/bulk", Admins),
    ("POST", "/api/v1/admin/orgs/{org}/configs/bulk", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/nodes", Admins),
    ("POST", "/api/v1/admin/orgs/{org}/nodes", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/nodes/{node}", Admins),
    ("PATCH", "/api/v1/admin/orgs/{org}/nodes/{node}", Admins),
    ("DELETE", "/api/v1/admin/orgs/{org}/nodes/{node}", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/explain",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/nodes/{node}/diff", Admins),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/nodes/{node}/config/rollback",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/config",
        Admins,
    ),
    (
        "PUT",
        "/api/v1/admin/orgs/{org}/nodes/{node}/config",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/nodes/{node}/raw", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/effective",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/nodes/{node}/audit", Admins),
    ("GET", "/api/v1/config/me/secrets", Team("config:read")),
    (
        "GET",
        "/api/v1/config/me/secrets/{name}",
        Team("config:read"),
    ),
    (
        "PUT",
        "/api/v1/config/me/secrets/{name}",
        Team("config:write"),
    ),
    (
        "DELETE",
        "/api/v1/config/me/secrets/{name}",
        Team("config:write"),
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/secrets",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}",
        Admins,
    ),
    (
        "PUT",
        "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}",
        Admins,
    ),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/nodes/{node}/secrets/{name}",
        Admins,
    ),
    ("GET", "/api/v1/admin/secrets/master-keys", GlobalAdmins),
    ("POST", "/api/v1/admin/secrets/rotate-master", GlobalAdmins),
    //
    ("POST", "/api/v1/admin/orgs/{org}/teams/{team}", Admins),
    ("DELETE", "/api/v1/admin/orgs/{org}/teams/{team}", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens",
        Admins,
    ),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}/revoke",
        Admins,
    ),
    //
    ("POST", "/api/v1/auth/sso/exchange", Everybody),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/sso-config/public",
        Everybody,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/sso-config", Admins),
    ("PUT", "/api/v1/admin/orgs/{org}/sso-config", Admins),
    ("POST", "/api/v1/admin/orgs/{org}/sso-config/test", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/admin-tokens", Admins),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/admin-tokens/{token}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/admin-tokens/{token}/revoke",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/tokens", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/tokens/{token}", Admins),
    ("DELETE", "/api/v1/admin/orgs/{org}/tokens/{token}", Admins),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/tokens/{token}/revoke",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/tokens/{token}/extend",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/tokens/bulk-revoke",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/token-permissions", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/token-audit", Admins),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/token-lifecycle/run",
        Admins,
    ),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/revoke-all",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/bulk-revoke",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/tokens/{token}/extend",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/teams/{team}/impersonation-token",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/admin-tokens",
        GlobalAdmins,
    ),
    ("POST", "/api/v1/config/me/tokens", Team("tokens:issue")),
    ("GET", "/api/v1/config/me/tokens", Team("tokens:revoke")),
    (
        "DELETE",
        "/api/v1/config/me/tokens/{token}",
        Team("tokens:revoke"),
    ),
    ("GET", "/api/v1/config/schema", Everybody),
    ("GET", "/api/v1/config/field-definitions", Everybody),
    ("GET", "/api/v1/admin/field-definitions", GlobalAdmins),
    ("POST", "/api/v1/admin/field-definitions", GlobalAdmins),
    (
        "GET",
        "/api/v1/admin/field-definitions/{path}",
        GlobalAdmins,
    ),
    (
        "PUT",
        "/api/v1/admin/field-definitions/{path}",
        GlobalAdmins,
    ),
    (
        "DELETE",
        "/api/v1/admin/field-definitions/{path}",
        GlobalAdmins,
    ),
    (
        "GET",
        "/api/v1/admin/field-definition-history",
        GlobalAdmins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/security-policies", Admins),
    ("PUT", "/api/v1/admin/orgs/{org}/security-policies", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/security-policies/history",
        Admins,
    ),
    ("GET", "/api/v1/admin/orgs/{org}/readiness", Admins),
    ("GET", "/api/v1/config/orgs/{org}/validation-status", Admins),
    (
        "POST",
        "/api/v1/config/orgs/{org}/nodes/{node}/validate",
        Admins,
    ),
    (
        "GET",
        "/api/v1/config/me/required-fields",
        Team("config:read"),
    ),
    //
    ("GET", "/api/v1/admin/orgs/{org}/pending-changes", Admins),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/pending-changes/{change}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/pending-changes/{change}/review",
        Admins,
    ),
    ("GET", "/api/v1/team/pending-changes", Team("config:read")),
    (
        "GET",
        "/api/v1/team/pending-changes/{change}",
        Team("config:read"),
    ),
    (
        "POST",
        "/api/v1/team/pending-changes/{change}/approve",
        Team("config:write"),
    ),
    (
        "POST",
        "/api/v1/team/pending-changes/{change}/reject",
        Team("config:write"),
    ),
    ("POST", "/api/v1/internal/pending-changes", Services),
    //
    ("POST", "/api/v1/remediations", Team("agent:invoke")),
    ("GET", "/api/v1/remediations", Team("config:read")),
    (
        "GET",
        "/api/v1/remediations/{remediation}",
        Team("config:read"),
    ),
    (
        "POST",
        "/api/v1/remediations/{remediation}/review",
        Team("config:write"),
    ),
    (
        "POST",
        "/api/v1/remediations/{remediation}/rollback",
        Team("config:write"),
    ),
    ("GET", "/api/v1/admin/orgs/{org}/remediations", Admins),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/remediations/{remediation}/review",
        Admins,
    ),
    ("POST", "/api/v1/internal/remediations", Services),
    (
        "POST",
        "/api/v1/internal/remediations/{remediation}/result",
        Services,
    ),
    //
    ("GET", "/api/v1/admin/orgs/{org}/sources", Admins),
    ("POST", "/api/v1/admin/orgs/{org}/sources", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/sources/health", Admins),
    ("GET", "/api/v1/admin/orgs/{org}/sources/{source}", Admins),
    ("PATCH", "/api/v1/admin/orgs/{org}/sources/{source}", Admins),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/sources/{source}",
        Admins,
    ),
    (
        "GET",
        "/api/v1/admin/orgs/{org}/sources/{source}/health",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/sources/{source}/secrets",
        Admins,
    ),
    (
        "DELETE",
        "/api/v1/admin/orgs/{org}/sources/{source}/secrets/{secret}",
        Admins,
    ),
    (
        "POST",
        "/api/v1/admin/orgs/{org}/sources/{source}/test",
        Admins,
    ),
];
