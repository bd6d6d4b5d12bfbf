//! People: `/api/me`, `/api/me/presence`, `/api/people`.

pub mod block;
pub mod blocked;
pub mod me;
pub mod presence;
