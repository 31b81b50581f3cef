//! What Ollama needs beside a GGUF file: a `Modelfile`.
//!
//! Ollama knows the templates of some models by their Jinja source and takes Go templates for all others; it does not
//! run Jinja. So the template is translated: not its source, but what it does to a system text and a question, which
//! is found by rendering.

use jiff::civil::DateTime;

use crate::chat::{ChatError, ChatTemplate, Exchange, Message};
use crate::gguf::GgufHead;

/// The first line, by which a `Modelfile` that may be replaced is recognised.
const FIRST_LINE: &str = "# Written by tabpo; `ollama create NAME -f Modelfile` imports the model.";
/// The longest context that is asked for: Ollama's default cuts off the prompts of longer documents without a word.
const CONTEXT: usize = 8192;
/// Texts to be found again in what a template renders.
const MARKS: [&str; 2] = ["Tabpo7System", "Tabpo7Question"];
/// Texts that check whether a template was understood.
const CHECKS: [&str; 2] = ["Name {{ all }} tools.\nBriefly.", "A \"drill\" by the lathe,\n\nand a saw."];
/// Texts whose outer white space some templates remove, which a translation can't.
const SPACED: [&str; 2] = [" \nName all tools.\n", "\n A drill by the lathe. \n"];

/// A `Modelfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modelfile {
    /// Its text.
    pub text: String,
    /// Why it has no template although the model has one.
    pub untranslated: Option<String>,
}

/// What surrounds the texts of a conversation.
struct Frame {
    /// Before the system text, and between it and the question.
    system: [String; 2],
    /// Before the question if there is no system text.
    alone: String,
    /// Between the question and the answer.
    middle: String,
    /// After the answer.
    end: String,
}

impl Modelfile {
    /// The `Modelfile` of the GGUF file with this name in the same folder. Answers are those of greedy decoding;
    /// `longest` is the model's context, `date` the date for templates that print one.
    pub fn new(file: &str, head: &GgufHead, longest: usize, date: DateTime) -> Self {
        let mut text = format!("{FIRST_LINE}\nFROM ./{file}\n");
        let mut untranslated = None;
        match head.template().map(|template| Frame::find(template, head.first_token(), date)) {
            None => {}
            Some(Ok(frame)) => {
                text.push_str("# The chat template of the model, for one question with or without a system text.\n");
                text.push_str(&format!("TEMPLATE \"\"\"{}\"\"\"\n", frame.go_template()));
            }
            Some(Err(problem)) => {
                text.push_str(&format!("# No TEMPLATE: {problem}.\n"));
                untranslated = Some(problem);
            }
        }
        for stop in head.stops() {
            text.push_str(&format!("PARAMETER stop {}\n", quoted(stop)));
        }
        text.push_str("PARAMETER temperature 0\nPARAMETER repeat_penalty 1\n");
        text.push_str(&format!("PARAMETER num_ctx {}\n", longest.min(CONTEXT)));
        Self { text, untranslated }
    }

    /// Whether a file with this text was written by this library.
    pub fn is_ours(text: &str) -> bool {
        text.lines().next() == Some(FIRST_LINE)
    }
}

/// A word of a `Modelfile`.
fn quoted(text: &str) -> String {
    if text.contains(['"', '\n']) { format!("\"\"\"{text}\"\"\"") } else { format!("\"{text}\"") }
}

fn exchange(template: &ChatTemplate, [system, question]: [&str; 2], date: DateTime) -> Result<Exchange, ChatError> {
    let question = Message::new("user", question);
    let messages = if system.is_empty() { vec![question] } else { vec![Message::new("system", system), question] };
    template.exchange(&messages, "{}", date)
}

/// The text before and after the only place where a mark stands.
fn around<'t>(text: &'t str, mark: &str) -> Option<(&'t str, &'t str)> {
    text.split_once(mark).filter(|(_, rest)| !rest.contains(mark))
}

