//! The `main` of every binary in `src/bin`: the handler that it serves, and how. They stand here so that handlers, and all that they
//! are made of, are compiled once for this library, and not once more for each binary.

use lambda_http::Error;

use crate::{
    attachments, chats, events, members, messages, notices, openapi, people, person, posts, pusher, replies, sweeper,
    unread, usage, worker,
};

macro_rules! mains {
    ($serve:path: $($name:ident => $handler:path;)+) => {
        $(pub fn $name() -> Result<(), Error> {
            $serve($handler)
        })+
    };
}

mains! {
    capabilities::serve:
    add_members => members::add::handle;
    block_person => people::block::handle;
    create_attachment => attachments::create::handle;
    create_chat => chats::create::handle;
    create_post => posts::create::handle;
    delete_chat => chats::delete::handle;
    delete_message => messages::delete::handle;
    delete_post => posts::delete::handle;
    edit_message => messages::edit::handle;
    follow_up => posts::follow_up::handle;
    get_attachment => attachments::get::handle;
    get_chat => chats::get::handle;
    get_me => people::me::handle;
    get_openapi => openapi::get::handle;
    get_post => posts::get::handle;
    get_usage => usage::get::handle;
    list_blocked => people::blocked::handle;
    list_chats => chats::list::handle;
    list_messages => messages::list::handle;
    list_posts => posts::list::handle;
    list_task_messages => notices::of_task::handle;
    list_unread => unread::list::handle;
    list_versions => messages::versions::handle;
    mark_chat_read => chats::read::handle;
    mark_messages_read => unread::mark_read::handle;
    presence => people::presence::handle;
    pusher_auth => pusher::auth::handle;
    pusher_webhook => pusher::webhook::handle;
    react => messages::react::handle;
    remove_member => members::remove::handle;
    search_messages => messages::search::handle;
    send_notice => notices::send::handle;
    stop_reply => replies::stop::handle;
    stream_ticket => events::ticket::handle;
    typing => chats::typing::handle;
    update_chat => chats::update::handle;
    update_member => members::update::handle;
    update_post => posts::update::handle;
}

mains! {
    capabilities::serve_streaming:
    join_reply => replies::join::handle;
    regenerate_reply => replies::regenerate::handle;
    send_message => messages::send::handle;
    stream_events => events::stream::handle;
}

mains! {
    capabilities::serve_batches:
    person => person::handle;
    sweeper => sweeper::handle;
    worker => worker::handle;
}
