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
    served: Served,
}

/// What [`route!`](super::route) makes of handlers.
pub(crate) struct Served {
    pub(in crate::http) path: String,
    pub(in crate::http) methods: MethodRouter<Arc<App>>,
    /// Made when somebody asks: the description of all routes is many times as large as what is
    /// needed to serve them, and so is the code that makes it.
    pub(in crate::http) describe: fn() -> UtoipaMethodRouter<Arc<App>>,
}

/// The handlers of one path. Path, methods, parameters and bodies are read from each handler's
/// `#[utoipa::path]`.
macro_rules! route {
    ($($first:ident)::+ $(, $($more:ident)::+)* $(,)?) => {{
        use utoipa_axum::PathItemExt as _;
        let methods = axum::routing::MethodRouter::new();
        let methods = $crate::http::routes::route!(@on methods $($first)::+);
        $(let methods = $crate::http::routes::route!(@on methods $($more)::+);)*
        $crate::http::routes::Served {
            path: utoipa_axum::routes!(@path [path()] of $($first)::+),
            methods,
            describe: || utoipa_axum::routes!($($first)::+ $(, $($more)::+)*),
        }
    }};
    (@on $methods:ident $($handler:ident)::+) => {
        utoipa_axum::routes!(@path [methods()] of $($handler)::+)
            .iter()
            .fold($methods, |methods, method| {
                methods.on(method.to_method_filter(), $($handler)::+)
            })
    };
}
pub(in crate::http) use route;

impl Route {
    fn described(&self) -> (Vec<(String, RefOr<Schema>)>, Paths) {
        let (schemas, paths, _methods) = (self.served.describe)();
        (schemas, paths)
    }
}

/// Routes with their description.
#[derive(Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One path. The answers that access and the server give are added to its description here.
    #[must_use]
    pub(crate) fn add(mut self, access: Access, served: Served) -> Self {
        self.0.push(Route { access, served });
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
            let (schemas, paths) = route.described();
            components.schemas.extend(schemas);
            for (path, mut item) in paths.paths {
                for operation in operations(&mut item) {
                    openapi::complete(operation, route.access);
                }
                match document.paths.paths.get_mut(&path) {
                    Some(known) => known.merge_operations(item),
                    None => {
                        document.paths.paths.insert(path, item);
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
            let Served { path, methods, .. } = route.served;
            let methods = methods.route_layer(from_fn_with_state(state, guard));
            router = router.route(&path, methods);
        }
        router
    }

    /// Names under which two types describe themselves differently: only one of them would show.
    #[cfg(test)]
    fn ambiguous_names(&self) -> Vec<String> {
        let mut known = std::collections::BTreeMap::new();
        let mut ambiguous = Vec::new();
        for (name, schema) in self.0.iter().flat_map(|route| route.described().0) {
            if *known.entry(name.clone()).or_insert_with(|| schema.clone()) != schema {
                ambiguous.push(name);
            }
        }
        ambiguous
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
                let path = &route.served.path;
                assert!(
                    path.contains("{org}"),
                    "{path}: an org's admin could never call it; use Access::GlobalAdmin or name the org"
                );
            }
        }
    }
}
