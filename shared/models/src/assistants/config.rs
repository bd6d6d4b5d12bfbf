//! The `MODEL_*` variables, and `MODEL_OVERRIDES` over them: who answers, for each kind of chat and each organisation that
//! is named. What is wrong is named in one sentence, and a key never is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{ApiKey, ModelSettings, Parameters, Provider};
use domain::chat::Kind;
use domain::reply::Reasoning;
use foundation::environment::parameter_name;
use foundation::environment::{ConfigError, Environment};

const DEFAULT_SYSTEM_PROMPT: &str = "You are a helpful assistant in a chat. Answer briefly and to the point.";
/// Gemini takes requests of 20 MB, and most others as much.
const DEFAULT_REQUEST_BYTES: u32 = 20_000_000;
const VARIABLES: &str = "The MODEL_ variables";

#[derive(Clone, Debug)]
pub struct AssistantsConfig {
    pub(super) default: OfKind<Choice>,
    pub(super) organisations: BTreeMap<String, OfKind<Choice>>,
}

/// One of something for each kind of chat that is answered.
#[derive(Clone, Debug)]
pub(super) struct OfKind<T> {
    assistant: T,
    post: T,
}

impl<T> OfKind<T> {
    pub(super) fn of(&self, kind: Kind) -> &T {
        match kind {
            Kind::Post => &self.post,
            Kind::Assistant | Kind::Direct | Kind::Channel | Kind::Task => &self.assistant,
        }
    }

    pub(super) fn try_map<U, E>(&self, mut map: impl FnMut(&T) -> Result<U, E>) -> Result<OfKind<U>, E> {
        Ok(OfKind {
            assistant: map(&self.assistant)?,
            post: map(&self.post)?,
        })
    }
}

/// Who answers in one kind of chat of one organisation.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Where it was said last, for errors.
    pub(super) origin: String,
    /// Without the key.
    pub(super) settings: ModelSettings,
    pub(super) key: Key,
    /// `MODEL_MAX_OUTPUT_TOKENS`: the longest answer; default 1024.
    pub(super) max_output_tokens: u32,
    /// `MODEL_CONTEXT_TOKENS`: prompt and answer together; default 8192.
    pub(super) context_tokens: u32,
    /// `MODEL_REQUEST_BYTES`: the largest request that the provider takes; default 20,000,000.
    pub(super) request_bytes: u32,
    /// `MODEL_REASONING`: what people hear of the model's thoughts: `off`, `status` (default) or `text`.
    pub(super) reasoning: Reasoning,
    /// `MODEL_TEMPERATURE`: left to the provider when absent.
    pub(super) temperature: Option<f32>,
    /// `SYSTEM_PROMPT`, or for one kind of chat `SYSTEM_PROMPT_ASSISTANT`, `SYSTEM_PROMPT_POST`.
    pub(super) system_prompt: String,
}

/// Where a key is.
#[derive(Clone, Debug)]
pub(super) enum Key {
    None,
    Given(ApiKey),
    /// The name of an SSM parameter.
    Parameter(String),
    /// The name of a variable that is not set.
    Unset(String),
}

impl AssistantsConfig {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Choice::read(env)?.with_key()?;
        let config = Self::without_keys(env)?;
        let all = config.organisations.values().chain([&config.default]);
        for choice in all.flat_map(|choices| [&choices.assistant, &choices.post]) {
            choice.clone().with_key()?;
        }
        Ok(config)
    }

    /// For whoever goes by the prompts and the limits, asks no model and is given no keys.
    pub(super) fn without_keys(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let default = Choice::read(env)?;
        let entries = entries(env)?;
        let choose = |organisation: Option<&str>| {
            let general = |of: &str| env.optional(&format!("SYSTEM_PROMPT_{of}"));
            Ok::<_, ConfigError>(OfKind {
                assistant: default.told(general("ASSISTANT")).overridden(
                    &entries,
                    AnsweredKind::Assistant,
                    organisation,
                )?,
                post: default
                    .told(general("POST"))
                    .overridden(&entries, AnsweredKind::Post, organisation)?,
            })
        };
        let named: BTreeSet<_> = entries
            .iter()
            .filter_map(|entry| entry.organisation.as_deref())
            .collect();
        Ok(Self {
            default: choose(None)?,
            organisations: named
                .into_iter()
                .map(|name| Ok((name.to_owned(), choose(Some(name))?)))
                .collect::<Result<_, ConfigError>>()?,
        })
    }

    /// The SSM parameters that hold keys.
    #[must_use]
    pub fn parameters(&self) -> BTreeSet<&str> {
        let all = self.organisations.values().chain([&self.default]);
        all.flat_map(|choices| [&choices.assistant, &choices.post])
            .filter_map(|choice| match &choice.key {
                Key::Parameter(name) => Some(name.as_str()),
                Key::None | Key::Given(_) | Key::Unset(_) => None,
            })
            .collect()
    }
}

