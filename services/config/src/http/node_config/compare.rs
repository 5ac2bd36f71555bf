//! Where values come from, and what differs between nodes, versions and times.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tocsin_kit::Problem;
use tocsin_wire::OrgId;
use utoipa::ToSchema;

use super::Version;
use crate::decide::Refusal;
use crate::diff::{self, Diff};
use crate::explain::{self, Leaf};
use crate::http::extract::{InPath, InQuery, NodePath};
use crate::http::routes::route;
use crate::http::{Access, App, Routes, Scope, body};
use crate::merge::Config;
use crate::node::{Lineage, NodeId};

/// Versions that a comparison of times lists.
const LISTED_CHANGES: i64 = 200;

pub(super) fn routes() -> Routes {
    Routes::new()
        .add(Access::Admin(Scope::ConfigRead), route!(explain_node))
        .add(Access::Admin(Scope::ConfigRead), route!(compare))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ExplainQuery {
    /// Only values at or below this dotted path.
    path: Option<String>,
}

/// Where each value comes from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedConfig)]
pub(in crate::http) struct Explained {
    node_id: String,
    hierarchy: Vec<String>,
    leaves: Vec<Leaf>,
}

/// Of each value that holds at a node: who set it where and when, and what it overrides.
pub(in crate::http) async fn explained(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    query: &ExplainQuery,
) -> Result<Explained, Problem> {
    let line = app.database.lineage(org, node).await?;
    let last = app.database.last_changes(org, &line.ids()).await?;
    Ok(Explained {
        node_id: node.to_string(),
        hierarchy: line.ids().iter().map(ToString::to_string).collect(),
        leaves: explain::explain(&app.defaults, &line, &last, query.path.as_deref()),
    })
}

/// Where each value of a node comes from
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/explain", operation_id = "node_config_explain", tag = "config",
    params(NodePath, ExplainQuery),
    responses((status = 200, description = "By path.", body = Explained)))]
pub(super) async fn explain_node(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<ExplainQuery>,
) -> Result<Json<Explained>, Problem> {
    Ok(Json(explained(&app, &org, &node, &query).await?))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CompareQuery {
    /// A version of the node (`7`), a time (`2026-03-01T12:00:00Z`), how long ago (`24h`, `7d`),
    /// `yesterday` or `now`. Two versions compare what the node itself sets, two times what holds at
    /// it, which changes above it change too.
    from: Option<String>,
    /// The same; the newest version or now, when nothing is said.
    to: Option<String>,
    /// Another node of the org: what holds there takes the place of `to`.
    with: Option<String>,
}

/// One side of a comparison.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ComparedSide)]
pub(super) struct Side {
    node_id: String,
    version: Option<u64>,
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Whether the node was there then.
    exists: bool,
}

/// What differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfigComparison)]
pub(super) struct Comparison {
    /// `own`: what the node sets; `effective`: what holds at it.
    scope: &'static str,
    from: Side,
    to: Side,
    diff: Diff,
    /// What happened between two times to the nodes of both lines, newest first.
    changes: Vec<Version>,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Version(u64),
    Time(Timestamp),
}

/// Compare versions, times or nodes
///
/// `?from=yesterday` tells what changed since yesterday, above the node too.
#[utoipa::path(get, path = "/api/v1/admin/orgs/{org}/nodes/{node}/diff", operation_id = "node_config_diff", tag = "config",
    params(NodePath, CompareQuery),
    responses((status = 200, description = "By dotted path.", body = Comparison)))]
pub(super) async fn compare(
    State(app): State<Arc<App>>,
    InPath(NodePath { org, node }): InPath<NodePath>,
    InQuery(query): InQuery<CompareQuery>,
) -> Result<Json<Comparison>, Problem> {
    let now = app.clock.now();
    let parse = |name, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| moment(name, text, now));
        parsed.transpose()
    };
    let (from, to) = (parse("from", &query.from)?, parse("to", &query.to)?);
    let other = query.with.as_deref().map(body::node_id).transpose()?;
    let comparison = match (other, from, to) {
        (None, Some(Moment::Version(from)), None | Some(Moment::Version(_))) => {
            let to = match to {
                Some(Moment::Version(to)) => Some(to),
                _ => None,
            };
            versions(&app, &org, &node, (from, to)).await?
        }
        (None, None, _) => {
            return Err(Refusal::Field(
                "say from what to compare: ?from=<version, time, 24h or yesterday>, or ?with=<node>"
                    .to_owned(),
            )
            .into());
        }
        (other, from, to) => {
            let (from, to) = (time(from, now)?, time(to, now)?);
            let other = other.unwrap_or_else(|| node.clone());
            times(&app, &org, (&node, from), (&other, to)).await?
        }
    };
    Ok(Json(comparison))
}

