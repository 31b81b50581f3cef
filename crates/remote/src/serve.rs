//! Commands that serve a trained model.

use std::path::PathBuf;

use serde::Serialize;

/// The model to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The Hugging Face folder (or name) of the model, or of the adapter's base model.
    pub model: String,
    /// A PEFT folder and its rank.
    pub adapter: Option<(PathBuf, usize)>,
    /// The special token between source and answer of a model without a chat template.
    pub separator: Option<String>,
    /// The name it is served under.
    pub name: String,
    /// The longest prompt and answer in tokens.
    pub max_length: usize,
}

/// A server's command line and the `tabpo predict` that fits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServeCommand {
    /// The server.
    pub server: &'static str,
    /// The shell command that starts it, by line.
    pub command: Vec<String>,
    /// The shell command that queries it, by line.
    pub predict: Vec<String>,
}

/// Ranks for which vLLM has kernels; an adapter of another rank runs at the next higher one.
const VLLM_RANKS: [usize; 8] = [8, 16, 32, 64, 128, 256, 320, 512];

/// Command lines for vLLM (0.12 or newer) and `SGLang`.
///
/// `--generation-config vllm` keeps vLLM from applying the folder's `generation_config.json`; `guidance`
/// and `llguidance` are the backends for Lark grammars.
pub fn serve_commands(served: &Served) -> [ServeCommand; 2] {
    let model = quoted(&served.model);
    let name = quoted(&served.name);
    let length = served.max_length;
    let mut vllm = vec![format!("vllm serve {model}")];
    let mut sglang = vec![format!("python -m sglang.launch_server --model-path {model}")];
    let mut sglang_name = served.name.clone();
    if let Some((folder, rank)) = &served.adapter {
        let adapter = quoted(&format!("{}={}", served.name, folder.display()));
        let largest = VLLM_RANKS.into_iter().find(|most| most >= rank).unwrap_or(*rank);
        vllm.push(format!("--enable-lora --lora-modules {adapter} --max-lora-rank {largest}"));
        sglang.push(format!("--served-model-name base --enable-lora --lora-paths {adapter} --max-lora-rank {rank}"));
        sglang_name = format!("base:{}", served.name);
    } else {
        vllm.push(format!("--served-model-name {name}"));
        sglang.push(format!("--served-model-name {name}"));
    }
    vllm.push(format!("--host 127.0.0.1 --port 8000 --max-model-len {length}"));
    sglang.push(format!("--host 127.0.0.1 --port 8000 --context-length {length}"));
    // An adapter's own chat template, if its base has none or a different one.
    let own_template = served.adapter.as_ref().map(|(folder, _)| folder.join("chat_template.jinja"));
    if let Some(template) = own_template.filter(|template| template.exists()) {
        let option = format!("--chat-template {}", quoted(&template.display().to_string()));
        vllm.push(option.clone());
        sglang.push(option);
    } else if let Some(separator) = &served.separator {
        let template = plain_template(separator);
        vllm.push(format!("--chat-template {}", quoted(&template)));
        sglang.insert(0, format!("printf %s {} > plain.jinja &&", quoted(&template)));
        sglang.push("--chat-template plain.jinja".to_owned());
    }
    // By default both allow blanks between the parts of JSON, in which a model can get lost.
    let structure = r#"{"backend": "guidance", "disable_any_whitespace": true}"#;
    vllm.push(format!("--generation-config vllm --structured-outputs-config '{structure}'"));
    sglang.push("--grammar-backend llguidance --constrained-json-disable-any-whitespace".to_owned());
    let predict = |name: &str| {
        vec![
            format!("tabpo predict --endpoint http://127.0.0.1:8000/v1 --model {}", quoted(name)),
            "--ontology ONTOLOGY.toml --data DOCUMENTS.jsonl --out PREDICTIONS.jsonl".to_owned(),
        ]
    };
    [
        ServeCommand { server: "vLLM", command: vllm, predict: predict(&served.name) },
        ServeCommand { server: "SGLang", command: sglang, predict: predict(&sglang_name) },
    ]
}

/// A chat template for a model without one, with the prompt it was trained on: the text and the
/// separator, without instructions.
fn plain_template(separator: &str) -> String {
    format!("{{{{ messages[-1]['content'] }}}}{separator}")
}

/// A word of a shell command.
fn quoted(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-=+:,@".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> Served {
        Served {
            model: "runs/my run/merged".into(),
            adapter: None,
            separator: None,
            name: "tab-po".into(),
            max_length: 2048,
        }
    }

    #[test]
    fn a_merged_folder_is_served_under_its_name() {
        let [vllm, sglang] = serve_commands(&served());
        let expected = [
            "vllm serve 'runs/my run/merged'",
            "--served-model-name tab-po",
            "--host 127.0.0.1 --port 8000 --max-model-len 2048",
            "--generation-config vllm --structured-outputs-config '{\"backend\": \"guidance\", \
             \"disable_any_whitespace\": true}'",
        ];
        assert_eq!(vllm.command, expected);
        assert!(sglang.predict[0].ends_with("--model tab-po"));
        assert!(sglang.command.iter().any(|line| line.ends_with("--constrained-json-disable-any-whitespace")));
    }

    #[test]
    fn an_adapter_runs_at_the_next_rank_that_the_server_knows() {
        let served = Served { adapter: Some(("runs/a/adapter".into(), 24)), model: "org/base".into(), ..served() };
        let [vllm, sglang] = serve_commands(&served);
        assert_eq!(vllm.command[1], "--enable-lora --lora-modules tab-po=runs/a/adapter --max-lora-rank 32");
        assert!(sglang.predict[0].ends_with("--model base:tab-po"));
    }

    #[test]
    fn a_model_without_template_gets_the_plain_prompt() {
        let [vllm, sglang] = serve_commands(&Served { separator: Some("<|assistant|>".into()), ..served() });
        assert!(
            vllm.command[3].contains(r"--chat-template '{{ messages[-1]['\''content'\''] }}<|assistant|>'"),
            "{vllm:?}"
        );
        assert!(sglang.command[0].starts_with("printf %s '{{"), "{sglang:?}");
    }
}