impl Choice {
    fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        let name = env.required("MODEL_PROVIDER", &format!("who answers: {}", Provider::NAMES))?;
        let provider: Provider = name
            .parse()
            .map_err(|error| ConfigError::new(format!("MODEL_PROVIDER: {error}.")))?;
        let model = match default_name(provider) {
            Some(name) => env.optional("MODEL_NAME").unwrap_or_else(|| name.into()),
            None => env.required("MODEL_NAME", "the model, as its provider calls it")?,
        };
        let defaults = ModelSettings::new(provider, model);
        let key = match env.optional("MODEL_KEY") {
            None => Key::None,
            Some(key) => Key::Given(ApiKey::new(key)),
        };
        let choice = Self {
            origin: VARIABLES.into(),
            settings: ModelSettings {
                url: env.optional("MODEL_URL").unwrap_or_default(),
                first_byte_timeout: env.seconds("MODEL_FIRST_BYTE_SECONDS", seconds(defaults.first_byte_timeout))?,
                silence_timeout: env.seconds("MODEL_SILENCE_SECONDS", seconds(defaults.silence_timeout))?,
                attempts: env.parsed("MODEL_ATTEMPTS", defaults.attempts)?,
                vision: yes_or_no(env, "MODEL_VISION", defaults.vision)?,
                parameters: parameters(env)?,
                think_tags: yes_or_no(env, "MODEL_THINK_TAGS", defaults.think_tags)?,
                ..defaults
            },
            key,
            max_output_tokens: env.parsed("MODEL_MAX_OUTPUT_TOKENS", 1024)?,
            context_tokens: env.parsed("MODEL_CONTEXT_TOKENS", 8192)?,
            request_bytes: env.parsed("MODEL_REQUEST_BYTES", DEFAULT_REQUEST_BYTES)?,
            reasoning: match env.optional("MODEL_REASONING") {
                None => Reasoning::default(),
                Some(text) => reasoning(&text).map_err(|why| ConfigError::new(format!("MODEL_REASONING {why}.")))?,
            },
            temperature: env
                .optional("MODEL_TEMPERATURE")
                .map(|text| {
                    let number = text.parse().ok().filter(is_temperature);
                    number.ok_or_else(|| {
                        ConfigError::new(format!("MODEL_TEMPERATURE is {text:?}: use a number from 0 on."))
                    })
                })
                .transpose()?,
            system_prompt: env
                .optional("SYSTEM_PROMPT")
                .unwrap_or_else(|| DEFAULT_SYSTEM_PROMPT.into()),
        };
        if choice.max_output_tokens == 0 {
            return Err(ConfigError::new(
                "MODEL_MAX_OUTPUT_TOKENS is 0, but must be 1 at least.",
            ));
        }
        if choice.context_tokens <= choice.max_output_tokens {
            return Err(ConfigError::new(format!(
                "MODEL_CONTEXT_TOKENS is {} and leaves no room beside MODEL_MAX_OUTPUT_TOKENS, which is {}.",
                choice.context_tokens, choice.max_output_tokens
            )));
        }
        if choice.temperature.is_some() && !provider.takes_temperature() {
            return Err(ConfigError::new(format!(
                "MODEL_TEMPERATURE is set, but {name} takes none."
            )));
        }
        Ok(choice)
    }

    fn told(&self, system_prompt: Option<String>) -> Self {
        let mut choice = self.clone();
        choice.system_prompt = system_prompt.unwrap_or(choice.system_prompt);
        choice
    }

    /// With what is said for the kind of chat, over it what is said for the organisation, and over that what is said for
    /// both.
    fn overridden(
        self,
        entries: &[Entry],
        kind: AnsweredKind,
        organisation: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let mut levels = vec![(Some(kind), None)];
        if organisation.is_some() {
            levels.extend([(None, organisation), (Some(kind), organisation)]);
        }
        let said = levels.into_iter().filter_map(|(kind, organisation)| {
            let is_meant = |entry: &&Entry| (entry.kind, entry.organisation.as_deref()) == (kind, organisation);
            entries.iter().find(is_meant)
        });
        said.fold(self, Self::with).checked()
    }

    fn with(mut self, entry: &Entry) -> Self {
        self.origin.clone_from(&entry.origin);
        let settings = &mut self.settings;
        if let Some(provider) = entry.provider
            && provider != settings.provider
        {
            // The address, the name and the key are of the one that was to answer before.
            settings.provider = provider;
            settings.url = String::new();
            settings.name = default_name(provider).unwrap_or_default().into();
            settings.vision = true;
            settings.parameters = Parameters::default();
            self.key = Key::None;
        }
        if let Some(url) = &entry.url
            && *url != settings.url
        {
            // A key is for its address alone.
            settings.url.clone_from(url);
            self.key = Key::None;
        }
        if let Some(name) = &entry.name {
            settings.name.clone_from(name);
        }
        settings.vision = entry.vision.unwrap_or(settings.vision);
        settings.parameters = entry.parameters.unwrap_or(settings.parameters);
        settings.think_tags = entry.think_tags.unwrap_or(settings.think_tags);
        if let Some(key) = &entry.key {
            self.key = key.clone();
        }
        self.temperature = entry.temperature.or(self.temperature);
        self.max_output_tokens = entry.max_output_tokens.unwrap_or(self.max_output_tokens);
        self.context_tokens = entry.context_tokens.unwrap_or(self.context_tokens);
        self.request_bytes = entry.request_bytes.unwrap_or(self.request_bytes);
        self.reasoning = entry.reasoning.unwrap_or(self.reasoning);
        if let Some(text) = &entry.system_prompt {
            self.system_prompt.clone_from(text);
        }
        self
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let provider = self.settings.provider.name();
        let why = if self.settings.name.trim().is_empty() {
            format!("provider is {provider}, and name, the model's, is not set")
        } else if self.context_tokens <= self.max_output_tokens {
            format!(
                "contextTokens is {} and leaves no room beside maxOutputTokens, which is {}",
                self.context_tokens, self.max_output_tokens
            )
        } else {
            return Ok(self);
        };
        Err(ConfigError::new(format!("{}: {why}.", self.origin)))
    }

    /// Refuses a choice whose key is not there.
    fn with_key(self) -> Result<Self, ConfigError> {
        let provider = self.settings.provider.name();
        let sentence = match &self.key {
            Key::Unset(name) => format!("{}: key names the variable {name}, which is not set.", self.origin),
            _ if !self.lacks_key() => return Ok(self),
            _ if self.origin == VARIABLES => {
                format!("MODEL_KEY is not set, but {provider} needs one at its own address.")
            }
            _ => format!(
                "{}: provider is {provider}, which needs a key at its own address, and key is not set.",
                self.origin
            ),
        };
        Err(ConfigError::new(sentence))
    }

    fn lacks_key(&self) -> bool {
        let needs_key = match self.settings.provider {
            Provider::Gemini | Provider::Anthropic | Provider::OpenAi => self.settings.url.is_empty(),
            Provider::Bedrock | Provider::Scripted => false,
        };
        needs_key && matches!(self.key, Key::None)
    }
}

