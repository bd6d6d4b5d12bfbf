//! The one table of what is deployed: each function, the routes that it serves, and how. From it come the binaries' mains, the
//! contract, and `deploy/gate/functions.json`, by which the gate checks the local router and the template. The mains stand here
//! so that handlers, and all that they are made of, are compiled once for this library, and not once more for each binary.

use backtalk_http::{Request, Response};
use capabilities::{Capabilities, Grant, Handle, serve, serve_batches, serve_streaming};
use domain::rate::RateClass;
use lambda_http::Error;

use crate::openapi::Operation;
use crate::{
    attachments, chats, events, members, messages, notices, openapi, people, person, posts, pusher, replies, sweeper,
    unread, usage, worker,
};

/// A function that people call.
#[derive(Debug)]
pub struct Function {
    /// Of the binary.
    pub name: &'static str,
    /// What its routes are about.
    pub tag: &'static str,
    /// As what its requests are counted; none: nobody counts them.
    pub class: Option<RateClass>,
    /// Whether its answers may be streams.
    pub streams: bool,
    pub routes: &'static [Route],
    /// What its handler asks for.
    pub grants: fn() -> Vec<Grant>,
}

#[derive(Debug)]
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub operation: fn() -> Operation,
}

/// A function that the queue, the schedule or an operator calls.
#[derive(Debug)]
pub struct Task {
    pub name: &'static str,
    pub grants: fn() -> Vec<Grant>,
}

fn grants_of<C: Capabilities, In, Out>(_: impl Handle<C, In, Out>) -> Vec<Grant> {
    C::grants()
}

macro_rules! class {
    (Uncounted) => {
        None
    };
    ($class:ident) => {
        Some(RateClass::$class)
    };
}

macro_rules! serve_as {
    (whole, $handler:expr, $class:expr) => {
        serve($handler, $class)
    };
    (streams, $handler:expr, $class:expr) => {
        serve_streaming::<_>($handler, $class)
    };
}

/// `tag { name: module, class, whole or streams { METHOD path => operation; } }`
macro_rules! functions {
    ($($tag:literal {
        $($name:ident: $group:ident::$file:ident, $class:ident, $how:ident {
            $($method:ident $path:literal => $operation:ident;)+
        })+
    })+) => {
        pub static FUNCTIONS: &[Function] = &[
            $($(Function {
                name: stringify!($name),
                tag: $tag,
                class: class!($class),
                streams: matches!(stringify!($how).as_bytes(), b"streams"),
                routes: &[$(Route {
                    method: stringify!($method),
                    path: $path,
                    operation: $group::$file::$operation,
                }),+],
                grants: || grants_of::<_, Request, Response>($group::$file::handle),
            },)+)+
        ];

        $($(pub fn $name() -> Result<(), Error> {
            serve_as!($how, $group::$file::handle, class!($class))
        })+)+
    };
}

functions! {
    "chats" {
        list_chats: chats::list, Read, whole { GET "/api/chat" => operation; }
        create_chat: chats::create, Write, whole { POST "/api/chat" => operation; }
        get_chat: chats::get, Read, whole { GET "/api/chat/{chatId}" => operation; }
        update_chat: chats::update, Write, whole { PATCH "/api/chat/{chatId}" => operation; }
        delete_chat: chats::delete, Write, whole { DELETE "/api/chat/{chatId}" => operation; }
        mark_chat_read: chats::read, Write, whole { POST "/api/chat/{chatId}/read" => operation; }
        typing: chats::typing, Write, whole { POST "/api/chat/{chatId}/typing" => operation; }
    }
    "members" {
        add_members: members::add, Write, whole { POST "/api/chat/{chatId}/members" => operation; }
        update_member: members::update, Write, whole { PATCH "/api/chat/{chatId}/members/{userId}" => operation; }
        remove_member: members::remove, Write, whole { DELETE "/api/chat/{chatId}/members/{userId}" => operation; }
    }
    "messages" {
        list_messages: messages::list, Read, whole { GET "/api/chat/{chatId}/messages" => operation; }
        send_message: messages::send, Send, streams {
            POST "/api/chat/{chatId}/messages" => operation;
            POST "/api/chat/{chatId}/message" => operation_of_the_singular;
        }
        edit_message: messages::edit, Write, whole { PATCH "/api/chat/{chatId}/messages/{messageId}" => operation; }
        delete_message: messages::delete, Write, whole { DELETE "/api/chat/{chatId}/messages/{messageId}" => operation; }
        list_versions: messages::versions, Read, whole {
            GET "/api/chat/{chatId}/messages/{messageId}/versions" => operation;
        }
        search_messages: messages::search, Search, whole { GET "/api/chat/search" => operation; }
        react: messages::react, Write, whole {
            PUT "/api/chat/{chatId}/messages/{messageId}/reactions/{emoji}" => operation_to_add;
            DELETE "/api/chat/{chatId}/messages/{messageId}/reactions/{emoji}" => operation_to_remove;
        }
    }
    "attachments" {
        create_attachment: attachments::create, Upload, whole { POST "/api/attachments" => operation; }
        get_attachment: attachments::get, Read, whole {
            GET "/api/chat/{chatId}/messages/{messageId}/attachments/{index}" => operation;
        }
    }
    "replies" {
        stop_reply: replies::stop, Write, whole { POST "/api/chat/{chatId}/stop" => operation; }
        regenerate_reply: replies::regenerate, Send, streams { POST "/api/chat/{chatId}/regenerate" => operation; }
        join_reply: replies::join, Stream, streams {
            GET "/api/chat/{chatId}/messages/{messageId}/stream" => operation;
        }
    }
    "events" {
        stream_events: events::stream, Stream, streams { GET "/api/chat/stream" => operation; }
        stream_ticket: events::ticket, Stream, whole { POST "/api/chat/stream-ticket" => operation; }
    }
    "unread" {
        list_unread: unread::list, Read, whole { GET "/api/chat-messages" => operation; }
        mark_messages_read: unread::mark_read, Write, whole { POST "/api/chat-messages/mark-read" => operation; }
    }
    "notices" {
        send_notice: notices::send, Notice, whole { POST "/api/chat-messages" => operation; }
        list_task_messages: notices::of_task, Read, whole { GET "/api/chat-messages/{taskId}" => operation; }
    }
    "posts" {
        list_posts: posts::list, Read, whole { GET "/api/posts" => operation; }
        create_post: posts::create, Send, whole { POST "/api/posts" => operation; }
        get_post: posts::get, Read, whole { GET "/api/posts/{postId}" => operation; }
        update_post: posts::update, Write, whole { PATCH "/api/posts/{postId}" => operation; }
        delete_post: posts::delete, Write, whole { DELETE "/api/posts/{postId}" => operation; }
        follow_up: posts::follow_up, Write, whole { POST "/api/posts/{postId}/follow-up" => operation; }
    }
    "people" {
        get_me: people::me, Read, whole { GET "/api/me" => operation; }
        presence: people::presence, Write, whole { POST "/api/me/presence" => operation; }
        list_blocked: people::blocked, Read, whole { GET "/api/people/blocked" => operation; }
        block_person: people::block, Write, whole {
            PUT "/api/people/{userId}/block" => operation_to_block;
            DELETE "/api/people/{userId}/block" => operation_to_unblock;
        }
    }
    "usage" {
        get_usage: usage::get, Read, whole { GET "/api/usage" => operation; }
    }
    "pusher" {
        pusher_auth: pusher::auth, Read, whole { POST "/api/pusher/auth" => operation; }
        pusher_webhook: pusher::webhook, Uncounted, whole { POST "/api/pusher/webhook" => operation; }
    }
    "contract" {
        get_openapi: openapi::get, Uncounted, whole { GET "/api/openapi.json" => operation; }
    }
}

