//! The shared secrets: one flag and one environment variable per provider, from the table of providers.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use tocsin_kit::SecretList;

use crate::provider::{self, Provider};

/// Live secrets by provider; a provider without one is off, and everything that claims to come from it is
/// refused.
#[derive(Clone, Debug, Default)]
pub struct ProviderSecrets {
    lists: BTreeMap<&'static str, SecretList>,
    none: SecretList,
}

impl ProviderSecrets {
    /// Those of one provider; an empty list when there are none.
    #[must_use]
    pub fn of(&self, provider: &Provider) -> &SecretList {
        self.lists.get(provider.name).unwrap_or(&self.none)
    }

    /// Sets those of one provider.
    #[must_use]
    pub fn with(mut self, provider: &Provider, secrets: SecretList) -> Self {
        self.lists.insert(provider.name, secrets);
        self
    }

    fn read(&mut self, matches: &ArgMatches) {
        for provider in provider::ALL {
            if let Some(secrets) = matches.get_one::<SecretList>(provider.secret.flag) {
                self.lists.insert(provider.name, secrets.clone());
            }
        }
    }
}

impl FromArgMatches for ProviderSecrets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut secrets = Self::default();
        secrets.read(matches);
        Ok(secrets)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.read(matches);
        Ok(())
    }
}

impl Args for ProviderSecrets {
    fn augment_args(command: Command) -> Command {
        provider::ALL.iter().fold(command, |command, provider| {
            let setting = &provider.secret;
            let help = format!(
                "{}, comma-separated while one is rotated; without one, {} is off",
                setting.help,
                provider.title()
            );
            command.arg(
                Arg::new(setting.flag)
                    .long(setting.flag)
                    .env(setting.variable)
                    .hide_env_values(true)
                    .value_name("SECRETS")
                    .value_parser(value_parser!(SecretList))
                    .help(help),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