impl Key {
    /// Of an entry, where a key itself would lie open beside things that are no secret.
    fn named(text: &Value, env: &Environment<'_>) -> Result<Self, String> {
        let text = text.as_str().unwrap_or_default().trim();
        if let Some(name) = text.strip_prefix("env:") {
            return Ok(match env.optional(name) {
                Some(key) => Self::Given(ApiKey::new(key)),
                None => Self::Unset(name.to_owned()),
            });
        }
        match text.strip_prefix("ssm:") {
            Some(name) => {
                let name = parameter_name(name).map_err(|why| format!("key {why}"))?;
                Ok(Self::Parameter(name.to_owned()))
            }
            None => Err("key must be \"env:NAME\" or \"ssm:/path\", never the key itself".into()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AnsweredKind {
    Assistant,
    Post,
}

/// As it is written; a field that is not there is inherited.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    kind: Option<AnsweredKind>,
    organisation: Option<String>,
    provider: Option<String>,
    url: Option<String>,
    key: Option<Value>,
    name: Option<String>,
    temperature: Option<f32>,
    max_output_tokens: Option<u32>,
    context_tokens: Option<u32>,
    request_bytes: Option<u32>,
    reasoning: Option<String>,
    system_prompt: Option<String>,
    vision: Option<bool>,
    parameters: Option<String>,
    think_tags: Option<bool>,
}

#[derive(Debug)]
struct Entry {
    origin: String,
    kind: Option<AnsweredKind>,
    organisation: Option<String>,
    provider: Option<Provider>,
    url: Option<String>,
    key: Option<Key>,
    name: Option<String>,
    temperature: Option<f32>,
    max_output_tokens: Option<u32>,
    context_tokens: Option<u32>,
    request_bytes: Option<u32>,
    reasoning: Option<Reasoning>,
    system_prompt: Option<String>,
    vision: Option<bool>,
    parameters: Option<Parameters>,
    think_tags: Option<bool>,
}

/// `MODEL_OVERRIDES`: a JSON array of objects, each for a `kind` of chat, an `organisation` or both.
fn entries(env: &Environment<'_>) -> Result<Vec<Entry>, ConfigError> {
    let Some(text) = env.optional("MODEL_OVERRIDES") else {
        return Ok(Vec::new());
    };
    let written: Vec<Value> = serde_json::from_str(&text).map_err(|error| {
        let place = (error.line(), error.column());
        ConfigError::new(format!(
            "MODEL_OVERRIDES is not a JSON array: see line {}, column {}.",
            place.0, place.1
        ))
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let origin = format!("MODEL_OVERRIDES, entry {}", index + 1);
        let entry = Entry::read(&origin, written, env).map_err(|why| ConfigError::new(format!("{origin}: {why}.")))?;
        let is_twin = |other: &&Entry| (other.kind, &other.organisation) == (entry.kind, &entry.organisation);
        if let Some(twin) = entries.iter().find(is_twin) {
            return Err(ConfigError::new(format!("{origin}: {} is for the same.", twin.origin)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

impl Entry {
    fn read(origin: &str, written: Value, env: &Environment<'_>) -> Result<Self, String> {
        let written: Written = serde_path_to_error::deserialize(written).map_err(|error| {
            let path = error.path().to_string();
            match path.as_str() {
                "." => error.inner().to_string(),
                path => format!("{path}: {}", error.inner()),
            }
        })?;
        let text = |name: &str, text: Option<String>| match text.map(|text| text.trim().to_owned()) {
            Some(text) if text.is_empty() => Err(format!("{name} is empty")),
            text => Ok(text),
        };
        let entry = Self {
            origin: origin.to_owned(),
            kind: written.kind,
            organisation: text("organisation", written.organisation)?,
            provider: written
                .provider
                .map(|name| name.parse().map_err(|error| format!("provider: {error}")))
                .transpose()?,
            url: text("url", written.url)?,
            key: written.key.map(|key| Key::named(&key, env)).transpose()?,
            name: text("name", written.name)?,
            temperature: written.temperature,
            max_output_tokens: written.max_output_tokens,
            context_tokens: written.context_tokens,
            request_bytes: written.request_bytes,
            reasoning: written
                .reasoning
                .map(|text| reasoning(&text).map_err(|why| format!("reasoning {why}")))
                .transpose()?,
            system_prompt: text("systemPrompt", written.system_prompt)?,
            vision: written.vision,
            parameters: written
                .parameters
                .map(|text| text.parse().map_err(|error| format!("parameters: {error}")))
                .transpose()?,
            think_tags: written.think_tags,
        };
        if entry.kind.is_none() && entry.organisation.is_none() {
            return Err(
                "it names neither a kind nor an organisation; for all chats there are the other variables".into(),
            );
        }
        if entry.max_output_tokens == Some(0) {
            return Err("maxOutputTokens is 0, but must be 1 at least".into());
        }
        if entry.temperature.is_some_and(|number| !is_temperature(&number)) {
            return Err("temperature must be a number from 0 on".into());
        }
        if let Some(provider) = entry.provider
            && entry.temperature.is_some()
            && !provider.takes_temperature()
        {
            return Err(format!("temperature is set, but {} takes none", provider.name()));
        }
        Ok(entry)
    }
}

/// Of a provider that has but one.
fn default_name(provider: Provider) -> Option<&'static str> {
    (provider == Provider::Scripted).then_some("scripted")
}

fn is_temperature(number: &f32) -> bool {
    number.is_finite() && *number >= 0.0
}

fn reasoning(text: &str) -> Result<Reasoning, String> {
    Reasoning::parse(text).ok_or_else(|| format!("is {text:?}: use off, status or text"))
}

fn yes_or_no(env: &Environment<'_>, name: &str, default: bool) -> Result<bool, ConfigError> {
    match env.optional(name).as_deref() {
        None => Ok(default),
        Some("yes" | "true") => Ok(true),
        Some("no" | "false") => Ok(false),
        Some(other) => Err(ConfigError::new(format!("{name} is {other:?}: use yes or no."))),
    }
}

fn parameters(env: &Environment<'_>) -> Result<Parameters, ConfigError> {
    let text = env.optional("MODEL_PARAMETERS").unwrap_or_default();
    text.parse()
        .map_err(|error| ConfigError::new(format!("MODEL_PARAMETERS: {error}.")))
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
