//! A page of a list ends by rows, or by bytes: Lambda hands on no answer of more than 6 MB, and there is no list whose items
//! are so small that a page of them could not be larger.

use std::io;

use serde::Serialize;

use super::limits::PageSize;

/// What the items of a page may take of an answer. The rest of the 6 MB is for what stands around them, and for a first
/// item that is larger by itself: one is always shown.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Which end of what was found belongs to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    First,
    Last,
}

/// As many items as fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Whether something was found that is not on it.
    pub has_more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_more: false,
        }
    }
}

impl<T: Serialize> Page<T> {
    /// Of what was found in order, one row more than the page may have.
    #[must_use]
    pub fn of(found: Vec<T>, size: PageSize, kept: Kept) -> Self {
        let rows = usize::try_from(size.rows()).unwrap_or(usize::MAX);
        Self::within(found, rows, PAGE_BYTES, kept)
    }

    /// As many as fit into so many rows and bytes, and one at least.
    #[must_use]
    pub fn within(mut items: Vec<T>, rows: usize, bytes: usize, kept: Kept) -> Self {
        let fits = match kept {
            Kept::First => fitting(items.iter().take(rows), bytes),
            Kept::Last => fitting(items.iter().rev().take(rows), bytes),
        };
        let has_more = fits < items.len();
        match kept {
            Kept::First => items.truncate(fits),
            Kept::Last => drop(items.drain(..items.len() - fits)),
        }
        Self { items, has_more }
    }
}

fn fitting<'a, T: Serialize + 'a>(items: impl Iterator<Item = &'a T>, bytes: usize) -> usize {
    let mut used = 0;
    items
        .enumerate()
        .take_while(|(place, item)| {
            used += bytes_in_answer(item);
            *place == 0 || used <= bytes
        })
        .count()
}

/// What a value takes of the answer that Lambda is handed: JSON, and that a string within JSON.
#[must_use]
pub fn bytes_in_answer(value: &impl Serialize) -> usize {
    let mut count = Count(0);
    // Nothing of ours fails to be written, and a count fails at nothing.
    let _written = serde_json::to_writer(&mut count, value);
    count.0
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, json: &[u8]) -> io::Result<usize> {
        let escaped = json.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        self.0 += json.len() + escaped;
        Ok(json.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_are_counted_as_they_stand_in_the_answer_to_lambda() {
        for value in [
            json!({"content": "\u{1}\"\\\n é 👍", "list": [1, null, 1.5e300]}),
            json!("plain"),
        ] {
            let body = value.to_string();
            // Without the quotes of the outer string.
            assert_eq!(bytes_in_answer(&value), json!(body).to_string().len() - 2);
        }
    }

    #[test]
    fn a_page_ends_by_rows_or_by_bytes_and_has_one_item_at_least() {
        let found = || vec!["aa", "bb", "cc", "dd"];
        // With its quotes, each of which is escaped, one takes six bytes.
        for (rows, bytes, kept, items, has_more) in [
            (9, 99, Kept::First, &["aa", "bb", "cc", "dd"][..], false),
            (3, 99, Kept::First, &["aa", "bb", "cc"], true),
            (3, 99, Kept::Last, &["bb", "cc", "dd"], true),
            (3, 12, Kept::First, &["aa", "bb"], true),
            (3, 17, Kept::Last, &["cc", "dd"], true),
            (3, 1, Kept::First, &["aa"], true),
            (3, 1, Kept::Last, &["dd"], true),
        ] {
            let page = Page::within(found(), rows, bytes, kept);
            assert_eq!(
                (&*page.items, page.has_more),
                (items, has_more),
                "{rows} {bytes} {kept:?}"
            );
        }
        assert_eq!(
            Page::of(Vec::<u8>::new(), PageSize::DEFAULT, Kept::Last),
            Page::default()
        );
    }
}
