//! The grammars sent to servers, tested with the library that they use, and GBNF with a reader of its own.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities};
use llguidance::{Matcher, ParserFactory};
use tabpo_corpus::{Level, Unit};
use tabpo_ontology::{AnswerGrammar, Arguments, GrammarForm, Ontology};

/// Whether an answer follows a grammar to its end, byte by byte.
fn accepts(grammar: &str, answer: &str) -> bool {
    let environment = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).unwrap();
    factory.quiet();
    let mut matcher = Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())));
    assert_eq!(matcher.get_error(), None, "{grammar}");
    let tokens: Vec<u32> = answer.bytes().map(u32::from).collect();
    let whole = matcher.try_consume_tokens(&tokens).unwrap() == tokens.len();
    whole && matcher.is_accepting().unwrap()
}

fn corpus() -> tabpo_synthetic::SyntheticCorpus {
    let sizes = tabpo_synthetic::SyntheticConfig { sft: 1, gold: 40, validation: 1, test: 1, ..Default::default() };
    tabpo_synthetic::generate(&sizes)
}

/// The ontology of the corpus with ids, and with arguments by text.
fn ontologies() -> [Ontology; 2] {
    Arguments::ALL.map(|arguments| Ontology { arguments, ..tabpo_synthetic::ontology().clone() })
}

#[test]
fn gold_answers_follow_the_grammar_and_others_do_not() {
    ontologies().iter().for_each(only_gold_answers_follow);
}

fn only_gold_answers_follow(ontology: &Ontology) {
    let corpus = corpus();
    let mut tried = 0;
    for unit in corpus.gold.iter().flat_map(|document| Unit::all(document, Level::Sentence)) {
        let grammar = AnswerGrammar::whole(GrammarForm::Lark, ontology, unit.text(), &unit.words());
        let gold = tabpo_answer::gold(&unit);
        let text = tabpo_answer::render(&gold, ontology).text;
        assert!(accepts(&grammar, &text), "{text}\n{grammar}");
        assert!(!accepts(&grammar, &text[..text.len() - 1]));
        assert!(!accepts(&grammar, &format!("{text} ")));
        let Some(first) = gold.entities.first() else { continue };
        tried += 1;
        let invented = text.replacen(&format!("\"text\":\"{}\"", first.text), "\"text\":\"xyzzy\"", 1);
        let empty = text.replacen(&format!("\"text\":\"{}\"", first.text), "\"text\":\"\"", 1);
        let label = &ontology.entity(first.label).name;
        let unknown = text.replacen(&format!("\"type\":\"{label}\""), "\"type\":\"Thing\"", 1);
        let mut wrong = vec![invented, empty, unknown];
        match ontology.arguments {
            Arguments::Ids => wrong.push(text.replacen("\"id\":\"e1\"", "\"id\":\"e9\"", 1)),
            Arguments::Texts => {
                wrong
                    .extend(text.contains("\"head\":\"").then(|| text.replacen("\"head\":\"", "\"head\":\"xyzzy ", 1)));
            }
        }
        for wrong in wrong {
            assert_ne!(wrong, text);
            assert!(!accepts(&grammar, &wrong), "{wrong}");
        }
    }
    assert!(tried > 20, "{tried}");
}

/// A reader of GBNF as llama.cpp's guide describes it, as far as these grammars use it.
mod gbnf {
    use std::collections::{BTreeSet, HashMap};

    /// What a rule is made of.
    #[derive(Debug)]
    enum Part {
        Character { ranges: Vec<(char, char)>, negated: bool },
        Rule(String),
        Group(Vec<Vec<Part>>),
        Repeated { part: Box<Part>, least: usize, once: bool },
    }

    /// Whether a text follows the grammar from its rule `root` to the end.
    pub(super) fn accepts(grammar: &str, text: &str) -> bool {
        let rules: HashMap<&str, Vec<Vec<Part>>> = grammar
            .lines()
            .map(|line| {
                let (name, body) = line.split_once(" ::= ").expect("a rule");
                assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
                let characters: Vec<char> = body.chars().collect();
                let (mut at, mut alternatives) = (0, Vec::new());
                read(&characters, &mut at, &mut alternatives);
                assert_eq!(at, characters.len(), "{line}");
                (name, alternatives)
            })
            .collect();
        let text: Vec<char> = text.chars().collect();
        follow(&rules["root"], &rules, &text, 0).contains(&text.len())
    }

