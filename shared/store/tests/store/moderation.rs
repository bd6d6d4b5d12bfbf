//! What a moderation hook is asked about: what is new, where the speaker may speak.

use domain::chat::Kind;
use domain::ids::{ChatId, MessageId};
use domain::text::ClientId;
use sqlx::PgPool;

use crate::world::{World, draft, edit};

#[sqlx::test(migrations = "../../migrations")]
async fn only_what_is_new_and_allowed_is_worth_a_question(pool: PgPool) {
    let world = World::on(pool).await;
    let (anna, ben, cleo) = (
        world.person("anna").await,
        world.person("ben").await,
        world.person("cleo").await,
    );
    let chat = world.chat(Kind::Channel, &[&anna, &ben]).await;
    let message = world.send_as(&anna, chat, &draft("a-1", "hi"), None).await.message.id;
    let gone = world.send_as(&anna, chat, &draft("a-2", "oops"), None).await.message.id;
    world.people.delete_message(&anna.id, chat, gone).await.unwrap();
    for (who, place, name, kind) in [
        (&anna, chat, "a-3", Some(Kind::Channel)),
        (&anna, chat, "a-1", None),
        (&anna, chat, "a-2", None),
        // The same name is another message of another person.
        (&ben, chat, "a-1", Some(Kind::Channel)),
        (&cleo, chat, "a-3", None),
        (&anna, ChatId::fresh(), "a-3", None),
    ] {
        let name = ClientId::parse(name).unwrap();
        assert_eq!(world.people.would_say(&who.id, place, &name).await.unwrap(), kind);
    }
    for (who, place, message, text, kind) in [
        (&anna, chat, message, "hello", Some(Kind::Channel)),
        (&anna, chat, message, "hi", None),
        (&anna, chat, gone, "back", None),
        (&ben, chat, message, "hello", None),
        (&cleo, chat, message, "hello", None),
        (&anna, ChatId::fresh(), message, "hello", None),
        (&anna, chat, MessageId::fresh(), "hello", None),
    ] {
        let would = world.people.would_change(&who.id, place, message, &edit(text)).await;
        assert_eq!(would.unwrap(), kind, "{text}");
    }
}
