//! The table of routes: each with who may call it. The router, the guard before each handler and
//! the published description all come from it.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::UtoipaMethodRouter;

use super::access::{Access, Guard, guard};
use super::{App, openapi};

/// One path with the methods of it that the same callers may use.
struct Route {
    access: Access,
    schemas: Vec<(String, RefOr<Schema>)>,
    paths: Paths,
    methods: MethodRouter<Arc<App>>,
}

/// Routes with their description.
#[derive(Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One path. `routes!(handler)` reads method, path, parameters and bodies from the handler's
    /// `#[utoipa::path]`; the answers that access and the server give are added here.
    #[must_use]
    pub(crate) fn add(
        mut self,
        access: Access,
        (schemas, paths, methods): UtoipaMethodRouter<Arc<App>>,
    ) -> Self {
        self.0.push(Route {
            access,
            schemas,
            paths,
            methods,
        });
        self
    }

    /// Those of another table, too.
    #[must_use]
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The description of all of them.
    pub(crate) fn describe(&self) -> OpenApi {
        let mut document = openapi::skeleton();
        let components = document.components.get_or_insert_default();
        for route in &self.0 {
            components.schemas.extend(route.schemas.iter().cloned());
            for (path, item) in &route.paths.paths {
                let mut item = item.clone();
                for operation in operations(&mut item) {
                    openapi::complete(operation, route.access);
                }
                match document.paths.paths.get_mut(path) {
                    Some(known) => known.merge_operations(item),
                    None => {
                        document.paths.paths.insert(path.clone(), item);
                    }
                }
            }
        }
        openapi::open_what_is_taken_in(&mut components.schemas);
        components
            .schemas
            .values_mut()
            .for_each(openapi::complete_fields);
        document
    }

    /// The router, with the guard before each handler.
    pub(crate) fn into_router(self, app: &Arc<App>) -> Router<Arc<App>> {
        let mut router = Router::new();
        for route in self.0 {
            let state = Arc::new(Guard {
                app: Arc::clone(app),
                access: route.access,
            });
            let methods = route.methods.route_layer(from_fn_with_state(state, guard));
            for path in route.paths.paths.keys() {
                router = router.route(path, methods.clone());
            }
        }
        router
    }

    /// Names under which two types describe themselves differently: only one of them would show.
    #[cfg(test)]
    fn ambiguous_names(&self) -> Vec<&str> {
        let mut known = std::collections::BTreeMap::new();
        let schemas = self.0.iter().flat_map(|route| &route.schemas);
        schemas
            .filter(|(name, schema)| *known.entry(name).or_insert(schema) != schema)
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    #[test]
    fn a_name_in_the_description_means_one_type() {
        let routes = http::routes();
        let ambiguous = routes.ambiguous_names();
        assert!(
            ambiguous.is_empty(),
            "give these types names of their own with #[schema(as = area::Name)]: {ambiguous:?}"
        );
    }

    #[test]
    fn routes_of_an_orgs_admins_name_the_org() {
        let routes = http::routes();
        for route in &routes.0 {
            if matches!(route.access, Access::Admin(_)) {
                for path in route.paths.paths.keys() {
                    assert!(
                        path.contains("{org}"),
                        "{path}: an org's admin could never call it; use Access::GlobalAdmin or name the org"
                    );
                }
            }
        }
    }
}
