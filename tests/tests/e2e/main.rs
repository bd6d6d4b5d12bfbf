//! Backtalk from outside: over HTTP, through running functions, a real database and a real queue. `cargo xtask test`
//! starts all of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod attachments;
mod bodies;
mod chats;
mod contract;
mod crashes;
mod issuers;
mod large;
mod model_faults;
mod observed;
mod paging;
mod providers;
mod queue;
mod rate_limits;
mod retries;
mod strangers;
mod tokens;
