//! Texts on which tokenizers differ if they differ at all.

use crate::folder::FolderError;
use crate::tokenizer::Tokenizer;

/// Words, blanks, digits, signs, scripts, composed and decomposed letters, code and JSON.
const TEXTS: [&str; 24] = [
    "",
    "a",
    " a  b   c    d",
    "  \n\n \t\t x\r\n\r\n  y \n",
    "The model's parameters aren't what WE'LL use; I'd say they've HE'S.",
    "3 33 333 3333 33333 333333 3.14 1,000,000 2e-5 0x1F v1.2.3",
    "foo_bar fooBar FOO-BAR foo.bar foo/bar foo\\bar #tag @name $x %y",
    "!!! ... ?! --- ___ (([[{{}}]])) <|>|<> \"'`´",
    "Grüße aus München: äöüß ÄÖÜ – “quotes” ‘single’ …",
    "e\u{301}cole cafe\u{301} A\u{30a}ngstro\u{308}m n\u{303}",
    "école café Ångström ñ",
    "Привет, мир! Як справи? Ѐ",
    "日本語のテキスト、中文文本。한국어 텍스트",
    "नमस्ते दुनिया ไทย עברית العربية",
    "🚀 👩\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈 ✅ \u{1f9d1}\u{1f3fd}",
    "x² ½ № ① Ⅷ ﬁ ﬂ ａｂｃ １２３",
    "zero\u{200b}width\u{a0}no-break\u{2009}thin\u{feff}mark",
    "{\"entities\":[{\"id\":\"e1\",\"text\":\"a \\\"b\\\"\\n\",\"type\":\"Method\"}],\"relations\":[]}",
    "fn main() {\n    let x: Vec<u32> = (0..10).map(|i| i * 2).collect();\n\tprintln!(\"{x:?}\");\n}\n",
    "def f(x):\n    return [i ** 2 for i in range(x) if i % 2 == 0]  # squares\n",
    "https://example.org/a?b=c&d=e#f mailto:someone@example.org",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<s></s><unk><pad><|endoftext|><|im_start|>user\n<|im_end|>[INST] x [/INST]<0x0A>",
    "\u{0}\u{1}\u{7f}\u{85}\u{2028}",
];

/// The first text for which two tokenizers give different tokens, alone or around a control token.
pub(super) fn first_difference(ours: &Tokenizer, theirs: &Tokenizer) -> Result<Option<String>, FolderError> {
    let around_controls = ours
        .added_spellings()
        .into_iter()
        .flat_map(|token| [format!("a{token}b"), format!("x {token} y"), format!("{token}\n{token}12 {token}  z")]);
    for text in TEXTS.into_iter().map(str::to_owned).chain(around_controls) {
        let same =
            ours.encode(&text)? == theirs.encode(&text)? && ours.encode_bare(&text)? == theirs.encode_bare(&text)?;
        if !same {
            return Ok(Some(text));
        }
    }
    Ok(None)
}
