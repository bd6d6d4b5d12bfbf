//! Which model answers in which chat, and how it is asked. The configuration decides it, made by [`config`]; here the
//! models themselves are made, once a process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::{ApiKey, Model, ModelSettings};
use domain::chat::Kind;
use domain::reply::Reasoning;
use foundation::environment::{ConfigError, Environment};

pub mod config;

use config::{AssistantsConfig, Choice, Key, OfKind};

/// Who answers, and how they are asked.
#[derive(Clone, Debug)]
pub struct Answering {
    pub model: Arc<dyn Model>,
    pub system_prompt: String,
    /// The longest answer.
    pub max_output_tokens: u32,
    /// Prompt and answer together.
    pub context_tokens: u32,
    /// The largest request that the provider takes.
    pub request_bytes: u32,
    /// What people hear of the model's thoughts.
    pub reasoning: Reasoning,
    /// Left to the provider when `None`.
    pub temperature: Option<f32>,
    pub sees_images: bool,
}

#[derive(Debug)]
pub struct Assistants {
    default: OfKind<Answering>,
    organisations: HashMap<String, OfKind<Answering>>,
}

impl Assistants {
    /// `parameters`: the keys that are [kept elsewhere](AssistantsConfig::parameters), by name. Makes no request.
    pub fn new(config: &AssistantsConfig, parameters: &BTreeMap<String, ApiKey>) -> Result<Self, ConfigError> {
        let mut workshop = Workshop {
            parameters,
            made: Vec::new(),
        };
        let organisations = config
            .organisations
            .iter()
            .map(|(name, choices)| Ok((name.clone(), choices.try_map(|choice| workshop.make(choice))?)))
            .collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            default: config.default.try_map(|choice| workshop.make(choice))?,
            organisations,
        })
    }

    /// In a chat of this kind, for somebody of this organisation.
    #[must_use]
    pub fn answering(&self, kind: Kind, organisation: Option<&str>) -> &Answering {
        organisation
            .and_then(|name| self.organisations.get(name))
            .unwrap_or(&self.default)
            .of(kind)
    }
}

/// How those are asked who answer, for whoever asks none: what an answer may take, and by whom it would be.
#[derive(Clone, Debug)]
pub struct ReplyPolicy(Arc<AssistantsConfig>);

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The model's name.
    pub model: &'a str,
    pub system_prompt: &'a str,
    /// The longest answer.
    pub max_output_tokens: u32,
    /// Prompt and answer together.
    pub context_tokens: u32,
}

impl ReplyPolicy {
    pub fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(AssistantsConfig::without_keys(env)?)))
    }

    /// In a chat of this kind, for somebody of this organisation.
    #[must_use]
    pub fn bounds(&self, kind: Kind, organisation: Option<&str>) -> Bounds<'_> {
        let choice = organisation
            .and_then(|name| self.0.organisations.get(name))
            .unwrap_or(&self.0.default)
            .of(kind);
        Bounds {
            model: &choice.settings.name,
            system_prompt: &choice.system_prompt,
            max_output_tokens: choice.max_output_tokens,
            context_tokens: choice.context_tokens,
        }
    }
}

/// Makes models; the same one for all who choose the same.
struct Workshop<'a> {
    parameters: &'a BTreeMap<String, ApiKey>,
    made: Vec<(ModelSettings, Arc<dyn Model>)>,
}

impl Workshop<'_> {
    fn make(&mut self, choice: &Choice) -> Result<Answering, ConfigError> {
        let key = match &choice.key {
            Key::None | Key::Unset(_) => ApiKey::default(),
            Key::Given(key) => key.clone(),
            Key::Parameter(name) => {
                let missing = || ConfigError::new(format!("{}: the SSM parameter {name} was not read.", choice.origin));
                self.parameters.get(name).cloned().ok_or_else(missing)?
            }
        };
        let settings = ModelSettings {
            key,
            ..choice.settings.clone()
        };
        Ok(Answering {
            model: self.model(settings, &choice.origin)?,
            system_prompt: choice.system_prompt.clone(),
            max_output_tokens: choice.max_output_tokens,
            context_tokens: choice.context_tokens,
            request_bytes: choice.request_bytes,
            reasoning: choice.reasoning,
            temperature: choice.temperature,
            sees_images: choice.settings.vision,
        })
    }

    fn model(&mut self, settings: ModelSettings, origin: &str) -> Result<Arc<dyn Model>, ConfigError> {
        if let Some((_, model)) = self.made.iter().find(|(made, _)| *made == settings) {
            return Ok(Arc::clone(model));
        }
        let model = crate::from_settings(&settings).map_err(|error| ConfigError::new(format!("{origin}: {error}.")))?;
        self.made.push((settings, Arc::clone(&model)));
        Ok(model)
    }
}

#[cfg(test)]
mod tests;
