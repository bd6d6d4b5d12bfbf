//! What a browser's EventSource shows instead of a bearer token.

use std::fmt;

use uuid::Uuid;

/// 244 random bits in hex; whoever has it may listen, so `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    const CHARS: usize = 64;

    #[must_use]
    pub fn fresh() -> Self {
        Self(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_ticket = text.len() == Self::CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ticket.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_differ_read_back_and_hide() {
        let (one, other) = (Ticket::fresh(), Ticket::fresh());
        assert_ne!(one, other);
        assert_eq!(Ticket::parse(one.expose()), Some(one.clone()));
        assert_eq!(format!("{one:?}"), "***");
        for odd in ["", "x", &"g".repeat(64), &"a".repeat(63)] {
            assert_eq!(Ticket::parse(odd), None, "{odd}");
        }
    }
}
