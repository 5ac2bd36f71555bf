//! Who owns an event.

use std::fmt;

use tocsin_wire::proto::RoutingOwner;
use tocsin_wire::{InvalidToken, OrgId, TeamId};

/// A team of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    pub org: OrgId,
    pub team: TeamId,
}

impl Owner {
    /// From texts that follow the rule for tokens.
    ///
    /// # Errors
    /// Which of the two does not, and the rule.
    pub fn new(org: &str, team: &str) -> Result<Self, InvalidToken> {
        Ok(Self {
            org: OrgId::new(org)?,
            team: TeamId::new(team)?,
        })
    }

    /// Stands in for the owner of what nobody owns.
    #[must_use]
    pub fn unrouted() -> Self {
        Self {
            org: OrgId::unrouted(),
            team: TeamId::unrouted(),
        }
    }

    #[must_use]
    pub fn is_unrouted(&self) -> bool {
        *self == Self::unrouted()
    }
}

impl From<Owner> for RoutingOwner {
    fn from(owner: Owner) -> Self {
        Self {
            org: owner.org.to_string(),
            team: owner.team.to_string(),
        }
    }
}

/// `<org>/<team>`, as people read it.
impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.org, self.team)
    }
}
