//! The names of labels in data files.
//!
//! Most annotation formats have one name per mention. A label with sub-labels is then written as its
//! sub-label's name where that is unambiguous, and as `Label/sub-label` where it is not.

use crate::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

impl Ontology {
    /// The label and sub-label that the single name of a data file stands for: a label or alias, a
    /// sub-label's name that only one label has, or `Label/sub-label`. The sub-label is `None` for a label
    /// without sub-labels, and for a label with them where the name leaves the sub-label open.
    pub fn mention_in_data(&self, name: &str) -> Option<(EntityLabelId, Option<SubtypeId>)> {
        if let Some(label) = self.entity_in_data(name) {
            return Some((label, self.subtype_named(label, name)));
        }
        let mut holders = self.entity_ids().filter_map(|label| Some((label, self.subtype_named(label, name)?)));
        if let (Some((label, subtype)), None) = (holders.next(), holders.next()) {
            return Some((label, Some(subtype)));
        }
        name.match_indices('/').find_map(|(slash, _)| {
            let label = self.entity_in_data(&name[..slash])?;
            Some((label, Some(self.subtype_named(label, &name[slash + 1..])?)))
        })
    }

    /// The single name that data files use for a label with its sub-label; the inverse of
    /// [`Ontology::mention_in_data`].
    pub fn mention_data_name(&self, label: EntityLabelId, subtype: Option<SubtypeId>) -> String {
        let label_name = self.entity_data_name(label);
        let Some(subtype) = subtype else { return label_name.to_owned() };
        let name = &self.subtype(label, subtype).name;
        if self.mention_in_data(name) == Some((label, Some(subtype))) {
            name.clone()
        } else {
            format!("{label_name}/{name}")
        }
    }

    /// What data files call an entity label: its first alias, or its name if it has none.
    pub fn entity_data_name(&self, label: EntityLabelId) -> &str {
        let label = self.entity(label);
        label.aliases.first().unwrap_or(&label.name)
    }

    /// What data files call a relation type: its first alias, or its name if it has none.
    pub fn relation_data_name(&self, label: RelationLabelId) -> &str {
        let label = self.relation(label);
        label.aliases.first().unwrap_or(&label.name)
    }

    /// Every name that a data file may use for a mention, for error messages.
    pub fn mention_data_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for label in self.entity_ids() {
            names.push(self.entity(label).name.clone());
            names.extend(self.entity(label).aliases.iter().cloned());
            names.extend(self.subtype_ids(label).map(|subtype| self.mention_data_name(label, Some(subtype))));
        }
        names
    }
}