    /// Reads alternatives up to a closing bracket or the end.
    fn read(body: &[char], at: &mut usize, alternatives: &mut Vec<Vec<Part>>) {
        let mut sequence = Vec::new();
        while let Some(&character) = body.get(*at) {
            match character {
                ' ' => *at += 1,
                ')' => break,
                '|' => {
                    *at += 1;
                    alternatives.push(std::mem::take(&mut sequence));
                }
                '(' => {
                    *at += 1;
                    let mut group = Vec::new();
                    read(body, at, &mut group);
                    assert_eq!(body[*at], ')');
                    *at += 1;
                    sequence.push(Part::Group(group));
                }
                '"' => {
                    *at += 1;
                    while body[*at] != '"' {
                        let character = escaped(body, at);
                        sequence.push(Part::Character { ranges: vec![(character, character)], negated: false });
                    }
                    *at += 1;
                }
                '[' => {
                    *at += 1;
                    let negated = body[*at] == '^';
                    *at += usize::from(negated);
                    let mut ranges = Vec::new();
                    while body[*at] != ']' {
                        let first = escaped(body, at);
                        let last = if body[*at] == '-' {
                            *at += 1;
                            escaped(body, at)
                        } else {
                            first
                        };
                        ranges.push((first, last));
                    }
                    *at += 1;
                    sequence.push(Part::Character { ranges, negated });
                }
                '?' | '*' | '+' => {
                    *at += 1;
                    // These grammars repeat groups and classes only, so what is repeated is the part before.
                    let part = Box::new(sequence.pop().expect("something to repeat"));
                    sequence.push(Part::Repeated {
                        part,
                        least: usize::from(character == '+'),
                        once: character == '?',
                    });
                }
                _ => {
                    let from = *at;
                    while body.get(*at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '-') {
                        *at += 1;
                    }
                    assert!(*at > from, "{character}");
                    sequence.push(Part::Rule(body[from..*at].iter().collect()));
                }
            }
        }
        alternatives.push(sequence);
    }

    /// A character of a literal or a class.
    fn escaped(body: &[char], at: &mut usize) -> char {
        let mut next = || {
            *at += 1;
            body[*at - 1]
        };
        match next() {
            '\\' => match next() {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'x' => {
                    let digits: String = [next(), next()].iter().collect();
                    char::from(u8::from_str_radix(&digits, 16).expect("two digits"))
                }
                same @ ('"' | '\\' | '[' | ']') => same,
                other => panic!("llama.cpp has no escape \\{other}"),
            },
            plain => plain,
        }
    }

    /// Where a text can be followed to from a place.
    fn follow(
        alternatives: &[Vec<Part>],
        rules: &HashMap<&str, Vec<Vec<Part>>>,
        text: &[char],
        from: usize,
    ) -> BTreeSet<usize> {
        let mut ends = BTreeSet::new();
        for sequence in alternatives {
            let mut places = BTreeSet::from([from]);
            for part in sequence {
                places = places.iter().flat_map(|&place| step(part, rules, text, place)).collect();
            }
            ends.extend(places);
        }
        ends
    }

    fn step(part: &Part, rules: &HashMap<&str, Vec<Vec<Part>>>, text: &[char], from: usize) -> BTreeSet<usize> {
        match part {
            Part::Character { ranges, negated } => {
                let fits = |c: char| ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != *negated;
                text.get(from).filter(|c| fits(**c)).map(|_| from + 1).into_iter().collect()
            }
            Part::Rule(name) => follow(&rules[name.as_str()], rules, text, from),
            Part::Group(alternatives) => follow(alternatives, rules, text, from),
            Part::Repeated { part, least, once } => {
                let mut ends: BTreeSet<usize> = (*least == 0).then_some(from).into_iter().collect();
                let mut places = step(part, rules, text, from);
                while !places.is_empty() {
                    let new: Vec<usize> = places.iter().copied().filter(|place| ends.insert(*place)).collect();
                    places = if *once {
                        BTreeSet::new()
                    } else {
                        new.iter().flat_map(|&p| step(part, rules, text, p)).collect()
                    };
                }
                ends
            }
        }
    }
}

