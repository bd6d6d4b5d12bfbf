//! People: `/api/me`.

pub mod me;