fn time(moment: Option<Moment>, now: Timestamp) -> Result<Timestamp, Problem> {
    match moment {
        None => Ok(now),
        Some(Moment::Time(at)) => Ok(at),
        Some(Moment::Version(_)) => Err(Refusal::Field(
            "compare a version with a version, or a time with a time".to_owned(),
        )
        .into()),
    }
}

fn moment(name: &str, text: &str, now: Timestamp) -> Result<Moment, Problem> {
    let parsed = parse_moment(text, now);
    parsed.ok_or_else(|| {
        Refusal::Field(format!(
            "{name} must be a version such as 7, a time such as 2026-03-01T12:00:00Z, 24h, 7d, yesterday or now, not {text:?}"
        ))
        .into()
    })
}

fn parse_moment(text: &str, now: Timestamp) -> Option<Moment> {
    if let Ok(version) = text.parse() {
        return Some(Moment::Version(version));
    }
    let ago = |seconds: i64| {
        let ago = SignedDuration::from_secs(seconds);
        now.checked_sub(ago).ok().map(Moment::Time)
    };
    match text {
        "now" => return Some(Moment::Time(now)),
        "yesterday" => return ago(24 * 60 * 60),
        _ => {}
    }
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        'w' => Some(7 * 24 * 60 * 60),
        _ => None,
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|text| text.parse::<u32>().ok());
    if let (Some(seconds), Some(number)) = (seconds, number) {
        return ago(i64::from(number).checked_mul(seconds)?);
    }
    // In a query, an unescaped + of an offset arrives as a space.
    let at = text.replace(' ', "+").parse().ok()?;
    Some(Moment::Time(at))
}

async fn versions(
    app: &App,
    org: &OrgId,
    node: &NodeId,
    (from, to): (u64, Option<u64>),
) -> Result<Comparison, Problem> {
    app.database.must_have_been(org, node).await?;
    let to = match to {
        Some(to) => to,
        None => app.database.node(org, node).await?.version,
    };
    let before = app.database.config_at(org, node, from).await?;
    let after = app.database.config_at(org, node, to).await?;
    let side = |version, config: &Option<Config>| Side {
        node_id: node.to_string(),
        version: Some(version),
        at: None,
        exists: config.is_some(),
    };
    Ok(Comparison {
        scope: "own",
        from: side(from, &before),
        to: side(to, &after),
        diff: diff::between(&before.unwrap_or_default(), &after.unwrap_or_default()),
        changes: Vec::new(),
    })
}

async fn times(
    app: &App,
    org: &OrgId,
    (node, from): (&NodeId, Timestamp),
    (other, to): (&NodeId, Timestamp),
) -> Result<Comparison, Problem> {
    for node in [node, other] {
        app.database.must_have_been(org, node).await?;
    }
    let before = app.database.lineage_at(org, node, from).await?;
    let after = app.database.lineage_at(org, other, to).await?;
    let lines = before.iter().chain(&after);
    let mut nodes: Vec<NodeId> = lines.flat_map(|line| line.ids()).cloned().collect();
    nodes.extend([node.clone(), other.clone()]);
    let rows = app
        .database
        .changes_between(org, &nodes, (from, to), LISTED_CHANGES)
        .await?;
    let side = |node: &NodeId, at, line: &Option<Lineage>| Side {
        node_id: node.to_string(),
        version: line
            .as_ref()
            .and_then(|line| line.node())
            .map(|node| node.version),
        at: Some(at),
        exists: line.is_some(),
    };
    let effective = |line: &Option<Lineage>| match line {
        Some(line) => line.effective(&app.defaults),
        None => Config::new(),
    };
    Ok(Comparison {
        scope: "effective",
        diff: diff::between(&effective(&before), &effective(&after)),
        from: side(node, from, &before),
        to: side(other, to, &after),
        changes: rows.into_iter().map(|row| Version::new(org, row)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_versions_times_or_durations() {
        let now: Timestamp = "2026-03-02T12:00:00Z".parse().expect("time");
        let time = |text: &str| Some(Moment::Time(text.parse().expect("time")));
        for (text, expected) in [
            ("7", Some(Moment::Version(7))),
            ("now", time("2026-03-02T12:00:00Z")),
            ("yesterday", time("2026-03-01T12:00:00Z")),
            ("24h", time("2026-03-01T12:00:00Z")),
            ("90s", time("2026-03-02T11:58:30Z")),
            ("2026-03-01T12:00:00Z", time("2026-03-01T12:00:00Z")),
            ("2026-03-01T12:00:00 01:00", time("2026-03-01T11:00:00Z")),
            ("99999999w", None),
            ("-1", None),
            ("h", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(parse_moment(text, now), expected, "{text}");
        }
    }
}
