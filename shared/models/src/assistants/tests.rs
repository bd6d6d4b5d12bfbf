use serde_json::{Value, json};

use super::*;
use crate::Parameters;
use domain::reply::Reasoning;
use foundation::environment::Environment;

const GEMINI: &[(&str, &str)] = &[
    ("MODEL_PROVIDER", "gemini"),
    ("MODEL_NAME", "gemini-3-flash"),
    ("MODEL_KEY", "AIza-secret"),
];

fn read_with(variables: &[(&str, &str)], overrides: &str) -> Result<AssistantsConfig, ConfigError> {
    let mut all = vec![("MODEL_OVERRIDES", overrides)];
    all.extend(variables);
    let value = |name: &str| {
        let found = all.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    AssistantsConfig::read(&Environment(&value))
}

fn read(overrides: &Value) -> AssistantsConfig {
    read_with(GEMINI, &overrides.to_string()).unwrap()
}

/// The sentence that refuses an override beside a good configuration.
fn refusal(overrides: &str) -> String {
    let mut variables = GEMINI.to_vec();
    variables.push(("ACME_KEY", "sk-acme-secret"));
    let sentence = read_with(&variables, overrides).unwrap_err().to_string();
    assert!(!sentence.contains("secret"), "{sentence}");
    assert!(
        sentence.starts_with("MODEL_OVERRIDES") && sentence.ends_with('.'),
        "{sentence}"
    );
    sentence
}

fn choice<'a>(config: &'a AssistantsConfig, kind: Kind, organisation: &str) -> &'a Choice {
    config
        .organisations
        .get(organisation)
        .unwrap_or(&config.default)
        .of(kind)
}

fn key_of(choice: &Choice) -> &str {
    match &choice.key {
        Key::None => "",
        Key::Given(key) => key.expose(),
        Key::Unset(name) => panic!("{name} is not set"),
        Key::Parameter(name) => name,
    }
}

#[test]
fn the_variables_answer_wherever_nothing_else_is_said() {
    let mut variables = GEMINI.to_vec();
    variables.extend([
        ("MODEL_TEMPERATURE", "0.5"),
        ("MODEL_MAX_OUTPUT_TOKENS", "100"),
        ("MODEL_CONTEXT_TOKENS", "400"),
        ("MODEL_VISION", "no"),
        ("SYSTEM_PROMPT", "all"),
        ("SYSTEM_PROMPT_POST", "posts"),
    ]);
    let config = read_with(&variables, "").unwrap();
    for (kind, prompt) in [(Kind::Assistant, "all"), (Kind::Post, "posts"), (Kind::Direct, "all")] {
        let choice = choice(&config, kind, "acme");
        assert_eq!(choice.system_prompt, prompt);
        assert_eq!(choice.settings.name, "gemini-3-flash");
        assert_eq!(
            (choice.max_output_tokens, choice.context_tokens, choice.temperature),
            (100, 400, Some(0.5))
        );
        assert!(!choice.settings.vision);
        assert_eq!(key_of(choice), "AIza-secret");
    }
    let config = read_with(GEMINI, "").unwrap();
    let choice = choice(&config, Kind::Assistant, "acme");
    assert_eq!(
        (choice.max_output_tokens, choice.context_tokens, choice.temperature),
        (1024, 8192, None)
    );
    assert!(choice.settings.vision && choice.system_prompt.contains("helpful"));
}

