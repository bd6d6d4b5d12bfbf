//! What Backtalk's functions share, in the order worth reading: the words of the domain, the store that keeps them, the
//! delivery that spreads them, the models that answer, and the thin layer that makes a Lambda function of a handler.

pub mod app;
pub mod assistants;
pub mod attachments;
pub mod auth;
pub mod config;
pub mod deadline;
pub mod delivery;
pub mod domain;
pub mod error;
pub mod faults;
pub mod http;
pub mod metrics;
pub mod models;
pub mod moderation;
mod moment;
pub mod notices;
pub mod observed;
pub mod parameters;
pub mod queue;
#[cfg(test)]
mod recipes;
pub mod store;
pub mod webhooks;
