//! What a handler can ask for. Its signature is the list: what it does not name is not made, not configured and, by the template,
//! not allowed. Each capability is made of the settings that it needs, once a process.

mod parts;
#[cfg(test)]
mod recipes;
mod serve;
pub mod settings;
mod start;

use foundation::deadline::Deadline;

pub use parts::{Jobs, Models, ModerationHook, Reads};
pub use serve::{Handle, serve, serve_batches, serve_streaming};
pub use start::{Start, StartError};

/// What a function is given by the template for one capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub capability: &'static str,
    /// Variables that a function without the capability does not get. Those that have a default and are no secret may be in
    /// `SETTINGS` instead.
    pub variables: &'static [&'static str],
    /// What its role allows, beyond reading its own secrets: actions of AWS.
    pub actions: &'static [&'static str],
}

/// One thing that handlers can ask for: cheap to clone, shared by all invocations of a process.
pub trait Capability: Clone + Send + Sync + 'static {
    const GRANT: Grant;

    /// Connects to nothing but what keeps its secrets.
    fn make(start: &Start) -> impl Future<Output = Result<Self, StartError>>;

    /// The same for an invocation that must end by then.
    #[must_use]
    fn invoked(&self, _deadline: Deadline) -> Self {
        self.clone()
    }
}

/// All that one handler asks for.
pub trait Capabilities: Clone + Send + Sync + 'static {
    fn grants() -> Vec<Grant>;

    fn make(start: &Start) -> impl Future<Output = Result<Self, StartError>>;

    #[must_use]
    fn invoked(&self, deadline: Deadline) -> Self;
}

macro_rules! capabilities {
    ($($name:ident)*) => {
        impl<$($name: Capability),*> Capabilities for ($($name,)*) {
            fn grants() -> Vec<Grant> {
                vec![$($name::GRANT),*]
            }

            #[allow(unused_variables, reason = "nothing is made of nothing")]
            async fn make(start: &Start) -> Result<Self, StartError> {
                Ok(($($name::make(start).await?,)*))
            }

            #[allow(non_snake_case, unused_variables, clippy::unused_unit, reason = "one name for a type and its value")]
            fn invoked(&self, deadline: Deadline) -> Self {
                let ($($name,)*) = self;
                ($($name.invoked(deadline),)*)
            }
        }
    };
}
capabilities!();
capabilities!(A);
capabilities!(A B);
capabilities!(A B C);
capabilities!(A B C D);
capabilities!(A B C D E);
capabilities!(A B C D E F);
capabilities!(A B C D E F G);
