//! A private folder for one server, removed with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

const PREFIX: &str = "tocsin-test-";
/// A folder whose test process is gone is swept by a later test, but not while it may still be in use by a server
/// that has not yet noticed the death of its parent.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(600);

/// `<temp>/tocsin-test-<pid>-<unique>`; removed when dropped. What a killed test process left is swept by later ones.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let name = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            uuid::Uuid::now_v7().simple()
        );
        let path = parent.join(name);
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot create the test's folder {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the test's folder stays behind");
        }
    }
}

fn sweep(parent: &Path) {
    // Without /proc nobody knows which owners are alive.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else {
            continue;
        };
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        let old = age.is_some_and(|age| age > LEFT_BEHIND_AFTER);
        if old && !Path::new("/proc").join(owner.to_string()).exists() {
            // Another test may be sweeping the same folder: whoever comes second finds nothing.
            let _removed = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a folder of this name; `None` for a folder that is not ours to sweep.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_test_processes_have_an_owner() {
        for (name, expected) in [
            (
                "tocsin-test-19754-01a1fd7b3d1077f4a3c5f7f041991a87",
                Some(19754),
            ),
            // The server that a whole run shares lives longer than a sweep waits.
            ("tocsin-test-run-k3j2h1", None),
            ("tocsin-test-19754", None),
            ("tocsin-run-19754-1", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }
}
