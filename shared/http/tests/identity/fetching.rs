//! When the keys are fetched, and what is said of a token until they are.

use std::time::Duration;

use backtalk_http::error::Error;
use futures_util::future::join_all;
use jsonwebtoken::Algorithm;

use crate::provider::{Provider, Signer, caller, is_refused, is_unavailable, pass};

#[tokio::test]
async fn many_first_requests_fetch_the_keys_once() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let token = signer.token();
    let callers = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(callers.iter().all(Result::is_ok));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_but_forged_names_are_no_storm() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    provider.now_has(Some(vec![old.public(), new.public()]));

    // Nobody is called a stranger for a key that came a moment after the last fetch.
    let token = new.token();
    let outcomes = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    assert_eq!(provider.asked(), 1, "a moment after a fetch there is no other");

    pass(Duration::from_secs(1)).await;
    let outcomes = join_all((0..50).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(provider.asked(), 2);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);

    let forged = Signer::new(Algorithm::ES256, "forged").token();
    let mut refused = 0;
    for _ in 0..300 {
        pass(Duration::from_secs(1)).await;
        let outcome = caller(&authenticator, &forged).await;
        assert!(is_refused(&outcome) || is_unavailable(&outcome), "{outcome:?}");
        refused += usize::from(is_refused(&outcome));
        assert!(caller(&authenticator, &new.token()).await.is_ok());
    }
    assert_eq!(refused, provider.asked() - 2, "a stranger is who was asked for");
    assert!((5..=15).contains(&refused), "{refused} fetches in five minutes");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_within_ten_minutes() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public(), new.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    provider.now_has(Some(vec![new.public()]));
    pass(Duration::from_secs(590)).await;
    assert!(caller(&authenticator, &new.token()).await.is_ok());
    assert_eq!(provider.asked(), 1);

    pass(Duration::from_secs(10)).await;
    let token = old.token();
    let outcomes = join_all((0..20).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_refused), "{outcomes:?}");
    assert!(caller(&authenticator, &new.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_as_soon_as_their_answer_says_but_no_storm() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    for (header, seconds) in [
        ("cache-control: public, max-age=60", 60),
        ("cache-control: max-age=0", 30),
        ("cache-control: max-age=86400", 600),
    ] {
        let provider = Provider::saying(Some(vec![old.public(), new.public()]), header).await;
        let authenticator = provider.authenticator(Algorithm::ES256);
        for _ in 0..20 {
            assert!(caller(&authenticator, &old.token()).await.is_ok());
        }
        provider.now_has(Some(vec![new.public()]));
        assert_eq!(provider.asked(), 1, "{header}");
        pass(Duration::from_secs(seconds)).await;
        let outcome = caller(&authenticator, &old.token()).await;
        assert!(is_refused(&outcome), "{header}: {outcome:?}");
        assert!(caller(&authenticator, &new.token()).await.is_ok());
        assert_eq!(provider.asked(), 2, "{header}");
    }
}

#[tokio::test]
async fn while_the_keys_cannot_be_had_nobody_is_called_a_stranger() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(None).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    let token = signer.token();
    let outcomes = join_all((0..20).map(|_| caller(&authenticator, &token))).await;
    assert!(outcomes.iter().all(is_unavailable), "{outcomes:?}");
    assert_eq!(provider.asked(), 1, "a provider in trouble is left alone for a moment");

    provider.now_has(Some(vec![signer.public()]));
    pass(Duration::from_secs(3)).await;
    assert!(caller(&authenticator, &token).await.is_ok());
}

#[tokio::test]
async fn known_keys_outlive_their_provider_for_an_hour() {
    let signer = Signer::new(Algorithm::ES256, "one");
    let provider = Provider::with(Some(vec![signer.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
    provider.now_has(None);
    pass(Duration::from_secs(60)).await;

    let stranger = Signer::new(Algorithm::ES256, "unknown");
    let outcome = caller(&authenticator, &stranger.token()).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
    assert_eq!(provider.asked(), 2);

    // Past their ten minutes they are asked for now and then, and go on.
    for _ in 0..58 {
        pass(Duration::from_secs(60)).await;
        for _ in 0..5 {
            assert!(caller(&authenticator, &signer.token()).await.is_ok());
        }
    }
    assert!((40..=55).contains(&provider.asked()), "{}", provider.asked());

    // For ever would be too long: one may have been withdrawn meanwhile.
    pass(Duration::from_secs(60)).await;
    let outcome = caller(&authenticator, &signer.token()).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    provider.now_has(Some(vec![signer.public()]));
    pass(Duration::from_secs(2)).await;
    assert!(caller(&authenticator, &signer.token()).await.is_ok());
}

#[tokio::test]
async fn a_new_key_says_when_to_come_again_until_the_signer_may_be_asked() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    assert!(caller(&authenticator, &old.token()).await.is_ok());
    // Forged names have made us ask less often.
    let forged = Signer::new(Algorithm::ES256, "forged").token();
    for seconds in [1, 2, 4, 8, 16] {
        pass(Duration::from_secs(seconds)).await;
        assert!(is_refused(&caller(&authenticator, &forged).await));
    }
    provider.now_has(Some(vec![old.public(), new.public()]));
    match caller(&authenticator, &new.token()).await {
        Err(Error::KeysUnavailable {
            retry_after_seconds, ..
        }) => {
            assert!((28..=31).contains(&retry_after_seconds), "{retry_after_seconds}");
            pass(Duration::from_secs(retry_after_seconds)).await;
        }
        other => panic!("{other:?}"),
    }
    assert!(caller(&authenticator, &new.token()).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_before_the_token_calls_nobody_a_stranger() {
    let (old, new) = (
        Signer::new(Algorithm::ES256, "old"),
        Signer::new(Algorithm::ES256, "new"),
    );
    let provider = Provider::with(Some(vec![old.public()])).await;
    let authenticator = provider.authenticator(Algorithm::ES256);
    provider.is_held.send_replace(true);
    let (old_token, new_token) = (old.token(), new.token());
    let meanwhile = async {
        while provider.asked() == 0 {
            tokio::task::yield_now().await;
        }
        provider.now_has(Some(vec![old.public(), new.public()]));
        let release = async { provider.is_held.send_replace(false) };
        tokio::join!(caller(&authenticator, &new_token), release).0
    };
    let (first, second) = tokio::join!(caller(&authenticator, &old_token), meanwhile);
    assert!(first.is_ok(), "{first:?}");
    assert!(is_unavailable(&second), "{second:?}");
    pass(Duration::from_secs(1)).await;
    assert!(caller(&authenticator, &new_token).await.is_ok());
    assert_eq!(provider.asked(), 2);
}
