//! A JSON body read field by field into types that cannot be wrong. Every bad field is reported at once, each with its
//! JSON pointer; a field that nobody read is unknown and reported too.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json::{escaped, json_of};
use crate::error::{Error, FieldError, MOST_ERRORS};
use domain::text::Refusal;

#[derive(Debug)]
pub struct Fields {
    object: Map<String, Value>,
    pointer: String,
    errors: Vec<FieldError>,
    /// Every name that was asked for: those that there are.
    known: BTreeSet<&'static str>,
}

/// Tells how a JSON value becomes a `T`; the message on refusal completes "this field …".
pub trait FromField: Sized {
    fn from_field(value: Value) -> Result<Self, Refusal>;
}

impl FromField for String {
    fn from_field(value: Value) -> Result<Self, Refusal> {
        match value {
            Value::String(text) => Ok(text),
            _ => Err("must be a string".into()),
        }
    }
}

impl FromField for i64 {
    fn from_field(value: Value) -> Result<Self, Refusal> {
        value.as_i64().ok_or_else(|| "must be a whole number".into())
    }
}

impl FromField for bool {
    fn from_field(value: Value) -> Result<Self, Refusal> {
        value.as_bool().ok_or_else(|| "must be true or false".into())
    }
}

impl FromField for Map<String, Value> {
    fn from_field(value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(object) => Ok(object),
            _ => Err("must be an object".into()),
        }
    }
}

impl FromField for Vec<Value> {
    fn from_field(value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Array(items) => Ok(items),
            _ => Err("must be an array".into()),
        }
    }
}

impl Fields {
    /// Reads a body; an empty one is an error.
    pub fn of_body(body: &[u8]) -> Result<Self, Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::Malformed(FieldError::at(
                "",
                "The body is empty; it must be a JSON object.",
            )));
        }
        let value = json_of(body).map_err(Error::Malformed)?;
        Self::of_value(value, String::new())
            .map_err(|detail| Error::Invalid(vec![FieldError::at("", format!("The body {detail}."))]))
    }

    /// Fields that do not come from a body as they are.
    #[must_use]
    pub fn of_object(object: Map<String, Value>) -> Self {
        Self {
            object,
            pointer: String::new(),
            errors: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// All of them, unread.
    #[must_use]
    pub fn into_object(self) -> Map<String, Value> {
        self.object
    }

    fn of_value(value: Value, pointer: String) -> Result<Self, Refusal> {
        Ok(Self {
            object: Map::from_field(value)?,
            pointer,
            errors: Vec::new(),
            known: BTreeSet::new(),
        })
    }

    /// A field that must be there. `None` means that it was refused, and [`Fields::finish`] will say so.
    pub fn required<T: FromField, U>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(T) -> Result<U, Refusal>,
    ) -> Option<U> {
        match self.take(name) {
            None | Some(Value::Null) => {
                self.refuse(name, "is required".into());
                None
            }
            Some(value) => self.parsed(name, value, parse),
        }
    }

    /// Whether a field is there and not null.
    #[must_use]
    pub fn has(&mut self, name: &'static str) -> bool {
        self.known.insert(name);
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// Says that a list must be there, which [`Fields::list`] alone would take for empty.
    pub fn require(&mut self, name: &'static str) {
        if !self.has(name) {
            self.refuse(name, "is required".into());
        }
    }

    /// A field that may be absent or null.
    pub fn optional<T: FromField, U>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(T) -> Result<U, Refusal>,
    ) -> Option<U> {
        match self.take(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.parsed(name, value, parse),
        }
    }

    /// An array of at most `max` items; absent or null is empty. Each item's errors point at the item.
    pub fn list<U>(
        &mut self,
        name: &'static str,
        max: usize,
        mut parse: impl FnMut(Value) -> Result<U, Refusal>,
    ) -> Vec<U> {
        let items = self.optional(name, |items: Vec<Value>| {
            if items.len() > max {
                Err(format!("must have at most {max} items, has {}", items.len()))
            } else {
                Ok(items)
            }
        });
        let mut list = Vec::new();
        for (index, item) in items.into_iter().flatten().enumerate() {
            match parse(item) {
                Ok(parsed) => list.push(parsed),
                Err(refusal) => self.refuse(&format!("{name}/{index}"), refusal),
            }
        }
        list
    }

    /// An array of objects, each read by its own fields.
    pub fn objects<U>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Option<U>,
    ) -> Vec<U> {
        let pointer = format!("{}/{name}", self.pointer);
        let mut errors = Vec::new();
        let mut index = 0;
        let list = self.list(name, max, |item| {
            let mut fields = Self::of_value(item, format!("{pointer}/{index}"))?;
            index += 1;
            let parsed = read(&mut fields);
            fields.refuse_unread();
            errors.append(&mut fields.errors);
            Ok(parsed)
        });
        self.errors.append(&mut errors);
        list.into_iter().flatten().collect()
    }

    /// Reports everything that was wrong, unknown fields included.
    pub fn finish(mut self) -> Result<(), Error> {
        self.refuse_unread();
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.errors))
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.insert(name);
        self.object.remove(name)
    }

    fn parsed<T: FromField, U>(
        &mut self,
        name: &str,
        value: Value,
        parse: impl FnOnce(T) -> Result<U, Refusal>,
    ) -> Option<U> {
        T::from_field(value)
            .and_then(parse)
            .map_err(|refusal| self.refuse(name, refusal))
            .ok()
    }

    fn refuse(&mut self, name: &str, refusal: Refusal) {
        let what = name.rsplit('/').next().unwrap_or(name);
        self.errors.push(FieldError::at(
            format!("{}/{name}", self.pointer),
            format!("{what} {refusal}"),
        ));
    }

    fn refuse_unread(&mut self) {
        let unread: Vec<String> = std::mem::take(&mut self.object)
            .into_iter()
            .map(|(name, _)| name)
            .take(MOST_ERRORS)
            .collect();
        let known: Vec<_> = self.known.iter().copied().collect();
        let detail = if known.is_empty() {
            "is not a known field; there are none".to_owned()
        } else {
            format!("is not a known field; there are {}", known.join(", "))
        };
        for name in unread {
            let pointer = format!("{}/{}", self.pointer, escaped(&name));
            self.errors.push(FieldError::at(pointer, detail.clone()));
        }
    }
}

