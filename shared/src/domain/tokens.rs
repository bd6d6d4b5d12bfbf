//! Counting tokens before a model has: the same estimate for budgets and for the context window.

/// What providers add around each message; OpenAI's cookbook counts 3 to 4.
pub const AROUND_A_MESSAGE: u32 = 4;

/// What an image takes at most, once providers have scaled it down: Anthropic's bound, above those of Gemini and OpenAI.
pub const OF_AN_IMAGE: u32 = 1600;

/// `ceil(bytes / 4 × 1.3)`, of UTF-8: a little too many for English, so that what was reserved suffices. Bytes rather
/// than characters, for a Chinese character is about a token and three bytes. `estimated_tokens` of the schema is the same.
#[must_use]
pub fn estimate(text: &str) -> u32 {
    let tokens = (text.len() as u64 * 13).div_ceil(40);
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// What one message of a prompt takes.
#[must_use]
pub fn of_message(text: &str, images: usize) -> u32 {
    let images = u32::try_from(images).unwrap_or(u32::MAX).saturating_mul(OF_AN_IMAGE);
    estimate(text).saturating_add(AROUND_A_MESSAGE).saturating_add(images)
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
