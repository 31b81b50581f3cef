//! The short cut of the parser for answers of the usual form.

use tabpo_files::PlainJson;

use super::{Content, Field, Fields, Parser, entity_keys, relation_keys};
use crate::Parsed;

impl<'a> Parser<'_, 'a> {
    /// Reads an answer that has the keys of the format, in its order and each once, with strings and
    /// integers as values; `None` for any other text. What it reads may be wrong all the same:
    /// unknown labels, say, or arguments that name nothing.
    pub(super) fn plain_answer<const QUOTED: bool>(mut self, json: &mut PlainJson<'a, QUOTED>) -> Option<Parsed<'a>> {
        let keys = &self.ontology.keys;
        let lists = [keys.entities.as_str(), &keys.relations];
        let lists = if self.ontology.relations.is_empty() { &lists[..1] } else { &lists };
        let mut read = 0;
        json.ordered_object(lists, |json, list| {
            read += 1;
            // Items are some fifty bytes long.
            let items = json.remaining() / 48 + 1;
            if list == 0 {
                self.parsed.entities.reserve(items);
                json.list(|json| {
                    let byte = json.position();
                    self.entity(byte, Some(fields(json, entity_keys(keys))?));
                    Some(())
                })?;
                self.end_entities();
                return Some(());
            }
            self.parsed.relations.reserve(items);
            json.list(|json| {
                let byte = json.position();
                self.relation(byte, Some(fields(json, relation_keys(keys))?));
                Some(())
            })
        })?;
        (read == lists.len()).then(|| {
            self.references();
            self.parsed
        })
    }
}

/// The fields of an item whose keys come in the order of `known`.
fn fields<'a, const N: usize, const QUOTED: bool>(
    json: &mut PlainJson<'a, QUOTED>,
    known: [&str; N],
) -> Option<Fields<'a, N>> {
    let mut fields = [const { None }; N];
    json.ordered_object(&known, |json, index| {
        let byte = json.position();
        let content =
            if json.is_string() { Content::String(json.string()?) } else { Content::Integer(json.integer()?) };
        fields[index] = Some(Field { byte, content });
        Some(())
    })?;
    Some(fields)
}

#[cfg(test)]
mod tests {
    use tabpo_corpus::synthetic::ontology;

    use super::super::{parse, parse_any, parse_quoted};
    use super::*;

    const ANSWERS: [&str; 6] = [
        r#"{"entities":[],"relations":[]}"#,
        r#"{"entities":[{"id":"e1","text":"a b","type":"Task"},{"id":"e2","text":"c","type":"Method","occ":2}],"relations":[{"head":"e2","type":"Used-for","tail":"e1"}]}"#,
        r#"{"entities":[{"text":"a b","type":"Tool"},{"text":" ","type":"Task"}],"relations":[{"head":"a b","type":"Compare","tail":""}]}"#,
        r#" { "entities" : [ {"id": "e1", "text": "é", "type": 7, "occ": -1} ] , "relations": [ { "head": "e1", "tail": "e1" }, {} ] } "#,
        r#"{"entities":[{"id":"e1","text":"say \"so\"","type":"Task"},{"text":"x","type":"Task"}],"relations":[{"head":"e9","type":"x","tail":"e1"}]}"#,
        r#"{"entities":[{"text":"a","type":"Task"}]}"#,
    ];

    /// Whether the short cut was taken for the text itself and in a string.
    fn check(raw: &str) -> [bool; 2] {
        let expected = parse_any(raw, ontology());
        assert_eq!(parse(raw, ontology()), expected, "{raw}");
        let mut json = PlainJson::new(raw);
        let plain = Parser::new(ontology()).plain_answer(&mut json).filter(|_| json.is_at_end());
        let line = serde_json::to_string(raw).expect("a string can be written") + " ";
        let mut json = PlainJson::new(&line);
        let quoted = parse_quoted(&mut json, ontology());
        match &quoted {
            Some(parsed) => assert_eq!((parsed, json.is_at_end()), (&expected, true), "{raw}"),
            None => assert_eq!(json.string().as_deref(), Some(raw), "nothing may be read of {raw}"),
        }
        [plain.is_some(), quoted.is_some()]
    }

    #[test]
    fn it_is_taken_for_answers_of_the_usual_form() {
        let expected = [[true; 2], [true; 2], [true; 2], [true; 2], [true, false], [false; 2]];
        assert_eq!(ANSWERS.map(check), expected);
    }

    #[test]
    fn it_reads_what_the_parser_reads() {
        let pieces =
            ["", "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "0", "1.5", "é", "\"id\":", "\"e1\"", "null"];
        for answer in ANSWERS {
            let bounds: Vec<usize> = (0..=answer.len()).filter(|&byte| answer.is_char_boundary(byte)).collect();
            for &start in &bounds {
                for &end in bounds.iter().filter(|&&end| end >= start && end < start + 12) {
                    for piece in pieces {
                        check(&format!("{}{piece}{}", &answer[..start], &answer[end..]));
                    }
                }
            }
        }
    }
}