/// The places of a JSON text outside its strings.
fn between_strings(text: &str) -> Vec<usize> {
    let (mut inside, mut after_backslash, mut places) = (false, false, Vec::new());
    for (place, byte) in text.bytes().enumerate() {
        if !inside {
            places.push(place);
        }
        match byte {
            _ if after_backslash => after_backslash = false,
            b'\\' if inside => after_backslash = true,
            b'"' => inside = !inside,
            _ => {}
        }
    }
    places
}

/// The grammars of a unit in one form: of its text, and of any text.
fn both(form: GrammarForm, unit: &Unit, ontology: &Ontology) -> [String; 2] {
    let whole = AnswerGrammar::whole(form, ontology, unit.text(), &unit.words());
    [whole, AnswerGrammar::ungrounded(form, ontology)]
}

/// Whether an answer follows a grammar of a form to its end.
fn accepts_in(form: GrammarForm, grammar: &str, answer: &str) -> bool {
    match form {
        GrammarForm::Lark => accepts(grammar, answer),
        GrammarForm::Gbnf => gbnf::accepts(grammar, answer),
    }
}

#[test]
fn no_grammar_has_room_for_blanks_between_the_parts_of_an_answer() {
    ontologies().iter().for_each(no_room_for_blanks);
}

fn no_room_for_blanks(ontology: &Ontology) {
    let corpus = corpus();
    let units = corpus.gold.iter().take(4).flat_map(|document| Unit::all(document, Level::Sentence));
    for unit in units.take(6) {
        let text = tabpo_answer::render(&tabpo_answer::gold(&unit), ontology).text;
        for form in GrammarForm::ALL {
            for grammar in both(form, &unit, ontology) {
                assert!(accepts_in(form, &grammar, &text), "{text}\n{grammar}");
                for blank in [" ", "\n"] {
                    for place in between_strings(&text) {
                        let wider = format!("{}{blank}{}", &text[..place], &text[place..]);
                        assert!(serde_json::from_str::<serde_json::Value>(&wider).is_ok(), "{wider}");
                        assert!(!accepts_in(form, &grammar, &wider), "{wider}\n{grammar}");
                    }
                }
            }
        }
    }
}

#[test]
fn both_forms_of_a_grammar_accept_the_same_answers() {
    ontologies().iter().for_each(both_forms_accept_the_same);
}

fn both_forms_accept_the_same(ontology: &Ontology) {
    let corpus = corpus();
    let mut tried = 0;
    for unit in corpus.gold.iter().flat_map(|document| Unit::all(document, Level::Sentence)).take(40) {
        let gold = tabpo_answer::gold(&unit);
        let text = tabpo_answer::render(&gold, ontology).text;
        let mut answers = vec![text.clone(), text[..text.len() - 1].to_owned(), r#"{"entities":[]}"#.to_owned()];
        if let Some(first) = gold.entities.first() {
            let of =
                |new: &str| text.replacen(&format!("\"text\":\"{}\"", first.text), &format!("\"text\":\"{new}\""), 1);
            answers.extend(["xyzzy", "", " ", "a\\n\\u00e9b"].map(of));
            answers.push(text.replacen("\"}", "\",\"occ\":12}", 1));
            answers.push(text.replacen("\"}", "\",\"occ\":012}", 1));
            tried += 1;
        }
        let [lark, gbnf] = GrammarForm::ALL.map(|form| both(form, &unit, ontology));
        for (lark, gbnf) in lark.iter().zip(&gbnf) {
            for answer in &answers {
                assert_eq!(accepts(lark, answer), gbnf::accepts(gbnf, answer), "{answer}\n{lark}\n{gbnf}");
            }
        }
    }
    assert!(tried > 10, "{tried}");
}
