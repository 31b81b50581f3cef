//! Writing brat's `annotation.conf`.

use std::fmt::Write;

use crate::{Constraint, EntityLabelId, Ontology};

/// A name that brat accepts: letters, digits, `-` and `_`; anything else becomes `_`.
pub fn brat_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

impl Ontology {
    /// The ontology as brat's `annotation.conf`, with the names that data files use.
    ///
    /// A label with sub-labels is a type that cannot be annotated itself (unless it is one of its own
    /// sub-labels) and has them nested below it. Domain and range are written only where they are
    /// hard constraints, because brat enforces them. Descriptions are left out.
    pub fn to_brat(&self) -> String {
        let mut text = String::from("[entities]\n");
        for label in self.entity_ids() {
            let name = self.entity_data_name(label);
            let own = self.entity(label).subtypes.iter().any(|subtype| subtype.name == name);
            let barred = if own || self.entity(label).subtypes.is_empty() { "" } else { "!" };
            line(&mut text, format_args!("{barred}{}", brat_name(name)));
            for subtype in self.subtype_ids(label).filter(|&subtype| self.subtype(label, subtype).name != name) {
                line(&mut text, format_args!("\t{}", brat_name(&self.mention_data_name(label, Some(subtype)))));
            }
        }
        text.push_str("\n[relations]\n");
        for id in self.relation_ids() {
            let label = self.relation(id);
            let types = |ids: &[EntityLabelId]| match ids {
                [_, ..] if label.constraint == Constraint::Hard => {
                    ids.iter().map(|&id| brat_name(self.entity_data_name(id))).collect::<Vec<_>>().join("|")
                }
                _ => "<ENTITY>".to_owned(),
            };
            let symmetric = if label.symmetric { ", <REL-TYPE>:symmetric" } else { "" };
            let (name, head, tail) =
                (brat_name(self.relation_data_name(id)), types(&label.domain), types(&label.range));
            line(&mut text, format_args!("{name}\tArg1:{head}, Arg2:{tail}{symmetric}"));
        }
        // brat has to be told that mentions may overlap.
        text.push_str("<OVERLAP>\tArg1:<ENTITY>, Arg2:<ENTITY>, <OVL-TYPE>:<ANY>\n\n[events]\n\n[attributes]\n");
        text
    }
}

fn line(text: &mut String, content: std::fmt::Arguments) {
    writeln!(text, "{content}").expect("writing to a string succeeds");
}
