//! Grammars that constrain completions, through llguidance.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, SimpleVob, TokEnv};
use llguidance::{Matcher, ParserFactory};
use thiserror::Error;
use toktrie_hf_tokenizers::ByteTokenizer;

use crate::tokenizer::{Tokenizer, guarded};

/// What can go wrong with a grammar.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrammarError {
    /// The tokenizer cannot be used for constrained decoding.
    #[error("constrained decoding: {0}")]
    Tokenizer(String),
    /// A grammar does not compile.
    #[error("constrained decoding: {message}\nin the grammar\n{grammar}")]
    Grammar {
        /// What is wrong.
        message: String,
        /// The grammar.
        grammar: String,
    },
    /// The grammar engine gave up.
    #[error("constrained decoding: {0}")]
    Decoding(String),
}

/// Compiles grammars for one tokenizer and one model. Building it arranges the vocabulary in a trie;
/// grammars then compile in well under a millisecond.
#[derive(Clone)]
pub struct GrammarCompiler {
    factory: Arc<ParserFactory>,
    environment: TokEnv,
}

/// Chooses the grammars of a completion's later stages. Called after every token with the text so far and
/// the number of the current stage (initially 0); returns the number and the grammar of a later stage once
/// the text has reached it. The new grammar describes the whole completion, including what has already
/// been written.
pub type NextStage = Arc<dyn Fn(&str, usize) -> Option<(usize, String)> + Send + Sync>;

/// A grammar that a completion must follow, in llguidance's Lark dialect.
#[derive(Clone)]
pub struct Constraint {
    /// The grammar at the start.
    pub grammar: String,
    /// The grammars that replace it in later stages, if any.
    pub next: Option<NextStage>,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Constraint").field("grammar", &self.grammar).finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// A compiler for completions that end with one of the tokens `stop`. `vocabulary` is the number of the
    /// model's logits, which may exceed the number of the tokenizer's tokens.
    pub fn new(tokenizer: &Tokenizer, vocabulary: usize, stop: &[u32]) -> Result<Self, GrammarError> {
        let broken = |error: &dyn std::fmt::Display| GrammarError::Tokenizer(error.to_string());
        let mut bytes = guarded(|| ByteTokenizer::from_tokenizer(tokenizer.without_controls()).map_err(Into::into))
            .map_err(GrammarError::Tokenizer)?;
        if let Some(&id) = stop.iter().find(|&&id| id as usize >= tokenizer.vocabulary_size()) {
            return Err(GrammarError::Tokenizer(format!("stop token {id} is not in the vocabulary")));
        }
        if stop.is_empty() {
            return Err(GrammarError::Tokenizer("no token ends a completion".into()));
        }
        bytes.set_eos_tokens(stop);
        let size = vocabulary.max(tokenizer.vocabulary_size());
        let environment = bytes.into_tok_env(Some(size)).map_err(|e| broken(&e))?;
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).map_err(|e| broken(&e))?;
        factory.quiet();
        Ok(Self { factory: Arc::new(factory), environment })
    }

    /// Compiles a constraint for one completion.
    pub fn guide(&self, constraint: &Constraint) -> Result<Guide, GrammarError> {
        Ok(Guide {
            matcher: self.matcher(&constraint.grammar)?,
            compiler: self.clone(),
            next: constraint.next.clone(),
            stage: 0,
            tokens: Vec::new(),
        })
    }

    fn matcher(&self, grammar: &str) -> Result<Matcher, GrammarError> {
        let parser = self.factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned()));
        let mut matcher = Matcher::new(parser);
        let failed = |message: String| GrammarError::Grammar { message, grammar: grammar.into() };
        if let Some(message) = matcher.get_error() {
            return Err(failed(message));
        }
        // A grammar that accepts nothing is only detected by a query.
        matcher.is_accepting().map_err(|error| failed(error.to_string()))?;
        Ok(matcher)
    }
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

/// The state of one constrained completion.
pub struct Guide {
    matcher: Matcher,
    compiler: GrammarCompiler,
    next: Option<NextStage>,
    stage: usize,
    tokens: Vec<u32>,
}

impl Guide {
    /// Number of tokens that may come next.
    pub fn allowed(&mut self) -> Result<usize, GrammarError> {
        Ok(self.mask()?.0.num_set())
    }

    /// The tokens that may come next.
    pub fn mask(&mut self) -> Result<TokenMask, GrammarError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| GrammarError::Decoding(error.to_string()))?;
        Ok(TokenMask(mask))
    }

    /// Appends an allowed token. Returns false if the token would begin a stage whose grammar rejects it;
    /// the state is then unchanged and another token must be chosen.
    pub fn take(&mut self, token: u32) -> Result<bool, GrammarError> {
        let failed = |error: &dyn std::fmt::Display| GrammarError::Decoding(error.to_string());
        self.tokens.push(token);
        if let Some(next) = &self.next {
            let text = self.compiler.environment.tok_trie().decode(&self.tokens);
            // A token may end inside a character, but a stage never does.
            let stage = std::str::from_utf8(&text).ok().and_then(|text| next(text, self.stage));
            if let Some((stage, grammar)) = stage {
                let mut matcher = self.compiler.matcher(&grammar)?;
                let taken = matcher.try_consume_tokens(&self.tokens).map_err(|e| failed(&e))?;
                if taken < self.tokens.len() {
                    self.tokens.pop();
                    return Ok(false);
                }
                self.matcher = matcher;
                self.stage = stage;
                return Ok(true);
            }
        }
        self.matcher.consume_token(token).map_err(|e| failed(&e))?;
        Ok(true)
    }
}

/// The tokens that a grammar allows next.
#[derive(Clone, Debug)]
pub struct TokenMask(SimpleVob);

impl TokenMask {
    /// Forbids a token.
    pub fn disallow(&mut self, token: u32) {
        self.0.disallow_token(token);
    }

    /// Whether a token is allowed.
    pub fn allows(&self, token: u32) -> bool {
        self.0.is_allowed(token)
    }

    /// The mask as bits: token `t` is bit `t % 32` of word `t / 32`.
    pub fn words(&self) -> &[u32] {
        self.0.as_slice()
    }
}
