//! `/api/usage`

pub mod get;