#[test]
fn the_most_specific_word_wins_field_by_field() {
    let config = read(&json!([
        {"organisation": "acme", "kind": "post", "systemPrompt": "acme posts"},
        {"kind": "post", "name": "of-posts", "maxOutputTokens": 11, "contextTokens": 1000, "systemPrompt": "posts", "temperature": 0.1},
        {"organisation": "acme", "name": "of-acme", "maxOutputTokens": 22, "systemPrompt": "acme", "vision": false},
    ]));
    let shown = |kind, organisation| {
        let choice = choice(&config, kind, organisation);
        (
            choice.settings.name.as_str(),
            choice.max_output_tokens,
            choice.context_tokens,
            choice.temperature,
            choice.settings.vision,
            choice.system_prompt.split(' ').take(2).collect::<Vec<_>>().join(" "),
        )
    };
    assert_eq!(
        shown(Kind::Assistant, "other"),
        ("gemini-3-flash", 1024, 8192, None, true, "You are".into())
    );
    assert_eq!(
        shown(Kind::Post, "other"),
        ("of-posts", 11, 1000, Some(0.1), true, "posts".into())
    );
    assert_eq!(
        shown(Kind::Assistant, "acme"),
        ("of-acme", 22, 8192, None, false, "acme".into())
    );
    assert_eq!(
        shown(Kind::Post, "acme"),
        ("of-acme", 22, 1000, Some(0.1), false, "acme posts".into())
    );
}

