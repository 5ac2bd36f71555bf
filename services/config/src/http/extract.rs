//! What a request says in its path and its query, checked and with problems as answers.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query};
use http::StatusCode;
use http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use tocsin_kit::Problem;
use tocsin_wire::{OrgId, TeamId};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::node::{self, NodeId};

/// The parameters of the path; what breaks a rule is 422 `invalid_id` with the rule.
#[derive(Debug)]
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(path_problem(rejection)),
        }
    }
}

fn path_problem(rejection: PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        tracing::error!(error = %rejection, "a route reads parameters that its path does not have");
        return Problem::internal();
    };
    let detail = match error.into_kind() {
        ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => message,
        ErrorKind::InvalidUtf8InPathParam { key } => {
            format!("{key} in the path is not UTF-8 when its escapes are resolved")
        }
        other => other.to_string(),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_id", detail)
}

/// The parameters of the query; what does not fit is 400 `invalid_query`.
#[derive(Debug)]
pub(super) struct InQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::bad_request(
                "invalid_query",
                format!("the query cannot be read: {}", rejection.body_text()),
            )),
        }
    }
}

/// How ids of orgs, units and teams look in the description: `#[schema(value_type = Id)]`.
pub(super) struct Id;

impl utoipa::PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(ID_PATTERN))
            .description(Some(
                "The id of an org, unit or team. `shared`, `unrouted` and `all` are reserved.",
            ))
            .examples(["payments"]);
        RefOr::T(Schema::Object(schema.build()))
    }
}

impl utoipa::ToSchema for Id {}

/// The rule that `tocsin_wire::token` checks.
pub(super) const ID_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// `…/orgs/{org}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrgPath {
    /// The org.
    #[serde(deserialize_with = "org")]
    #[param(value_type = String, example = "acme")]
    pub(super) org: OrgId,
}

/// `…/orgs/{org}/nodes/{node}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NodePath {
    /// The org.
    #[serde(deserialize_with = "org")]
    #[param(value_type = String, example = "acme")]
    pub(super) org: OrgId,
    /// A node of it: the org itself, a unit or a team.
    #[serde(deserialize_with = "node_id")]
    #[param(value_type = String, example = "payments")]
    pub(super) node: NodeId,
}

/// `…/orgs/{org}/teams/{team}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TeamPath {
    /// The org.
    #[serde(deserialize_with = "org")]
    #[param(value_type = String, example = "acme")]
    pub(super) org: OrgId,
    /// A team of it.
    #[serde(deserialize_with = "node_id")]
    #[param(value_type = String, example = "payments")]
    pub(super) team: TeamId,
}

/// `…/orgs/{org}/teams/{team}/tokens/{token}`
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// The org.
    #[serde(deserialize_with = "org")]
    #[param(value_type = String, example = "acme")]
    pub(super) org: OrgId,
    /// A team of it.
    #[serde(deserialize_with = "node_id")]
    #[param(value_type = String, example = "payments")]
    pub(super) team: TeamId,
    /// The token's id.
    #[param(example = "0195d2f0-0000-7000-8000-000000000000")]
    pub(super) token: String,
}

/// For `#[serde(deserialize_with)]`: an id that can name an org.
pub(super) fn org<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OrgId, D::Error> {
    let text = String::deserialize(deserializer)?;
    node::org_id(&text).map_err(D::Error::custom)
}

/// For `#[serde(deserialize_with)]`: an id that can name a node.
pub(super) fn node_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
    let text = String::deserialize(deserializer)?;
    node::node_id(&text).map_err(D::Error::custom)
}
