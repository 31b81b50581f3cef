//! Rewrites the parts of a template's source that `minijinja` interprets differently from Jinja.

use std::ops::Range;

/// The function that replaces the operator `%`.
pub(super) const MODULO: &str = "python_modulo__";
/// The function that replaces the operator `~`.
pub(super) const CONCATENATE: &str = "python_concatenate__";
/// The most operators that are rewritten in one expression.
const MOST_OPERATORS: usize = 64;

/// The source for `minijinja`. `{% generation %}` blocks of transformers, which mark what the assistant wrote,
/// become `{% with %}` blocks, because only their scope matters here; `%` and `~` become calls, because
/// `minijinja` supports `%` for numbers only and does not convert values to text as Python does.
pub(super) fn for_engine(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let found = match tag.get(..2) {
            Some("{{") => end_of_tag(tag, "}}"),
            Some("{%") => end_of_tag(tag, "%}"),
            Some("{#") => tag[2..].find("#}").map(|end| end + 2),
            _ => {
                out.push('{');
                rest = &tag[1..];
                continue;
            }
        };
        let Some(end) = found else {
            rest = tag;
            break;
        };
        let (inner, after) = (&tag[2..end], &tag[end + 2..]);
        let name = inner.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        rest = after;
        if tag.starts_with("{%") && name == "raw" {
            let length = end_of_raw(after);
            out.push_str(&tag[..end + 2 + length]);
            rest = &after[length..];
            continue;
        }
        out.push_str(&tag[..2]);
        out.push_str(&match (tag.as_bytes()[1], name) {
            (b'#', _) => inner.to_owned(),
            (b'%', "generation") => inner.replace("generation", "with"),
            (b'%', "endgeneration") => inner.replace("endgeneration", "endwith"),
            _ => with_calls(inner),
        });
        out.push_str(&tag[end..end + 2]);
    }
    out.push_str(rest);
    out
}

