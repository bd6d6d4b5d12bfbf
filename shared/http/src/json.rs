//! JSON from outside, read once and strictly: an object that names a key twice is refused, for of two readers one takes the
//! first and the other the last.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::FieldError;

/// So much of a name is told again in a pointer: it is the client's own, and as long as it likes.
const LONGEST_NAME: usize = 100;

/// Reads one JSON value and nothing behind it.
pub fn json_of(body: &[u8]) -> Result<Value, FieldError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Strict(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Ours are about data; its own about what is no JSON.
        let what = if error.inner().is_data() { "" } else { " is not JSON" };
        FieldError::at(pointer_of(error.path()), format!("The body{what}: {}.", error.inner()))
    })?;
    deserializer
        .end()
        .map_err(|error| FieldError::at("", format!("The body is not JSON alone: {error}.")))?;
    Ok(value)
}

/// A part of a JSON pointer. RFC 6901: `~` and `/` are escaped.
pub(super) fn escaped(name: &str) -> String {
    let (shown, rest) = match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => (&name[..end], "…"),
        None => (name, ""),
    };
    format!("{}{rest}", shown.replace('~', "~0").replace('/', "~1"))
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escaped(key)),
            Segment::Enum { variant } => format!("/{}", escaped(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// A value in which every key of an object is there once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                // Refused where its value stands, so that the error points at it.
                fields.next_value::<Twice>()?;
            }
            let Strict(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// The value of a key that was there before.
struct Twice;

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("it names the same key twice"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &[u8]) -> (String, String) {
        let error = json_of(body).expect_err("refused");
        (error.pointer.expect("a place"), error.detail)
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_where_it_stands() {
        for (body, place) in [
            (r#"{"content":"a","content":"b"}"#, "/content"),
            (r#"{"content":"a","clientId":"c","content":"a"}"#, "/content"),
            (r#"{"content":null,"content":null}"#, "/content"),
            (r#"{"content":"a","conten\u0074":"b"}"#, "/content"),
            (r#"{"metadata":{"a":{"b":1,"b":{}}}}"#, "/metadata/a/b"),
            (r#"{"list":[{},{"a~/":1,"a~/":2}]}"#, "/list/1/a~0~1"),
            (r#"[{"a":[{"":1,"":2}]}]"#, "/0/a/0/"),
        ] {
            let (pointer, detail) = refused(body.as_bytes());
            assert_eq!(pointer, place, "{body}");
            assert!(detail.starts_with("The body: it names the same key twice"), "{detail}");
        }
        let apart = r#"{"a":{"a":1,"A":2},"b":[{"a":1},{"a":2}],"c":"a"}"#;
        assert_eq!(json_of(apart.as_bytes()), Ok(serde_json::from_str(apart).unwrap()));
    }

    #[test]
    fn every_value_is_read_as_it_is() {
        let all = json!({
            "null": null, "true": true, "small": -7, "large": u64::MAX, "least": i64::MIN, "real": 1.5e300,
            "text": "é\n\"👍", "list": [[], {}, [1]], "object": {"": {}},
        });
        assert_eq!(json_of(all.to_string().as_bytes()), Ok(all));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
        for body in [
            &br#"{"a":"\ud83d"}"#[..],
            br#"{"a":"\udc4d\ud83d"}"#,
            b"{\"a\":\"\xff\"}",
            b"\xff\xfe{\0}\0",
            b"\xef\xbb\xbf{}",
            br#"{"a":NaN}"#,
            br#"{"a":Infinity}"#,
            br#"{"a":1e999}"#,
            br#"{"a":01}"#,
            br#"{"a":1,}"#,
            br#"{"a":1} {}"#,
            deep("[", "]").as_bytes(),
            deep(r#"{"a":"#, "}").as_bytes(),
        ] {
            let (_, detail) = refused(body);
            assert!(detail.starts_with("The body is not JSON"), "{detail}");
        }
    }

    #[test]
    fn a_refusal_is_short_however_long_a_name_is() {
        let name = "é".repeat(100_000);
        let (pointer, detail) = refused(format!(r#"{{"{name}":1,"{name}":2}}"#).as_bytes());
        assert!(
            pointer.len() < 500 && detail.len() < 500,
            "{} {}",
            pointer.len(),
            detail.len()
        );
    }
}
