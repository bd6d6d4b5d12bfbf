//! JSON as servers write it, which is not always JSON: halves of characters, bare control characters, `NaN`.
//!
//! A character beyond the first 65,536 is two escapes, `\ud83d\ude00`, and some servers cut an answer between them. Rust has no
//! string for a half, so a half is held as two characters, [`MARK`] and one that says which: [`Halves`] joins what belongs
//! together. The mark is of Unicode's noncharacters, which no text has; one that comes all the same becomes U+FFFD.

use std::fmt::Write;

use serde_json::Value;

/// U+FDD0.
const MARK: char = '\u{fdd0}';
/// Which half it is: so many beyond this one, of the private characters.
const FIRST_HALF: u32 = 0xe000;
const SURROGATES: std::ops::RangeInclusive<u32> = 0xd800..=0xdfff;
const HIGH_SURROGATES: std::ops::RangeInclusive<u32> = 0xd800..=0xdbff;

/// JSON that cannot be read. Of its text nothing is told, for it may quote the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) place: String,
    /// To pass it over could lose words of the answer without a sign.
    pub(super) may_hide_words: bool,
}

pub(super) fn value(data: &str) -> Result<Value, Unreadable> {
    let first = if has_mark(data) {
        None
    } else {
        serde_json::from_str(data).ok()
    };
    let read = first.map_or_else(|| serde_json::from_str(&mended(data)), Ok);
    read.map_err(|error| Unreadable {
        place: format!("{:?} error in column {}", error.classify(), error.column()),
        may_hide_words: may_hide_words(data, error.is_eof()),
    })
}

/// Half an object may have had anything behind its first quotation mark. A whole one has words under the names that all
/// dialects have for them.
pub(super) fn may_hide_words(data: &str, is_half: bool) -> bool {
    const NAMES: [&str; 8] = [
        "content",
        "text",
        "delta",
        "message",
        "choices",
        "candidates",
        "parts",
        "refusal",
    ];
    (is_half && data.contains('"')) || NAMES.iter().any(|name| data.contains(name))
}

fn has_mark(data: &str) -> bool {
    data.contains(MARK) || (data.contains("\\u") && data.to_ascii_lowercase().contains("\\ufdd0"))
}

fn mended(data: &str) -> String {
    let mut mended = String::with_capacity(data.len() + 16);
    let (mut rest, mut in_string) = (data, false);
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '"' => {
                in_string = !in_string;
                mended.push(c);
            }
            '\\' if in_string => taken = mend_escape(rest, &mut mended),
            MARK => mended.push(char::REPLACEMENT_CHARACTER),
            c if in_string && c < ' ' => {
                let _ = write!(mended, "\\u{:04x}", u32::from(c));
            }
            c if in_string => mended.push(c),
            c => match ["NaN", "Infinity", "-Infinity"]
                .iter()
                .find(|word| rest.starts_with(**word))
            {
                Some(word) => {
                    mended.push_str("null");
                    taken = word.len();
                }
                None => mended.push(c),
            },
        }
        rest = &rest[taken..];
    }
    mended
}

/// Writes the escape with which the text begins as JSON knows it, and tells how long it was.
fn mend_escape(rest: &str, mended: &mut String) -> usize {
    let Some(unit) = unit(rest) else {
        let next = rest[1..].chars().next();
        match next {
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u') | None => mended.push('\\'),
            // No escape of JSON's, as `\'`: the character itself is meant.
            Some(_) => {}
        }
        mended.extend(next.filter(|c| *c >= ' '));
        return 1 + next.map_or(0, char::len_utf8);
    };
    let is_pair = HIGH_SURROGATES.contains(&unit)
        && self::unit(&rest[6..]).is_some_and(|next| SURROGATES.contains(&next) && !HIGH_SURROGATES.contains(&next));
    if is_pair {
        mended.push_str(&rest[..12]);
        return 12;
    }
    if SURROGATES.contains(&unit) {
        mended.push(MARK);
        mended.extend(char::from_u32(FIRST_HALF + unit - SURROGATES.start()));
    } else if unit == u32::from(MARK) {
        mended.push(char::REPLACEMENT_CHARACTER);
    } else {
        mended.push_str(&rest[..6]);
    }
    6
}

/// Of an escape such as `\ud83d`.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_digits.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Joins the halves of characters over all of a text's pieces. A half without its other becomes U+FFFD.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// Which waits for its other half.
    high: Option<u32>,
}

impl Halves {
    pub(super) fn join(&mut self, text: String) -> String {
        if text.is_empty() || (self.high.is_none() && !text.contains(MARK)) {
            return text;
        }
        let mut joined = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let half = (c == MARK).then(|| characters.next()).flatten();
            let half = half.map(|which| u32::from(which) - FIRST_HALF + SURROGATES.start());
            match (self.high.take(), half) {
                (Some(high), Some(low)) if !HIGH_SURROGATES.contains(&low) => {
                    let units = [high, low].map(|unit| u16::try_from(unit).unwrap_or_default());
                    joined.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
                    continue;
                }
                (Some(_), _) => joined.push(char::REPLACEMENT_CHARACTER),
                (None, _) => {}
            }
            match half {
                Some(high) if HIGH_SURROGATES.contains(&high) => self.high = Some(high),
                Some(_) => joined.push(char::REPLACEMENT_CHARACTER),
                None => joined.push(c),
            }
        }
        joined
    }

    /// At the end of the text.
    pub(super) fn rest(&mut self) -> Option<char> {
        self.high.take().map(|_| char::REPLACEMENT_CHARACTER)
    }
}

#[cfg(test)]
mod tests;
