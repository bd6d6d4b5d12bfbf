//! Which characters are let in, and which of them anybody can see.

/// A control character that is neither tab nor line break. Nobody types one, terminals obey them, and JSON makes six bytes
/// of each.
#[must_use]
pub fn is_refused(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Whether nothing of it can be seen: white space, and what only joins, directs or varies other characters.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

fn is_invisible(c: char) -> bool {
    c.is_whitespace() || c.is_control() || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// Unicode's `Default_Ignorable_Code_Point`, in which places for later ones are reserved, so the list is final; and four
/// that are drawn as nothing without being in it.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    // The blank of Braille: not ignorable, and without a dot.
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    // With the marks of interlinear annotations, which are formats.
    ('\u{fff0}', '\u{fffb}'),
    // Egyptian hieroglyphs' formats.
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    // A note without a head.
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_see_is_blank() {
        for blank in [
            "",
            " \t\r\n",
            "\u{a0}\u{2003}\u{3000}",
            "\u{200b}\u{200c}\u{200d}",
            "\u{2060}",
            "\u{feff}",
            "\u{3164}\u{ffa0}\u{115f}",
            "\u{ad}",
            "\u{202a}\u{202e}\u{2066}\u{2069}",
            "\u{fe0f}",
            "\u{e0020}\u{e007f}\u{e0100}",
            "\u{2800}",
            "\u{34f}",
        ] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for seen in [
            "a",
            "\u{200b}.\u{200b}",
            "👍",
            "🇩🇪",
            "\u{3164}a",
            "ا",
            "中",
            "\u{fffd}",
            "\u{10ffff}",
            "⠁",
        ] {
            assert!(!is_blank(seen), "{seen:?}");
        }
    }

    #[test]
    fn tabs_and_line_breaks_are_the_only_control_characters_that_are_let_in() {
        let let_in: Vec<_> = (0..=0xff)
            .filter_map(char::from_u32)
            .filter(|c| c.is_control() && !is_refused(*c))
            .collect();
        assert_eq!(let_in, ['\t', '\n', '\r']);
        assert!(!is_refused('a') && !is_refused('\u{200d}'));
    }
}
