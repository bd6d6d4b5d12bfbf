//! People: `/api/me`, `/api/me/presence`.

pub mod me;
pub mod presence;
