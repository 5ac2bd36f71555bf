//! Finds the real servers that tests start. The one place of the testkit that reads the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where `./dev` keeps its private tools, relative to the root of the checkout.
const TOOLS: &str = ".tocsin/tools";

/// A variable of the test's environment; unset and empty are the same.
///
/// Read by the testkit: `NATS_SERVER_BIN` (the nats-server to start), `POSTGRES_BIN_DIR` (the folder with `postgres` and
/// `initdb`), `TOCSIN_TEST_DATABASE_URL` and `DATABASE_URL` (a running PostgreSQL whose role may create databases),
/// `TOCSIN_BIN_DIR` (the folder with the programs to test or to measure), `PATH`.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no settings struct: which servers to use is the environment's choice"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The database server that the environment offers to tests, if any.
pub(crate) fn database_url() -> Option<String> {
    ["TOCSIN_TEST_DATABASE_URL", "DATABASE_URL"]
        .into_iter()
        .find_map(|name| variable(name)?.into_string().ok())
}

/// A program of this project: the one in `TOCSIN_BIN_DIR`, else the one that cargo built beside this program (tests run
/// from `deps/`, one folder below). So one load generator can measure several builds in turns.
///
/// # Errors
/// When there is none.
pub fn built_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let folders: Vec<PathBuf> = match variable("TOCSIN_BIN_DIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => own
            .ancestors()
            .skip(1)
            .take(2)
            .map(Path::to_owned)
            .collect(),
    };
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        let folders: Vec<_> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        format!(
            "there is no {name} in {}: build it, or set TOCSIN_BIN_DIR to its folder",
            folders.join(" or ")
        )
    })
}

/// The nats-server to start: `NATS_SERVER_BIN`, else the one on `PATH`, else the one of `./dev`.
pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(path) = variable("NATS_SERVER_BIN") {
        return Ok(PathBuf::from(path));
    }
    on_path("nats-server")
        .or_else(|| {
            let installed = tools()?.join("bin/nats-server");
            installed.is_file().then_some(installed)
        })
        .context(
            "nats-server was not found: put it on PATH, set NATS_SERVER_BIN to it, or let `./dev` install it",
        )
}

/// The folder with PostgreSQL's programs: `POSTGRES_BIN_DIR`, else the one on `PATH`, else the one of `./dev`, else
/// the newest that the system's packages have put under `/usr/lib/postgresql`.
pub(crate) fn postgres_programs() -> anyhow::Result<PathBuf> {
    if let Some(path) = variable("POSTGRES_BIN_DIR") {
        return Ok(PathBuf::from(path));
    }
    let on_path = on_path("initdb").and_then(|initdb| Some(initdb.parent()?.to_path_buf()));
    on_path
        .or_else(|| newest(wheels(&tools()?)))
        .or_else(|| newest(children(Path::new("/usr/lib/postgresql")).map(|dir| dir.join("bin"))))
        .context(
            "PostgreSQL's initdb was not found: put it on PATH, set POSTGRES_BIN_DIR to its folder, let `./dev` \
             install it, or set DATABASE_URL to a running server",
        )
}

/// The first executable of that name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// `.tocsin/tools` of the checkout around the working directory (cargo starts tests in their package's folder).
fn tools() -> Option<PathBuf> {
    let start = std::env::current_dir().ok()?;
    start
        .ancestors()
        .map(|dir| dir.join(TOOLS))
        .find(|tools| tools.is_dir())
}

/// `lib/python*/site-packages/*/pginstall*/bin`: where the wheel keeps its servers.
fn wheels(tools: &Path) -> impl Iterator<Item = PathBuf> {
    children(&tools.join("lib"))
        .flat_map(|python| children(&python.join("site-packages")))
        .flat_map(|package| children(&package))
        .filter(|dir| {
            dir.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("pginstall"))
        })
        .map(|dir| dir.join("bin"))
}

/// The folder of the highest version that has `initdb`; the version is the number in its parent's name.
fn newest(candidates: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates
        .filter(|dir| dir.join("initdb").is_file())
        .max_by_key(|dir| {
            let parent = dir
                .parent()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy());
            let digits: String = parent
                .unwrap_or_default()
                .chars()
                .filter(char::is_ascii_digit)
                .collect();
            digits.parse::<u32>().unwrap_or(0)
        })
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Where the test itself would find programs.
pub(crate) fn search_path() -> Option<OsString> {
    variable("PATH")
}