/// What a field must be once [`Fields::finish`] has passed.
pub fn parsed<T>(field: Option<T>) -> T {
    field.expect("finish() reported every required field that was missing or refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(error: Error) -> Vec<String> {
        match error {
            Error::Invalid(errors) => errors.into_iter().filter_map(|error| error.pointer).collect(),
            Error::Malformed(error) => error.pointer.into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let body = json!({"count": "x", "flag": 1, "extra/~": 2, "items": [1, "a"]}).to_string();
        let mut fields = Fields::of_body(body.as_bytes()).expect("it is JSON");
        assert!(fields.required("title", |text: String| Ok(text)).is_none());
        assert!(fields.required("count", |count: i64| Ok(count)).is_none());
        assert!(fields.optional("flag", |flag: bool| Ok(flag)).is_none());
        let items = fields.list("items", 5, String::from_field);
        assert_eq!(items, ["a"]);
        let error = fields.finish().expect_err("five are wrong");
        assert_eq!(pointers(error), ["/title", "/count", "/flag", "/items/0", "/extra~1~0"]);
    }

    #[test]
    fn who_sends_an_unknown_field_is_told_which_there_are() {
        let mut fields = Fields::of_body(br#"{"title": "x", "more": 1}"#).expect("it is JSON");
        assert!(!fields.has("members"));
        fields.optional("title", |text: String| Ok(text));
        let Err(Error::Invalid(errors)) = fields.finish() else {
            panic!("one is unknown")
        };
        assert_eq!(errors[0].detail, "is not a known field; there are members, title");
        let none = Fields::of_body(br#"{"more": 1}"#).expect("it is JSON");
        assert!(
            none.finish()
                .is_err_and(|error| format!("{error:?}").contains("there are none"))
        );
    }

    #[test]
    fn a_refusal_has_an_end_however_much_is_wrong() {
        let body = (0..30_000).fold(Map::new(), |mut body, number| {
            body.insert(format!("{number}{}", "x".repeat(200)), Value::Null);
            body
        });
        let fields = Fields::of_object(body);
        let pointers = pointers(fields.finish().expect_err("none is known"));
        assert_eq!(pointers.len(), MOST_ERRORS);
        assert!(pointers.iter().all(|pointer| pointer.len() < 200));
    }

    #[test]
    fn a_bad_field_of_an_object_in_a_list_is_pointed_at() {
        let body = json!({"items": [{"a": "x"}, {"a": 1}, {"a": "y", "b": 2}]}).to_string();
        let mut fields = Fields::of_body(body.as_bytes()).expect("it is JSON");
        let items = fields.objects("items", 5, |item| item.required("a", |text: String| Ok(text)));
        assert_eq!(items, ["x", "y"]);
        assert_eq!(
            pointers(fields.finish().expect_err("two are wrong")),
            ["/items/1/a", "/items/2/b"]
        );
    }

    #[test]
    fn what_is_not_json_is_pointed_at_where_it_ends_to_be() {
        for (body, pointer) in [
            (&b""[..], ""),
            (b"{", ""),
            (b"nonsense", ""),
            (br#"{"content": "\ud83d"}"#, "/content"),
            (b"{\"content\": \"\xff\"}", "/content"),
            (br#"{} {}"#, ""),
            (b"[]", ""),
            (br#"{"content": "a", "content": "b"}"#, "/content"),
        ] {
            let error = Fields::of_body(body).expect_err("not a JSON object");
            assert_eq!(pointers(error), [pointer], "{}", String::from_utf8_lossy(body));
        }
    }
}
