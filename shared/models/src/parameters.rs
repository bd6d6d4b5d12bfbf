//! Which parameters a model takes. Servers of one protocol differ in them, and none says beforehand. One that is refused is left
//! out, or sent by its other name, and the process remembers it for its model. Those who know can say so: `MODEL_PARAMETERS`.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::refusal::{Parameter, Refused};
use super::{ModelError, Prompt, SettingsError, Turn};

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// By which name an OpenAI-compatible server takes the limit of output tokens. `None`: OpenAI itself takes the new one, all
    /// others the old one.
    pub(super) output_limit: Option<OutputLimit>,
    pub(super) stream_options: bool,
    pub(super) stream: bool,
    pub(super) temperature: bool,
    /// Whether the system prompt has a place of its own. Else it stands before the first turn.
    pub(super) system: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputLimit {
    MaxTokens,
    MaxCompletionTokens,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            output_limit: None,
            stream_options: true,
            stream: true,
            temperature: true,
            system: true,
        }
    }
}

impl FromStr for Parameters {
    type Err = SettingsError;

    /// Words with commas or blanks between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parameters = Self::default();
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            match word {
                "max_tokens" => parameters.output_limit = Some(OutputLimit::MaxTokens),
                "max_completion_tokens" => parameters.output_limit = Some(OutputLimit::MaxCompletionTokens),
                "no-stream_options" => parameters.stream_options = false,
                "no-stream" => (parameters.stream, parameters.stream_options) = (false, false),
                "no-temperature" => parameters.temperature = false,
                "no-system" => parameters.system = false,
                other => {
                    return Err(SettingsError(format!(
                        "{other:?} is no parameter: use max_tokens, max_completion_tokens, no-stream_options, no-stream, \
                         no-temperature or no-system"
                    )));
                }
            }
        }
        Ok(parameters)
    }
}

impl Parameters {
    fn without(mut self, parameter: Parameter, limit: OutputLimit) -> Self {
        match parameter {
            Parameter::OutputLimit => self.output_limit = Some(limit.other()),
            Parameter::StreamOptions => self.stream_options = false,
            // What is said of a stream goes with it.
            Parameter::Stream => (self.stream, self.stream_options) = (false, false),
            Parameter::Temperature => self.temperature = false,
            Parameter::System => self.system = false,
        }
        self
    }

    /// Which parameters of the prompt are sent, of those that all providers have.
    pub(super) fn sent(&self, prompt: &Prompt) -> Vec<Parameter> {
        let mut sent = Vec::new();
        if self.temperature && prompt.temperature.is_some() {
            sent.push(Parameter::Temperature);
        }
        if self.system && prompt.instruction().is_some() {
            sent.push(Parameter::System);
        }
        sent
    }

    /// The prompt as it is sent.
    pub(super) fn applied(&self, prompt: &Prompt) -> Prompt {
        let mut prompt = prompt.clone();
        if !self.temperature {
            prompt.temperature = None;
        }
        if !self.system
            && let Some(text) = prompt.system.take().filter(|text| !text.trim().is_empty())
        {
            prompt.turns.insert(0, Turn::person(text));
        }
        prompt
    }
}

impl OutputLimit {
    fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

/// What is known of a model's parameters by now.
#[derive(Debug)]
pub(super) struct Learned(Mutex<Parameters>);

impl Learned {
    pub(super) fn new(parameters: Parameters) -> Self {
        Self(Mutex::new(parameters))
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        let parameters = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Asking {
            learned: self,
            parameters,
            refused: Vec::new(),
        }
    }
}

/// One question, which is put once more for each parameter that is refused.
pub(super) struct Asking<'a> {
    learned: &'a Learned,
    pub(super) parameters: Parameters,
    refused: Vec<Parameter>,
}

impl Asking<'_> {
    /// Whether to ask once more. `limit`: by which name the limit of output tokens was sent.
    pub(super) fn refused(&mut self, model: &str, limit: OutputLimit, refused: Refused) -> Result<(), ModelError> {
        let Refused { error, parameter } = refused;
        let Some(parameter) = parameter.filter(|parameter| !self.refused.contains(parameter)) else {
            return Err(error);
        };
        tracing::warn!(
            model,
            detail = error.detail(),
            "the model does not take the {parameter}; asked without"
        );
        self.refused.push(parameter);
        self.parameters = self.parameters.without(parameter, limit);
        Ok(())
    }

    /// What is remembered is only what has led to an answer.
    pub(super) fn answered(self) {
        if !self.refused.is_empty() {
            *self.learned.0.lock().unwrap_or_else(PoisonError::into_inner) = self.parameters;
        }
    }
}
