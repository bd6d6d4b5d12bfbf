//! `cargo xtask`: the local stack and what developers and CI run. Nothing here is deployed.
//!
//! An [`instance::Instance`] is one stack by name, with its ports and secrets; a [`supervise::Supervisor`] starts its
//! processes and ends them all, whatever happens; there is one file a part, and [`up`] puts the parts together.

mod bench;
mod binaries;
mod build;
mod console;
mod front;
mod functions;
mod gateway;
mod instance;
mod migrate;
mod ministack;
mod model;
mod overrides;
mod person;
mod ports;
mod postgres;
mod prepare;
mod processes;
mod program;
mod pusher;
mod queue;
mod rehearse;
mod sam;
mod supervise;
mod test;
mod tokens;
mod tools;
mod up;
mod upgrade;
mod web;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The local stack of Backtalk, its tests and tools."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Token(tokens::Token),
    Person(person::Person),
    Migrate(migrate::Migrate),
    Prepare(prepare::Prepare),
    Bench(bench::Bench),
    Binaries(binaries::Binaries),
    Rehearse(rehearse::Rehearse),
    Sam(sam::Sam),
    Test(test::Test),
    Webhook(webhook::Webhook),
}

/// One thread, so that processes are started by the thread that lives as long as we do: the kernel ends them with it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up(up) => up.run().await,
        Command::Token(token) => token.run(),
        Command::Person(person) => person.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Prepare(prepare) => prepare.run().await,
        Command::Binaries(binaries) => binaries.run().await,
        Command::Bench(bench) => bench.run().await,
        Command::Rehearse(rehearse) => rehearse.run().await,
        Command::Sam(sam) => sam.run().await,
        Command::Test(test) => test.run().await,
        Command::Webhook(webhook) => webhook.run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::complain(&error);
            ExitCode::FAILURE
        }
    }
}
