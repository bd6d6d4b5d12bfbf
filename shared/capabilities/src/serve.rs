//! A binary's `main`: what its handler asks for is made, then the handler serves.

use std::sync::Arc;

use backtalk_http::{Context, Request, Response, Result};
use domain::rate::RateClass;
use foundation::deadline::Deadline;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::Error as LambdaError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::settings::WebSettings;
use crate::{Capabilities, Start, StartError};

/// A handler: a function of what it asks for and, last, of what comes in.
pub trait Handle<C, In, Out>: Copy + Send + Sync + 'static {
    fn handle(self, capabilities: C, input: In) -> BoxFuture<'static, Result<Out>>;
}

macro_rules! handle {
    ($($name:ident)*) => {
        impl<Function, Future, In, Out, $($name),*> Handle<($($name,)*), In, Out> for Function
        where
            Function: Fn($($name,)* In) -> Future + Copy + Send + Sync + 'static,
            Future: std::future::Future<Output = Result<Out>> + Send + 'static,
        {
            #[allow(non_snake_case, reason = "one name for a type and its value")]
            fn handle(self, ($($name,)*): ($($name,)*), input: In) -> BoxFuture<'static, Result<Out>> {
                self($($name,)* input).boxed()
            }
        }
    };
}
handle!();
handle!(A);
handle!(A B);
handle!(A B C);
handle!(A B C D);
handle!(A B C D E);
handle!(A B C D E F);
handle!(A B C D E F G);

/// What the loop around a handler goes by, beside what the handler is given.
#[derive(Clone)]
struct Served<C> {
    capabilities: C,
    settings: Arc<WebSettings>,
    class: Option<RateClass>,
}

impl<C: Capabilities> Served<C> {
    async fn start(class: Option<RateClass>) -> std::result::Result<Self, StartError> {
        let start = Start::of_process().await?;
        Ok(Self {
            capabilities: C::make(&start).await?,
            settings: Arc::new(start.read(WebSettings::read)?),
            class,
        })
    }
}

impl<C: Capabilities> Context for Served<C> {
    fn invoked(&self, deadline: u64) -> Self {
        let deadline = Deadline::told(deadline, self.settings.function_time);
        Self {
            capabilities: self.capabilities.invoked(deadline),
            settings: Arc::clone(&self.settings),
            class: self.class,
        }
    }

    fn cors_origins(&self) -> &[String] {
        &self.settings.cors_origins
    }

    fn most_body_bytes(&self) -> usize {
        self.settings.body_bytes
    }

    fn class(&self) -> Option<RateClass> {
        self.class
    }
}

/// Serves a route whose answers are whole. `class`: as what its requests are counted.
pub fn serve<C: Capabilities>(
    handler: impl Handle<C, Request, Response>,
    class: Option<RateClass>,
) -> std::result::Result<(), LambdaError> {
    backtalk_http::serve(
        async || Served::<C>::start(class).await,
        move |served: Served<C>, request| handler.handle(served.capabilities, request),
    )
}

/// Serves a route whose answers may be streams.
pub fn serve_streaming<C: Capabilities>(
    handler: impl Handle<C, Request, Response>,
    class: Option<RateClass>,
) -> std::result::Result<(), LambdaError> {
    backtalk_http::serve_streaming(
        async || Served::<C>::start(class).await,
        move |served: Served<C>, request| handler.handle(served.capabilities, request),
    )
}

/// Serves events that no person sent: queue batches and the schedule.
pub fn serve_batches<C: Capabilities, Batch: DeserializeOwned + 'static, Done: Serialize + 'static>(
    handler: impl Handle<C, Batch, Done>,
) -> std::result::Result<(), LambdaError> {
    backtalk_http::serve_batches(
        async || Served::<C>::start(None).await,
        move |served: Served<C>, batch| handler.handle(served.capabilities, batch),
    )
}
