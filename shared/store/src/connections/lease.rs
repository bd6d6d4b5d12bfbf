//! A connection that is in use.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tokio::sync::OwnedSemaphorePermit;

use super::{Idle, Server, locked};
use foundation::moment::Moment;

/// A connection that is in use. One that is not given back is closed: nobody knows what it is in the middle of.
pub(crate) enum Lease {
    Ours {
        connection: PgConnection,
        made: Moment,
        is_fresh: bool,
        server: Arc<Server>,
        _permit: OwnedSemaphorePermit,
    },
    Given(PoolConnection<Postgres>),
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

impl Lease {
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Ours { is_fresh: true, .. })
    }

    /// For the next one: nothing is under way on it.
    pub(crate) fn give_back(self) {
        // One that was given goes back to its pool by itself.
        if let Self::Ours {
            connection,
            made,
            server,
            ..
        } = self
        {
            locked(&server.idle).push(Idle {
                connection,
                made,
                since: Moment::now(),
            });
        }
    }

    /// How long may be waited for what is done with it.
    pub(crate) fn bound(&self) -> Duration {
        match self {
            Self::Ours { server, .. } => server.bound(),
            Self::Given(_) => Duration::MAX,
        }
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Ours { connection, .. } => connection,
            Self::Given(connection) => connection,
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Ours { connection, .. } => connection,
            Self::Given(connection) => connection,
        }
    }
}
