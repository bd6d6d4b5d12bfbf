//! The store against a real Postgres, each test in its own database: `DATABASE_URL` says on which server, as somebody
//! who may make databases and roles. Statements that act for a person run as the restricted role, as they do in production.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arithmetic;
mod attachments;
mod blocks;
mod budgets;
mod changing;
mod channels;
mod connecting;
mod deletion;
mod deletion_in_batches;
mod erasure;
mod inbox;
mod jobs;
mod keys;
mod mentions;
mod moderation;
mod notices;
mod owners;
mod pages;
mod people;
mod plans;
mod posts;
mod races;
mod rates;
mod reactions;
mod reading;
mod refusals;
mod regenerating;
mod replies;
mod reply_previews;
mod retention;
mod row_level_security;
mod search;
mod sending;
mod stopping;
mod strangers;
mod streams;
mod unread;
mod upgrades;
mod versions;
mod way;
mod webhooks;
mod world;
mod written_plans;