#[test]
fn a_key_goes_to_no_other_address() {
    let mut variables = GEMINI.to_vec();
    variables.push(("ACME_KEY", "sk-acme-secret"));
    let overrides = json!([
        {"organisation": "same", "name": "another"},
        {"organisation": "moved", "url": "http://host/v1"},
        {"organisation": "own", "url": "http://host/v1", "key": "env:ACME_KEY"},
        {"organisation": "other", "provider": "anthropic", "name": "claude", "key": "ssm:/acme/key"},
        {"organisation": "none", "provider": "scripted"},
    ]);
    let config = read_with(&variables, &overrides.to_string()).unwrap();
    let shown = |organisation| {
        let choice = choice(&config, Kind::Assistant, organisation);
        (choice.settings.provider, choice.settings.url.as_str(), key_of(choice))
    };
    use crate::Provider::{Anthropic, Gemini, Scripted};
    assert_eq!(shown("same"), (Gemini, "", "AIza-secret"));
    assert_eq!(shown("moved"), (Gemini, "http://host/v1", ""));
    assert_eq!(shown("own"), (Gemini, "http://host/v1", "sk-acme-secret"));
    assert_eq!(shown("other"), (Anthropic, "", "/acme/key"));
    assert_eq!(shown("none"), (Scripted, "", ""));
    assert_eq!(choice(&config, Kind::Post, "none").settings.name, "scripted");
    assert_eq!(config.parameters().into_iter().collect::<Vec<_>>(), ["/acme/key"]);
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn another_provider_brings_its_own_address_and_eyes() {
    let mut variables = GEMINI.to_vec();
    variables.extend([("MODEL_URL", "http://host/v1"), ("MODEL_VISION", "no")]);
    let overrides = json!([
        {"organisation": "a", "provider": "openai", "name": "gpt", "key": "ssm:/a"},
        {"organisation": "b", "provider": "gemini", "name": "other"},
    ]);
    let config = read_with(&variables, &overrides.to_string()).unwrap();
    let a = choice(&config, Kind::Post, "a");
    assert_eq!((a.settings.url.as_str(), a.settings.vision), ("", true));
    let b = choice(&config, Kind::Post, "b");
    assert_eq!(
        (b.settings.url.as_str(), b.settings.vision, key_of(b)),
        ("http://host/v1", false, "AIza-secret")
    );
}

#[test]
fn what_is_heard_of_thoughts_and_how_large_a_request_may_be_are_settings_like_others() {
    let of = |config: &AssistantsConfig, organisation: &str| {
        let choice = choice(config, Kind::Assistant, organisation);
        (choice.reasoning, choice.request_bytes)
    };
    let plain = read_with(GEMINI, "").unwrap();
    assert_eq!(of(&plain, "acme"), (Reasoning::Status, 20_000_000));
    let mut variables = GEMINI.to_vec();
    variables.extend([("MODEL_REASONING", "text"), ("MODEL_REQUEST_BYTES", "4000000")]);
    let overrides = json!([{"organisation": "acme", "reasoning": "off", "requestBytes": 1000}]);
    let config = read_with(&variables, &overrides.to_string()).unwrap();
    assert_eq!(of(&config, "acme"), (Reasoning::Off, 1000));
    assert_eq!(of(&config, "other"), (Reasoning::Text, 4_000_000));
    variables[3] = ("MODEL_REASONING", "loud");
    let refused = read_with(&variables, "").unwrap_err().to_string();
    assert_eq!(refused, "MODEL_REASONING is \"loud\": use off, status or text.");
}

#[test]
fn how_a_model_is_asked_and_its_tags_are_read_can_be_said() {
    let mut variables = GEMINI.to_vec();
    variables.extend([("MODEL_PARAMETERS", "no-temperature"), ("MODEL_THINK_TAGS", "no")]);
    let overrides = json!([
        {"organisation": "a", "parameters": "no-system", "thinkTags": true},
        {"organisation": "b", "provider": "openai", "name": "gpt", "key": "ssm:/b"},
    ]);
    let config = read_with(&variables, &overrides.to_string()).unwrap();
    for (organisation, parameters, think_tags) in [
        ("none", "no-temperature", false),
        ("a", "no-system", true),
        ("b", "", false),
    ] {
        let settings = &choice(&config, Kind::Post, organisation).settings;
        let parameters = parameters.parse().unwrap();
        assert_eq!(
            (settings.parameters, settings.think_tags),
            (parameters, think_tags),
            "{organisation}"
        );
    }
    let plain = read_with(GEMINI, "").unwrap();
    let settings = &choice(&plain, Kind::Assistant, "acme").settings;
    assert_eq!(
        (settings.parameters, settings.think_tags),
        (Parameters::default(), true)
    );
    let wrong = read_with(GEMINI, r#"[{"kind": "post", "parameters": "no-tea"}]"#)
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("entry 1: parameters: \"no-tea\""), "{wrong}");
}

#[test]
fn what_is_odd_in_an_override_is_named_in_one_sentence() {
    for (overrides, says) in [
        ("{", "not a JSON array: see line 1"),
        ("{}", "not a JSON array"),
        ("[3]", "entry 1: invalid type"),
        (
            r#"[{"kind": "post"}, {"kind": "task"}]"#,
            "entry 2: kind: unknown variant `task`",
        ),
        (
            r#"[{"kind": "post", "modle": "x"}]"#,
            "entry 1: modle: unknown field `modle`",
        ),
        (r#"[{"name": "x"}]"#, "entry 1: it names neither"),
        (r#"[{"organisation": " "}]"#, "organisation is empty"),
        (r#"[{"kind": "post", "provider": "bard"}]"#, "\"bard\": use gemini"),
        (r#"[{"kind": "post", "name": ""}]"#, "name is empty"),
        (r#"[{"kind": "post", "systemPrompt": " "}]"#, "systemPrompt is empty"),
        (r#"[{"kind": "post", "url": ""}]"#, "url is empty"),
        (r#"[{"kind": "post", "temperature": -1}]"#, "temperature must be"),
        (r#"[{"kind": "post", "maxOutputTokens": 0}]"#, "maxOutputTokens is 0"),
        (
            r#"[{"kind": "post", "maxOutputTokens": -1}]"#,
            "maxOutputTokens: invalid value",
        ),
        (r#"[{"kind": "post", "vision": "no"}]"#, "vision: invalid type"),
        (
            r#"[{"kind": "post", "reasoning": "loud"}]"#,
            "reasoning is \"loud\": use off, status or text",
        ),
        (
            r#"[{"kind": "post", "maxOutputTokens": 9000}]"#,
            "contextTokens is 8192 and leaves no room beside maxOutputTokens, which is 9000",
        ),
        (r#"[{"kind": "post", "contextTokens": 1024}]"#, "contextTokens is 1024"),
        (
            r#"[{"kind": "post", "provider": "openai", "key": "ssm:/k"}]"#,
            "name, the model's, is not set",
        ),
        (
            r#"[{"kind": "post", "provider": "openai", "name": "m"}]"#,
            "openai, which needs a key",
        ),
        (
            r#"[{"kind": "post", "provider": "anthropic", "name": "m", "key": "ssm:/k", "temperature": 1}]"#,
            "anthropic takes none",
        ),
        (r#"[{"kind": "post", "key": "sk-acme-secret"}]"#, "never the key itself"),
        (r#"[{"kind": "post", "key": {"secret": 1}}]"#, "never the key itself"),
        (
            r#"[{"kind": "post", "key": "env:NO_SUCH"}]"#,
            "NO_SUCH, which is not set",
        ),
        (r#"[{"kind": "post", "key": "ssm:"}]"#, "key begins with \"ssm:\""),
        (r#"[{"kind": "post", "key": "ssm:/a b"}]"#, "key begins with \"ssm:\""),
        (
            r#"[{"kind": "post", "organisation": "a"}, {"kind": "post"}, {"organisation": "a", "kind": "post"}]"#,
            "entry 3: MODEL_OVERRIDES, entry 1 is for the same",
        ),
        (
            r#"[{"kind": "post", "maxOutputTokens": 2000}, {"organisation": "a", "contextTokens": 1500}]"#,
            "entry 2: contextTokens is 1500",
        ),
    ] {
        let sentence = refusal(overrides);
        assert!(sentence.contains(says), "{overrides}: {sentence}");
    }
}

#[test]
fn what_is_odd_in_the_variables_is_named_in_one_sentence() {
    for (name, value, says) in [
        (
            "MODEL_PROVIDER",
            "",
            "MODEL_PROVIDER is not set: it must name who answers: gemini",
        ),
        (
            "MODEL_PROVIDER",
            "bard",
            "MODEL_PROVIDER: the model's provider is \"bard\"",
        ),
        ("MODEL_NAME", "", "MODEL_NAME is not set"),
        ("MODEL_KEY", "", "MODEL_KEY is not set, but gemini needs one"),
        ("MODEL_TEMPERATURE", "warm", "MODEL_TEMPERATURE is \"warm\""),
        ("MODEL_TEMPERATURE", "-1", "MODEL_TEMPERATURE is \"-1\""),
        ("MODEL_TEMPERATURE", "inf", "MODEL_TEMPERATURE is \"inf\""),
        ("MODEL_VISION", "maybe", "MODEL_VISION is \"maybe\": use yes or no"),
        (
            "MODEL_THINK_TAGS",
            "maybe",
            "MODEL_THINK_TAGS is \"maybe\": use yes or no",
        ),
        (
            "MODEL_PARAMETERS",
            "no-tea",
            "MODEL_PARAMETERS: \"no-tea\" is no parameter: use max_tokens",
        ),
        ("MODEL_MAX_OUTPUT_TOKENS", "0", "MODEL_MAX_OUTPUT_TOKENS is 0"),
        ("MODEL_CONTEXT_TOKENS", "1024", "leaves no room"),
    ] {
        let mut variables = vec![(name, value)];
        variables.extend(GEMINI);
        let sentence = read_with(&variables, "").unwrap_err().to_string();
        assert!(sentence.contains(says), "{name}={value}: {sentence}");
        assert!(!sentence.contains("secret"), "{sentence}");
    }
    let claude = [
        ("MODEL_PROVIDER", "anthropic"),
        ("MODEL_NAME", "claude"),
        ("MODEL_KEY", "k"),
        ("MODEL_TEMPERATURE", "1"),
    ];
    let sentence = read_with(&claude, "").unwrap_err().to_string();
    assert!(sentence.contains("anthropic takes none"), "{sentence}");
    let local = [
        ("MODEL_PROVIDER", "openai"),
        ("MODEL_NAME", "m"),
        ("MODEL_URL", "http://host/v1"),
    ];
    assert!(read_with(&local, "").is_ok(), "a server of one's own may need no key");
}

#[test]
fn one_model_is_made_for_all_who_choose_the_same() {
    let config = read(&json!([
        {"kind": "post", "systemPrompt": "posts"},
        {"organisation": "acme", "maxOutputTokens": 5},
        {"organisation": "other", "name": "another"},
    ]));
    let assistants = Assistants::new(&config, &BTreeMap::new()).unwrap();
    let of = |kind, organisation| assistants.answering(kind, organisation);
    let default = of(Kind::Assistant, None);
    assert!(Arc::ptr_eq(&default.model, &of(Kind::Post, None).model));
    assert!(Arc::ptr_eq(&default.model, &of(Kind::Assistant, Some("acme")).model));
    assert_eq!(of(Kind::Assistant, Some("acme")).max_output_tokens, 5);
    assert_eq!(of(Kind::Assistant, Some("unheard of")).max_output_tokens, 1024);
    assert_eq!(of(Kind::Post, Some("acme")).system_prompt, "posts");
    assert_eq!(of(Kind::Post, Some("other")).model.name(), "another");
    assert_eq!(default.model.name(), "gemini-3-flash");
    assert!(!format!("{assistants:?}").contains("secret"));
}

#[test]
fn a_function_that_asks_no_model_reads_no_key_and_knows_the_prompts() {
    let variables = [("MODEL_PROVIDER", "openai"), ("MODEL_NAME", "m")];
    let overrides = json!([
        {"organisation": "a", "key": "ssm:/a/key", "systemPrompt": "You are A's."},
        {"organisation": "b", "provider": "gemini", "name": "g", "key": "env:B_KEY"},
    ]);
    let overrides = overrides.to_string();
    let all = [&variables[..], &[("MODEL_OVERRIDES", overrides.as_str())]].concat();
    let value = |name: &str| {
        let found = all.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let policy = ReplyPolicy::read(&Environment(&value)).unwrap();
    assert_eq!(policy.bounds(Kind::Post, Some("a")).system_prompt, "You are A's.");
    assert_eq!(policy.bounds(Kind::Post, Some("b")).model, "g");
    // Whoever asks needs them all.
    let error = read_with(&variables, &overrides).unwrap_err().to_string();
    assert!(error.contains("MODEL_KEY is not set"), "{error}");
    let error = read_with(&[&variables[..], &[("MODEL_KEY", "k")]].concat(), &overrides)
        .unwrap_err()
        .to_string();
    assert!(error.contains("B_KEY"), "{error}");
}

#[test]
fn keys_that_are_kept_elsewhere_are_put_in() {
    let variables = [("MODEL_PROVIDER", "gemini"), ("MODEL_NAME", "m"), ("MODEL_KEY", "one")];
    let config = read_with(&variables, r#"[{"organisation": "a", "key": "ssm:/a/key"}]"#).unwrap();
    let names: Vec<_> = config.parameters().into_iter().collect();
    assert_eq!(names, ["/a/key"]);
    let mut keys = BTreeMap::new();
    let error = Assistants::new(&config, &keys).unwrap_err().to_string();
    assert!(
        error.contains("entry 1") && error.contains("/a/key") && !error.contains("one"),
        "{error}"
    );
    keys.insert("/a/key".into(), ApiKey::new("two\u{7}secret"));
    let error = Assistants::new(&config, &keys).unwrap_err().to_string();
    assert!(
        error.contains("entry 1: the model's key has characters") && !error.contains("secret"),
        "{error}"
    );
    keys.insert("/a/key".into(), ApiKey::new("two"));
    let assistants = Assistants::new(&config, &keys).unwrap();
    let of = |organisation| &assistants.answering(Kind::Assistant, organisation).model;
    assert!(!Arc::ptr_eq(of(None), of(Some("a"))), "each has a key of its own");
}

#[test]
fn an_address_that_cannot_be_used_is_told_with_its_entry() {
    let config = read(&json!([{"kind": "post", "url": "ftp://host"}]));
    let error = Assistants::new(&config, &BTreeMap::new()).unwrap_err().to_string();
    assert_eq!(
        error,
        "MODEL_OVERRIDES, entry 1: the model's URL is for ftp: use https or http."
    );
}
