//! The description of the API (OpenAPI 3.1), as the routes give it.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
};
use utoipa::{PartialSchema as _, ToSchema};

use super::access::Access;
use super::extract::{ID_PATTERN, Id};

/// The name of the answer to everything that fails.
const PROBLEM: &str = "Problem";

const TEAM_TOKEN: &str = "team_token";
const ADMIN_TOKEN: &str = "admin_token";
const ADMIN_HEADER: &str = "admin_header";
const INTERNAL_SERVICE: &str = "internal_service";
const INTERNAL_SECRET: &str = "internal_secret";

/// By these names the API means ids of orgs and nodes, wherever they stand.
const ID_NAMES: [&str; 8] = [
    "org",
    "node",
    "team",
    "org_id",
    "node_id",
    "team_node_id",
    "parent_id",
    "with",
];

/// Areas in the order in which a reader meets them.
const TAGS: &[(&str, &str)] = &[
    ("auth", "Who is calling, and single sign-on."),
    (
        "me",
        "A team's own config and what belongs to it, for the holder of its token.",
    ),
    ("tree", "Orgs, units and teams."),
    (
        "config",
        "What each node sets, what holds, where it comes from, and what changed.",
    ),
    ("bulk", "Many nodes at once: imports and exports."),
    ("tokens", "Credentials of teams and of orgs' admins."),
    (
        "policy",
        "Field definitions, locks, limits, and the security policy of an org.",
    ),
    (
        "approvals",
        "Changes that wait for somebody else's consent.",
    ),
    ("schema", "The shape of a config, and the defaults."),
    ("secrets", "Values that go in and do not come out again."),
    (
        "sources",
        "Senders with a URL, secrets and limits of their own.",
    ),
    ("templates", "Ready-made configs: preview, apply, revert."),
    ("integrations", "What a team connects to, with a live test."),
    (
        "settings",
        "Notifications, output and other settings of orgs and teams.",
    ),
    (
        "catalogue",
        "Agents, tools and models that configs can name.",
    ),
    ("internal", "For other services."),
    ("service", "The service itself."),
];

/// Every refusal and failure, as `application/problem+json` (RFC 9457). Some carry further members,
/// such as `errors`, `current` or `owner`.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes what the kit renders")]
struct ProblemBody {
    /// `about:blank`: the code says it all.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// Stable, for machines: `snake_case`.
    code: String,
    /// What was wrong, and what to do.
    detail: String,
    /// Under which the log has it.
    request_id: Option<String>,
}

/// The description without routes.
pub(super) fn skeleton() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tocsin config")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Who is who and what is set: orgs, units and teams, their configuration, tokens and secrets.",
        ))
        .build();
    let mut components = Components::new();
    for (name, schema) in [
        (PROBLEM.to_owned(), ProblemBody::schema()),
        (Id::name().into_owned(), Id::schema()),
    ] {
        components.schemas.insert(name, schema);
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(PROBLEM)))
        .build();
    let problem = ResponseBuilder::new()
        .description("Refused or failed; `code` says why.")
        .content("application/problem+json", content)
        .build();
    components
        .responses
        .insert(PROBLEM.to_owned(), RefOr::T(problem));
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    let tags = TAGS.iter().map(|(name, about)| {
        let about = Some((*about).to_owned());
        TagBuilder::new().name(*name).description(about).build()
    });
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(tags))
        .components(Some(components))
        .build()
}

fn schemes() -> [(&'static str, SecurityScheme); 5] {
    let bearer = |what: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(what)).build())
    };
    let header = |name: &str, what: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, what)))
    };
    [
        (
            TEAM_TOKEN,
            bearer("A team's token, or one of an identity provider for a team."),
        ),
        (
            ADMIN_TOKEN,
            bearer(
                "A token of a global admin or of an org's admin, or one of an identity provider for an admin.",
            ),
        ),
        (
            ADMIN_HEADER,
            header(
                "X-Admin-Token",
                "The same, where Authorization is not free.",
            ),
        ),
        (
            INTERNAL_SERVICE,
            header("X-Internal-Service", "The name of the calling service."),
        ),
        (
            INTERNAL_SECRET,
            header(
                "X-Internal-Secret",
                "INTERNAL_SERVICE_SECRET of this server.",
            ),
        ),
    ]
}

