//! Tokens signed by a provider whose public keys are to be fetched, and what such providers really send.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod claims;
mod fetching;
mod keys;
mod provider;
