//! Counting tokens before a model has. An estimate says what prose will take, for the context window and for what no provider has
//! counted; a bound is what no text exceeds, for what budgets reserve.

/// What providers add around each message; OpenAI's cookbook counts 3 to 4.
pub const AROUND_A_MESSAGE: u32 = 4;

/// What an image takes mostly, once providers have scaled it down.
pub const OF_AN_IMAGE: u32 = 1600;

/// What providers add around each message at most: its role, its marks, and the lines that join it to its neighbour.
pub const MOST_AROUND_A_MESSAGE: u32 = 16;

/// What is around a whole prompt at most, the opening before an assistant that speaks first included.
pub const MOST_AROUND_A_PROMPT: u32 = 48;

/// What an image takes at most: Anthropic's 4,784 for the largest that its newest models look at. Gemini's 258 a tile and OpenAI's
/// 3,779 of its small models are below. (Only gpt-4o-mini's are above, by ten times.)
pub const MOST_OF_AN_IMAGE: u32 = 4900;

/// `ceil(bytes / 4 × 1.3)`, of UTF-8: a little too many for English, so that what was reserved suffices. Bytes rather
/// than characters, for a Chinese character is about a token and three bytes. `estimated_tokens` of the schema is the same.
#[must_use]
pub fn estimate(text: &str) -> u32 {
    estimate_of(text.len())
}

/// The same, of so many bytes.
#[must_use]
pub fn estimate_of(bytes: usize) -> u32 {
    let tokens = (bytes as u64).saturating_mul(13).div_ceil(40);
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// What one message of a prompt takes.
#[must_use]
pub fn of_message(text: &str, images: usize) -> u32 {
    let images = u32::try_from(images).unwrap_or(u32::MAX).saturating_mul(OF_AN_IMAGE);
    estimate(text).saturating_add(AROUND_A_MESSAGE).saturating_add(images)
}

/// What a text takes at most: tokenizers cut bytes, so no token is less than one.
#[must_use]
pub fn bound(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// What one message of a prompt takes at most.
#[must_use]
pub fn bound_of_message(text: &str, images: usize) -> u32 {
    let images = u32::try_from(images)
        .unwrap_or(u32::MAX)
        .saturating_mul(MOST_OF_AN_IMAGE);
    bound(text).saturating_add(MOST_AROUND_A_MESSAGE).saturating_add(images)
}

/// What an instruction takes at most, and all that is around a prompt.
#[must_use]
pub fn bound_of_instruction(text: &str) -> u32 {
    bound_of_message(text, 0).saturating_add(MOST_AROUND_A_PROMPT)
}

/// How many bytes of prose have so many tokens: [`estimate`] backwards.
#[must_use]
pub fn bytes_of(tokens: u32) -> u32 {
    u32::try_from(u64::from(tokens) * 40 / 13).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_bytes_over_four_times_one_point_three_rounded_up() {
        for (bytes, tokens) in [(0, 0), (1, 1), (3, 1), (4, 2), (40, 13), (41, 14), (100, 33)] {
            assert_eq!(estimate(&"e".repeat(bytes)), tokens, "{bytes} bytes");
        }
    }

    #[test]
    fn what_has_more_tokens_than_english_is_not_counted_like_it() {
        assert_eq!(estimate(&"語".repeat(100)), 98);
    }
}
