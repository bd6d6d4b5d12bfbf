//! Counting tokens before a model has: the same estimate for budgets and for the context window.

/// `ceil(chars / 4 × 1.3)`: a little too many for English, so that what was reserved suffices.
#[must_use]
pub fn estimate(text: &str) -> u32 {
    let chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX / 13);
    (chars * 13).div_ceil(40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_chars_over_four_times_one_point_three_rounded_up() {
        for (chars, tokens) in [(0, 0), (1, 1), (3, 1), (4, 2), (40, 13), (41, 14), (100, 33)] {
            assert_eq!(estimate(&"é".repeat(chars)), tokens, "{chars} characters");
        }
    }
}
