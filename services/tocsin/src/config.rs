//! `tocsin config export|plan|apply|rebuild`: an org's tree as a YAML file that can be kept in Git.
//!
//! Everything goes through config's HTTP API. `apply` is one bulk request with the versions that the
//! plan was made from: it is done as a whole, or refused when somebody wrote meanwhile. Values of
//! secrets are in no answer of config, so they are in no file; references to them are.

mod plan;
mod text;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::Method;
use serde_json::json;
use tocsin_kit::Clock;
use tocsin_wire::OrgId;

use crate::cli::{Colour, ConfigCommand, ConfigFile};
use crate::error::CommandError;
use crate::run::print;
use crate::secrets::call;

use plan::{Plan, Tree};

/// What `plan` ends with when there is something to do.
const DIFFERS: u8 = 2;

/// The status is 2 when a plan is not empty.
pub(crate) async fn run(command: ConfigCommand) -> Result<ExitCode, CommandError> {
    match command {
        ConfigCommand::Export { org, out, config } => {
            let (tree, _) = read(&config, &org).await?;
            let yaml = to_yaml(&tree)?;
            match out {
                Some(path) => write_file(&path, &yaml)?,
                None => print(&yaml)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Plan { file, colour } => {
            let plan = planned(&file).await?;
            print(&text::plan(&plan, coloured(colour)))?;
            Ok(if plan.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(DIFFERS)
            })
        }
        ConfigCommand::Apply {
            file,
            reason,
            colour,
        } => {
            let plan = planned(&file).await?;
            print(&text::plan(&plan, coloured(colour)))?;
            if plan.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            let path = format!("orgs/{}/bulk", plan.org);
            let body = json!({"changes": plan.changes(), "reason": reason});
            let answer = call(&file.config, Method::POST, &path, Some(body)).await?;
            print(&text::applied(&answer))?;
            Ok(ExitCode::SUCCESS)
        }
        // Runs as the service does, with its settings.
        ConfigCommand::Rebuild(_) => Ok(ExitCode::SUCCESS),
    }
}

/// `tocsin config rebuild`
pub(crate) async fn rebuild(settings: tocsin_config::Settings) -> Result<(), CommandError> {
    let rebuilt = tocsin_config::rebuild(settings, "rebuild", Clock::system()).await;
    let rebuilt = rebuilt.map_err(|error| CommandError::Rebuild(Box::new(error)))?;
    print(&format!(
        "the snapshots say what the database says: {} identifiers, {} teams, {} sources and {} secrets had to be written\n",
        rebuilt.identifiers, rebuilt.teams, rebuilt.sources, rebuilt.secrets
    ))
}

async fn planned(file: &ConfigFile) -> Result<Plan, CommandError> {
    let wanted = from_yaml(&read_file(&file.file)?, &file.file)?;
    wanted.check().map_err(CommandError::Input)?;
    let org: OrgId = OrgId::new(&wanted.org)
        .map_err(|error| CommandError::Input(format!("{}: {error}", file.file.display())))?;
    let present = match read(&file.config, &org).await {
        Ok((tree, versions)) => Some((tree, versions)),
        Err(CommandError::Refused { status: 404, .. }) => None,
        Err(error) => return Err(error),
    };
    Plan::new(present, wanted, file.prune).map_err(CommandError::Input)
}

/// An org's tree with the version of each node.
async fn read(
    config: &crate::cli::ConfigAccess,
    org: &OrgId,
) -> Result<(Tree, plan::Versions), CommandError> {
    let path = format!("orgs/{org}/export");
    let answer = call(config, Method::GET, &path, None).await?;
    let exported: plan::Exported = serde_json::from_value(answer).map_err(|error| {
        CommandError::Input(format!("config's answer is not understood: {error}"))
    })?;
    Ok(exported.into_tree())
}

fn to_yaml(tree: &Tree) -> Result<String, CommandError> {
    serde_saphyr::to_string(tree).map_err(|error| {
        CommandError::Input(format!("the tree cannot be written as YAML: {error}"))
    })
}

fn from_yaml(yaml: &str, path: &Path) -> Result<Tree, CommandError> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        CommandError::Input(format!("{} is no tree of an org: {error}", path.display()))
    })
}

/// `-` is stdin.
pub(crate) fn read_file(path: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::Files {
        operation: format!("read {}", path.display()),
        source,
    };
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn write_file(path: &PathBuf, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|source| CommandError::Files {
        operation: format!("write {}", path.display()),
        source,
    })
}

fn coloured(colour: Colour) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => std::io::stdout().is_terminal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_reads_back_from_yaml_as_it_was() {
        let odd = [
            "yes",
            "no",
            "null",
            "~",
            "1e3",
            "0x1f",
            "012",
            "",
            " ",
            " a",
            "a ",
            "#x",
            "a: b",
            "- a",
            "a\nb\n",
            "\ta",
            "\"q\"",
            "'",
            "${secret:slack}",
            "é😀",
            "2026-01-01",
            ".inf",
            "1:2",
            "&a",
            "*a",
            "!x",
            "%x",
            "@x",
            "`x`",
            "[a]",
            "{a: b}",
            "|",
            ">",
            "line one\n  indented\n\nlast",
        ];
        let mut config = serde_json::Map::new();
        for text in odd {
            config.insert(format!("key {text}"), json!([text, {"in": text}]));
            config.insert(text.to_owned(), json!(text));
        }
        config.insert(
            "others".to_owned(),
            json!([null, true, 0, -1, 1.5, 1e300, {}, [], [[]]]),
        );
        let tree: Tree = serde_json::from_value(json!({"org":"acme","nodes":[
            {"id":"acme","type":"org","name":"ACME: \"x\"","config": serde_json::Value::Object(config)},
            {"id":"sre","parent":"acme","type":"team"}]}))
        .expect("fits");
        let yaml = to_yaml(&tree).expect("writes");
        assert_eq!(
            from_yaml(&yaml, Path::new("x")).expect("reads"),
            tree,
            "{yaml}"
        );
    }

    #[test]
    fn what_is_no_tree_is_refused_with_the_place() {
        for yaml in [
            "",
            "nodes: []",
            "org: acme\nnodes:\n- id: x\n  kind: team\n",
        ] {
            assert!(from_yaml(yaml, Path::new("acme.yaml")).is_err(), "{yaml}");
        }
    }
}
