use super::*;

/// What is told of a text in pieces of this many characters.
fn told(text: &str, size: usize) -> (String, String) {
    let mut tagged = TaggedThoughts::default();
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(size).map(|piece| piece.iter().collect::<String>());
    let mut all: Vec<_> = pieces.map(|piece| tagged.take_in(&piece)).collect();
    all.push(tagged.rest());
    let thought = all.iter().map(|told| told.thought.as_str()).collect();
    (thought, all.into_iter().map(|told| told.text).collect())
}

#[test]
fn thoughts_that_open_an_answer_are_no_part_of_it_however_they_come() {
    for (text, thought, answer) in [
        ("<think>\nhm\n</think>\n\na", "\nhm\n", "a"),
        (" \n<think>hm</think>a <think>b</think>", "hm", "a <think>b</think>"),
        ("<think></think>a", "", "a"),
        ("<THINK>hm</Think>\ta\n", "hm", "a\n"),
        ("<thinking>hm</thinking>a", "hm", "a"),
        ("<thought>ä</b></thought>a", "ä</b>", "a"),
        ("[THINK]hm[/THINK]a", "hm", "a"),
        ("<think>a</think>\n<think>b</think>\nc", "ab", "c"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>a",
            "hm<|end|>",
            "a",
        ),
        ("<think>hm</thin", "hm</thin", ""),
        ("<think>hm</think>\n\n", "hm", ""),
        ("<thi", "", "<thi"),
        ("  <b>bold</b>", "", "  <b>bold</b>"),
        (" \n", "", " \n"),
        (
            "The tag <think> opens a thought.",
            "",
            "The tag <think> opens a thought.",
        ),
        ("<thinks>a", "", "<thinks>a"),
        ("", "", ""),
    ] {
        for size in 1..=text.len().max(1) {
            assert_eq!(told(text, size), (thought.into(), answer.into()), "{text:?} by {size}");
        }
    }
}

#[test]
fn a_thought_comes_as_it_is_thought() {
    let mut tagged = TaggedThoughts::default();
    let told = tagged.take_in("<think>one two</");
    assert_eq!((told.thought.as_str(), told.text.as_str()), ("one two", ""));
    assert!(tagged.is_in_a_thought());
    assert_eq!(tagged.take_in("think>a").text, "a");
    assert!(!tagged.is_in_a_thought());
}

#[test]
fn where_tags_are_text_nothing_is_held() {
    let told = TaggedThoughts::none().take_in("<think>hm</think>");
    assert_eq!(told.text, "<think>hm</think>");
}
