use super::*;

#[test]
fn a_parameter_is_found_by_its_name_as_a_word_of_its_own() {
    use Parameter::{OutputLimit, Stream, StreamOptions, System, Temperature};
    let all = [OutputLimit, StreamOptions, Stream, Temperature, System];
    for (status, said, expected) in [
        (
            400,
            "stream_options: extra inputs are not permitted",
            Some(StreamOptions),
        ),
        (400, "unsupported value: 'stream' does not support true", Some(Stream)),
        (
            422,
            r#"{"detail":[{"loc":["body","stream_options","include_usage"],"type":"extra_forbidden"}]}"#,
            Some(StreamOptions),
        ),
        (501, "stream_options is not implemented", Some(StreamOptions)),
        (
            400,
            r#"{"error":{"param":"temperature","message":"unsupported; max_tokens and stream are taken"}}"#,
            Some(Temperature),
        ),
        (
            400,
            "unknown name \"temperature\" at 'generation_config'",
            Some(Temperature),
        ),
        (500, "system role not supported", Some(System)),
        (500, "temperature not supported", None),
        (404, "temperature not supported", None),
        (400, "max_tokens is too large", None),
        (400, "my_stream_options_2 is unknown", None),
        (400, "something is not supported", None),
    ] {
        assert_eq!(refused_parameter(status, said, &all), expected, "{said}");
    }
    assert_eq!(
        refused_parameter(400, "temperature not supported", &[Stream]),
        None,
        "it was not sent"
    );
}

#[test]
fn codes_are_read_as_numbers_and_as_texts() {
    for (value, expected) in [
        (Value::from(400), Some(400)),
        (Value::from("503"), Some(503)),
        (Value::from(429.0), Some(429)),
        (Value::from(200), None),
        (Value::from(0), None),
        (Value::from(1e300), None),
        (Value::from("NaN"), None),
        (Value::Null, None),
    ] {
        assert_eq!(status(&value), expected, "{value}");
    }
}