macro_rules! tasks {
    ($($name:ident: $module:ident;)+) => {
        pub static TASKS: &[Task] = &[$(Task {
            name: stringify!($name),
            grants: || grants_of($module::handle),
        }),+];

        $(pub fn $name() -> Result<(), Error> {
            serve_batches($module::handle)
        })+
    };
}

tasks! {
    person: person;
    sweeper: sweeper;
    worker: worker;
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::{env, fs};

    use serde_json::{Value, json};

    use super::*;

    fn told(grants: &[Grant]) -> Value {
        let sorted = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<BTreeSet<_>>();
        json!({
            "capabilities": sorted(&mut grants.iter().map(|grant| grant.capability)),
            "variables": sorted(&mut grants.iter().flat_map(|grant| grant.variables.iter().copied())),
            "actions": sorted(&mut grants.iter().flat_map(|grant| grant.actions.iter().copied())),
        })
    }

    /// Each binary, and what the template and the local router must say of it.
    fn written() -> String {
        let mut all = BTreeMap::new();
        for function in FUNCTIONS {
            let mut entry = told(&(function.grants)());
            let routes = function.routes.iter().map(|route| json!([route.method, route.path]));
            entry["routes"] = routes.collect();
            entry["streams"] = json!(function.streams);
            all.insert(function.name.replace('_', "-"), entry);
        }
        for task in TASKS {
            all.insert(task.name.replace('_', "-"), told(&(task.grants)()));
        }
        format!("{:#}\n", json!(all))
    }

    #[test]
    fn the_gate_knows_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/gate/functions.json");
        let written = written();
        if env::var("WRITE_FUNCTIONS").is_ok_and(|wish| wish == "1") {
            fs::write(&path, &written).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&path).unwrap_or_default(),
            written,
            "write it anew: WRITE_FUNCTIONS=1 cargo nextest run -p functions the_gate_knows_the_table"
        );
    }

    #[test]
    fn every_function_has_a_binary_that_runs_it() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
        let names = FUNCTIONS.iter().map(|function| function.name);
        let names: BTreeSet<_> = names.chain(TASKS.iter().map(|task| task.name)).collect();
        for name in &names {
            let path = home.join(format!("{}.rs", name.replace('_', "-")));
            let main = format!("fn main() -> Result<(), lambda_http::Error> {{\n    functions::routes::{name}()\n}}\n");
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, main, "write this into {}", path.display());
        }
        let files = fs::read_dir(&home).unwrap().count();
        assert_eq!(
            files,
            names.len() + 1,
            "beside them there is migrate alone in {}",
            home.display()
        );
    }

    #[test]
    fn whoever_signs_in_is_counted() {
        for function in FUNCTIONS {
            for route in function.routes {
                let operation = (route.operation)();
                assert_eq!(
                    function.class.is_some(),
                    operation.is_for_people(),
                    "{} {}",
                    route.method,
                    route.path
                );
            }
        }
    }
}