/// Adds what holds for every operation of that access: what its path may name, how to authenticate,
/// and how it may fail.
pub(super) fn complete(operation: &mut Operation, access: Access) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if ID_NAMES.contains(&parameter.name.as_str()) {
            parameter.schema = Some(Ref::from_schema_name(Id::name()).into());
        }
    }
    let mut statuses = vec!["400", "404", "422", "500", "503"];
    if access != Access::Public {
        statuses.extend(["401", "403"]);
    }
    if operation.request_body.is_some() {
        statuses.push("413");
    }
    statuses.push("409");
    for status in statuses {
        let problem = || RefOr::Ref(Ref::from_response_name(PROBLEM));
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(problem);
    }
    let no_scopes: [String; 0] = [];
    let by = |name: &str| SecurityRequirement::new(name, no_scopes.clone());
    operation.security = Some(match access {
        Access::Public => Vec::new(),
        Access::Internal => vec![by(INTERNAL_SERVICE).add(INTERNAL_SECRET, no_scopes.clone())],
        Access::Team(_) => vec![by(TEAM_TOKEN)],
        Access::GlobalAdmin(_) | Access::Admin(_) => vec![by(ADMIN_TOKEN), by(ADMIN_HEADER)],
        Access::Anybody | Access::TeamOrOrgAdmin(..) => {
            vec![by(TEAM_TOKEN), by(ADMIN_TOKEN), by(ADMIN_HEADER)]
        }
    });
    let extensions = operation.extensions.get_or_insert_with(Extensions::default);
    extensions.insert("x-access".to_owned(), described(access));
}

/// Adds the rule of ids to fields that have the name of one, unless they say something else.
pub(super) fn complete_fields(schema: &mut RefOr<Schema>) {
    let object = match schema {
        RefOr::T(Schema::Object(object)) => object,
        RefOr::T(Schema::AllOf(all)) => {
            all.items.iter_mut().for_each(complete_fields);
            return;
        }
        _ => return,
    };
    for (name, field) in &mut object.properties {
        let RefOr::T(Schema::Object(field)) = field else {
            continue;
        };
        if ID_NAMES.contains(&name.as_str()) && field.pattern.is_none() {
            field.pattern = Some(ID_PATTERN.to_owned());
        }
    }
}

/// Where one schema takes in another (`#[serde(flatten)]`), it adds fields to it: there, one that
/// allows no further fields must not forbid these.
pub(super) fn open_what_is_taken_in(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let closed = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let mut open = BTreeMap::new();
    for (name, schema) in schemas.iter() {
        if let RefOr::T(Schema::Object(object)) = schema
            && object.additional_properties == closed
        {
            let mut object = object.clone();
            object.additional_properties = None;
            let place = Ref::from_schema_name(name.as_str()).ref_location;
            open.insert(place, Schema::Object(object));
        }
    }
    for schema in schemas.values_mut() {
        let RefOr::T(Schema::AllOf(all)) = schema else {
            continue;
        };
        for item in &mut all.items {
            if let RefOr::Ref(reference) = item
                && let Some(schema) = open.get(&reference.ref_location)
            {
                *item = RefOr::T(schema.clone());
            }
        }
    }
}

/// Who may call, for readers and for the test that walks the table.
fn described(access: Access) -> serde_json::Value {
    match access {
        Access::Public => json!({"who": "everybody"}),
        Access::Anybody => json!({"who": "anybody with a good credential"}),
        Access::Internal => json!({"who": "services"}),
        Access::GlobalAdmin(scope) => {
            json!({"who": "global admins", "scope": scope.as_str()})
        }
        Access::Admin(scope) => json!({"who": "admins of the org", "scope": scope.as_str()}),
        Access::Team(permission) => {
            json!({"who": "the team", "permission": permission.as_str()})
        }
        Access::TeamOrOrgAdmin(permission, scope) => json!({
            "who": "the team, or admins of the org",
            "permission": permission.as_str(),
            "scope": scope.as_str(),
        }),
    }
}
