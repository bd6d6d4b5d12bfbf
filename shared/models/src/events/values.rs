//! JSON objects that stand one after another, with blanks, commas or the brackets of an array between them.

#[derive(Debug, Default)]
pub(super) struct Values {
    /// Of the object that is being read.
    text: String,
    depth: usize,
    in_string: bool,
    after_backslash: bool,
}

impl Values {
    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The objects that end in this line. Line breaks are blanks to JSON.
    pub(super) fn push(&mut self, line: &str) -> Vec<String> {
        let (mut whole, mut from) = (Vec::new(), 0);
        for (at, byte) in line.bytes().enumerate() {
            if self.in_string {
                self.in_string = self.after_backslash || byte != b'"';
                self.after_backslash = !self.after_backslash && byte == b'\\';
                continue;
            }
            match byte {
                b'{' | b'[' if self.is_open() => self.depth += 1,
                b'{' => {
                    self.depth = 1;
                    from = at;
                }
                b'}' | b']' if self.is_open() => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.text.push_str(&line[from..=at]);
                        whole.push(std::mem::take(&mut self.text));
                    }
                }
                b'"' if self.is_open() => self.in_string = true,
                _ => {}
            }
        }
        if self.is_open() {
            self.text.push_str(&line[from..]);
            self.text.push('\n');
        }
        whole
    }

    /// The half of an object, if there is one, which is not waited for any more.
    pub(super) fn abandon(&mut self) -> Option<String> {
        let half = std::mem::take(self);
        half.is_open().then_some(half.text)
    }
}