/// The position of the `close` that ends a tag, outside strings and brackets.
fn end_of_tag(tag: &str, close: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 2;
    while at < tag.len() {
        let rest = &tag[at..];
        if depth == 0 && rest.starts_with(close) {
            return Some(at);
        }
        match rest.as_bytes()[0] {
            b'\'' | b'"' => at += text_length(rest)?,
            b'(' | b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    None
}

/// Length in bytes of a quoted string, including its quotes.
fn text_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Bytes before the tag that ends a raw block, or of the whole text.
fn end_of_raw(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find("{%") {
        let start = from + at;
        let name = text[start + 2..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        if name.starts_with("endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A string, a number or a name that is not a keyword.
    Operand,
    Keyword,
    Open,
    Close,
    Operator,
}

struct Token {
    kind: Kind,
    range: Range<usize>,
}

const KEYWORDS: [&str; 22] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "set",
    "print",
    "recursive",
    "with",
    "call",
    "filter",
    "macro",
    "block",
    "include",
    "import",
    "from",
    "do",
    "return",
];

/// The tokens of an expression; `None` if it cannot be tokenised.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, length) = match first {
            '\'' | '"' => (Kind::Operand, text_length(rest)?),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            c if word(c) => {
                let mut length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                // The fraction of a number.
                let fraction = &rest[length..];
                if c.is_ascii_digit()
                    && fraction.starts_with('.')
                    && fraction[1..].starts_with(|c: char| c.is_ascii_digit())
                {
                    length += 1 + fraction[1..].find(|c| !word(c)).unwrap_or(fraction.len() - 1);
                }
                (if KEYWORDS.contains(&&rest[..length]) { Kind::Keyword } else { Kind::Operand }, length)
            }
            c => {
                let two = ["==", "!=", "<=", ">=", "//", "**"].iter().any(|operator| rest.starts_with(operator));
                (Kind::Operator, if two { 2 } else { c.len_utf8() })
            }
        };
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
    Some(tokens)
}

/// The inside of a tag with `%` and `~` rewritten as calls.
fn with_calls(inner: &str) -> String {
    let mut text = inner.to_owned();
    for (operator, function) in [("%", MODULO), ("~", CONCATENATE)] {
        if !text.contains(operator) {
            continue;
        }
        for _ in 0..MOST_OPERATORS {
            let Some(changed) = first_as_call(&text, operator, function) else { break };
            text = changed;
        }
    }
    text
}

/// The expression with the first such operator rewritten as a call; `None` if there is none, or if its
/// operands cannot be determined.
fn first_as_call(text: &str, operator: &str, function: &str) -> Option<String> {
    // Signs that control white space belong to the tag.
    let lead = usize::from(text.starts_with(['-', '+']));
    let end = text.len() - usize::from(text.len() > lead && text.ends_with(['-', '+']));
    let body = &text[lead..end];
    let tokens = tokens(body)?;
    let is = |index: usize, wanted: &str| {
        tokens.get(index).is_some_and(|token| token.kind == Kind::Operator && &body[token.range.clone()] == wanted)
    };
    let at = (0..tokens.len()).find(|&index| is(index, operator))?;
    let looser: &[&str] = &["+", "-", "~"];
    let tighter: &[&str] = &["*", "/", "//", "%", "**", ".", "|"];
    let ends_operand = |index: usize| matches!(tokens[index].kind, Kind::Operand | Kind::Close);

    // Extend to the left across operators that bind at least as tightly.
    let mut first = at;
    while first > 0 {
        let before = first - 1;
        match tokens[before].kind {
            Kind::Close => first = opening(&tokens, before)?,
            Kind::Operand => first = before,
            Kind::Operator => {
                let name = &body[tokens[before].range.clone()];
                let is_sign = matches!(name, "+" | "-") && !(before > 0 && ends_operand(before - 1));
                if !is_sign && (!tighter.contains(&name) || looser.contains(&name)) {
                    break;
                }
                first = before;
            }
            // A test is part of its operand.
            Kind::Keyword if is_test(&tokens, body, before) => first = before,
            Kind::Open | Kind::Keyword => break,
        }
    }
    // To the right take one operand, and for the looser operator everything that binds more tightly.
    let mut last = operand(&tokens, body, at + 1)?;
    while operator == "~"
        && tokens
            .get(last)
            .is_some_and(|token| token.kind == Kind::Operator && ["*", "/", "//"].contains(&&body[token.range.clone()]))
    {
        last = operand(&tokens, body, last + 1)?;
    }
    if first == at {
        return None;
    }
    let left = &body[tokens[first].range.start..tokens[at - 1].range.end];
    let right = &body[tokens[at + 1].range.start..tokens[last - 1].range.end];
    let before = &body[..tokens[first].range.start];
    let after = &body[tokens[last - 1].range.end..];
    Some(format!("{}{before}{function}({left}, {right}){after}{}", &text[..lead], &text[end..]))
}

/// Whether a keyword is `is`, or `not` after it.
fn is_test(tokens: &[Token], text: &str, at: usize) -> bool {
    let name = |index: usize| &text[tokens[index].range.clone()];
    name(at) == "is" || (name(at) == "not" && at > 0 && name(at - 1) == "is")
}

fn opening(tokens: &[Token], close: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (0..=close).rev().find(|&index| {
        match tokens[index].kind {
            Kind::Close => depth += 1,
            Kind::Open => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..tokens.len()).find(|&index| {
        match tokens[index].kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// The position after an operand with its signs, attributes, calls, items, powers and filters.
fn operand(tokens: &[Token], text: &str, at: usize) -> Option<usize> {
    let name = |index: usize| tokens.get(index).map(|token| &text[token.range.clone()]);
    let signed = |mut at: usize| {
        while matches!(name(at), Some("-" | "+")) {
            at += 1;
        }
        match tokens.get(at)?.kind {
            Kind::Operand => Some(at + 1),
            Kind::Open => Some(closing(tokens, at)? + 1),
            _ => None,
        }
    };
    let mut at = signed(at)?;
    loop {
        let Some(next) = tokens.get(at) else { return Some(at) };
        at = match (next.kind, name(at)) {
            (Kind::Open, Some("(" | "[")) => closing(tokens, at)? + 1,
            (Kind::Operator, Some("." | "|"))
                if tokens.get(at + 1).is_some_and(|token| token.kind != Kind::Operator) =>
            {
                at + 2
            }
            (Kind::Operator, Some("**")) => signed(at + 1)?,
            // Adjacent strings are one string.
            (Kind::Operand, Some(text)) if text.starts_with(['"', '\'']) => at + 1,
            (Kind::Keyword, Some("is")) => {
                let test = at + 1 + usize::from(name(at + 1) == Some("not"));
                tokens.get(test)?;
                // A test may have an argument, with or without brackets.
                match tokens.get(test + 1).map(|token| token.kind) {
                    Some(Kind::Operand) => test + 2,
                    Some(Kind::Open) => closing(tokens, test + 1)? + 1,
                    _ => test + 1,
                }
            }
            _ => return Some(at),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        for_engine(source).replace(MODULO, "mod").replace(CONCATENATE, "cat")
    }

    #[test]
    fn operators_become_calls_with_the_operands_that_jinja_gives_them() {
        for (source, expected) in [
            ("{{ 'a%s' % x }}", "{{ mod('a%s', x) }}"),
            ("{%- if loop.index0 % 2 == 0 -%}", "{%- if mod(loop.index0, 2) == 0 -%}"),
            ("{{ a + b * c % d - e }}", "{{ a + mod(b * c, d) - e }}"),
            ("{{ a % b % c }}", "{{ mod(mod(a, b), c) }}"),
            ("{{ -a % -b }}", "{{ mod(-a, -b) }}"),
            ("{{ '%s' % x|length + 1 }}", "{{ mod('%s', x|length) + 1 }}"),
            ("{{ f(a % b, c)[d % e] }}", "{{ f(mod(a, b), c)[mod(d, e)] }}"),
            ("{{ '%d %s' % (1, m['x'].y(2)) ~ z }}", "{{ cat(mod('%d %s', (1, m['x'].y(2))), z) }}"),
            ("{{ a ~ b ~ c }}", "{{ cat(cat(a, b), c) }}"),
            ("{{ a ~ b * c + d }}", "{{ cat(a, b * c) + d }}"),
            ("{{ x if a % 2 else y }}", "{{ x if mod(a, 2) else y }}"),
            ("{{- a ~ b -}}", "{{- cat(a, b) -}}"),
            ("{{ a % b ** -c ** (d).e ~ f }}", "{{ cat(mod(a, b ** -c ** (d).e), f) }}"),
            ("{{ {'a': 5 % 2} }}", "{{ {'a': mod(5, 2)} }}"),
            ("{{ a is odd ~ b is not divisibleby 3 ~ c }}", "{{ cat(cat(a is odd, b is not divisibleby 3), c) }}"),
        ] {
            assert_eq!(words(source), expected);
        }
    }

    #[test]
    fn long_expressions_take_no_stack() {
        let powers = " ** c".repeat(100_000);
        assert_eq!(words(&format!("{{{{ a % b{powers} }}}}")), format!("{{{{ mod(a, b{powers}) }}}}"));
    }

    #[test]
    fn everything_but_operators_stays() {
        for source in [
            "100% {{ '50%' }} {# a % b ~ c #}",
            "{% raw %}{{ a % b }}{% endraw %}",
            "{{ 'it''s 5% ~' }}",
            "{% if x %}",
            "{ % }{{ {'a': {'b': 1}} }}",
            "{{ unclosed % b",
            "{#}{{ a % b }}",
            "{#}{{ a % b }}#}",
            "{##}{#",
            "{{ a ~ b is }}",
            "{{ a ~ b is not }}",
            "{{ % b }}",
        ] {
            assert_eq!(words(source), source);
        }
        assert_eq!(words("{%- generation -%}x{%+ endgeneration %}"), "{%- with -%}x{%+ endwith %}");
    }
}
