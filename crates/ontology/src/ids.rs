//! Ids of labels: positions in the ontology file.

use serde::{Deserialize, Serialize};

macro_rules! label_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl $name {
            /// The position in the ontology's list.
            pub fn index(self) -> usize {
                usize::from(self.0)
            }
        }
    };
}

label_id!(
    /// An entity label: its position in [`Ontology::entities`](crate::Ontology::entities).
    EntityLabelId
);
label_id!(
    /// A sub-label: its position in [`EntityLabel::subtypes`](crate::EntityLabel::subtypes) of *its* label.
    SubtypeId
);
label_id!(
    /// A relation type: its position in [`Ontology::relations`](crate::Ontology::relations).
    RelationLabelId
);
