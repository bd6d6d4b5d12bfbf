//! People are known from their first request.

use sqlx::PgPool;

use crate::world::{World, caller};

#[sqlx::test(migrations = "../migrations")]
async fn a_person_is_written_when_something_is_new_and_not_otherwise(pool: PgPool) {
    let world = World::on(pool).await;
    let mut anna = caller("anna");
    assert_eq!(world.people.me(&anna.id).await.unwrap(), None);

    world.people.meet(&anna).await.unwrap();
    let first = world.dump("people").await;
    world.people.meet(&anna).await.unwrap();
    assert_eq!(world.dump("people").await, first);
    assert_eq!(world.number("select count(*) from inbox_heads").await, 1);

    anna.name = "Anna B.".into();
    anna.image = Some("https://host/a.png".into());
    world.people.meet(&anna).await.unwrap();
    let me = world.people.me(&anna.id).await.unwrap().unwrap();
    assert_eq!(
        (me.person.name.as_str(), me.person.image.as_deref()),
        ("Anna B.", Some("https://host/a.png"))
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn many_first_requests_at_once_make_one_person(pool: PgPool) {
    let world = World::on(pool).await;
    crate::world::at_once(16, |_| {
        let store = world.people.clone();
        async move { store.meet(&caller("anna")).await.unwrap() }
    })
    .await;
    assert_eq!(world.number("select count(*) from people").await, 1);
    assert_eq!(world.number("select count(*) from inbox_heads").await, 1);
}