impl Frame {
    /// What a template puts around texts; `first` is the token that Ollama itself puts before every prompt.
    fn find(template: &ChatTemplate, first: Option<&str>, date: DateTime) -> Result<Self, String> {
        let rendered = |texts| exchange(template, texts, date).map_err(|error| error.to_string());
        let bare = |text: &str| first.and_then(|first| text.strip_prefix(first)).unwrap_or(text).to_owned();
        let unusual = || "the chat template does not show system text and question once each, in this order".to_owned();
        let [system, question] = MARKS;
        let both = rendered(MARKS)?;
        let (before, rest) = around(&both.prompt, system).ok_or_else(unusual)?;
        let (between, middle) = around(rest, question).ok_or_else(unusual)?;
        let one = rendered(["", question])?;
        let (alone, same) = around(&one.prompt, question).ok_or_else(unusual)?;
        if before.contains(question) || same != middle || one.end != both.end {
            return Err(unusual());
        }
        let frame = Self {
            system: [bare(before), between.to_owned()],
            alone: bare(alone),
            middle: middle.to_owned(),
            end: both.end,
        };
        for texts in [CHECKS, ["", CHECKS[1]]] {
            if bare(&rendered(texts)?.prompt) != frame.render(texts) {
                return Err("the chat template changes the texts of a conversation".to_owned());
            }
        }
        if bare(&rendered(SPACED)?.prompt) != frame.render(SPACED)
            && bare(&rendered(SPACED)?.prompt) != frame.render(SPACED.map(str::trim))
        {
            return Err("the chat template changes the white space of texts".to_owned());
        }
        let parts = frame.system.iter().chain([&frame.alone, &frame.middle, &frame.end]);
        if parts.into_iter().any(|part| part.contains("\"\"\"")) {
            return Err("the chat template contains three quotes, which end a text in a Modelfile".to_owned());
        }
        Ok(frame)
    }

    /// The prompt that Ollama makes of a system text, which may be empty, and a question.
    fn render(&self, [system, question]: [&str; 2]) -> String {
        let [before, between] = &self.system;
        let start = if system.is_empty() { self.alone.clone() } else { format!("{before}{system}{between}") };
        format!("{start}{question}{}", self.middle)
    }

    fn go_template(&self) -> String {
        let [before, between] = self.system.each_ref().map(|text| go_text(text));
        let [alone, middle, end] = [&self.alone, &self.middle, &self.end].map(|text| go_text(text));
        format!(
            "{{{{ if .System }}}}{before}{{{{ .System }}}}{between}{{{{ else }}}}{alone}{{{{ end }}}}{{{{ .Prompt \
             }}}}{middle}{{{{ .Response }}}}{end}"
        )
    }
}

/// A text in a Go template.
fn go_text(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::SpecialTokens;

    const DATE: DateTime = DateTime::constant(2026, 1, 2, 0, 0, 0, 0);

    fn frame(source: &str, first: Option<&str>) -> Result<Frame, String> {
        let special = SpecialTokens { bos: Some("<s>".into()), ..SpecialTokens::default() };
        Frame::find(&ChatTemplate::new(source.into(), &special, "test".as_ref()).expect("a template"), first, DATE)
    }

    const CHATML: &str = "{{ bos_token }}{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\
                          {%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

    #[test]
    fn a_template_is_translated_by_what_it_renders() {
        let found = frame(CHATML, Some("<s>")).expect("a frame");
        assert_eq!(
            found.go_template(),
            "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n<|im_start|>user\n{{ else }}<|im_start|>user\n\
             {{ end }}{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
        );
        // A program that adds no token of its own needs the template's.
        assert!(frame(CHATML, None).expect("a frame").alone.starts_with("<s>"));
    }

    #[test]
    fn a_template_that_changes_texts_is_not_translated() {
        let upper = CHATML.replace("m.content", "(m.content if m.role == 'assistant' else (m.content | upper))");
        assert!(frame(&upper, None).is_err());
        let lines = CHATML.replace("m.content", "m.content | replace('\\n', ' ')");
        assert!(frame(&lines, None).err().expect("a problem").contains("changes the texts"));
        // White space around texts may go: prompts have none.
        assert!(frame(&CHATML.replace("m.content", "(m.content | trim)"), None).is_ok());
    }

    #[test]
    fn braces_and_quotes_stay_what_they_are() {
        assert_eq!(go_text("a {{b}} c"), "a {{ \"{{\" }}b}} c");
        assert_eq!(quoted("<|im_end|>"), "\"<|im_end|>\"");
        assert_eq!(quoted("a\"b"), "\"\"\"a\"b\"\"\"");
    }
}
