//! Replies as the worker and streaming functions write them, in this process: on a Postgres of each test's own, and beside
//! a queue, a bucket, a Pusher and a model that do as they are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budgets;
mod deadlines;
mod heard;
mod images;
mod peer;
mod reasoning;
mod refusals;
mod world;
