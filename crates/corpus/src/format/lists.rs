//! Lists of lists as they stand in JSON, read into one.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, SeqAccess, Visitor},
};
use tabpo_files::PlainJson;

/// Lists, kept one behind the other: a corpus has many short ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists<T> {
    items: Vec<T>,
    /// Where each list ends in `items`.
    ends: Vec<usize>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self::empty(0)
    }
}

impl<T> Lists<T> {
    /// Lists without items.
    pub(crate) fn empty(count: usize) -> Self {
        Self { items: Vec::new(), ends: vec![0; count] }
    }

    /// Reads lists; `item` reads one item.
    pub(crate) fn plain<'a>(
        json: &mut PlainJson<'a>,
        mut item: impl FnMut(&mut PlainJson<'a>) -> Option<T>,
    ) -> Option<Self> {
        // An item is some thirty bytes long, or shorter.
        let mut all = Self { items: Vec::with_capacity(json.remaining() / 32), ends: Vec::with_capacity(16) };
        json.list(|json| {
            json.list(|json| item(json).map(|item| all.items.push(item)))?;
            all.ends.push(all.items.len());
            Some(())
        })?;
        Some(all)
    }

    /// How many lists there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The items of all lists.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// The lists in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[T]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.items[std::mem::replace(&mut start, end)..end])
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lists<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Outer<T> {
            type Value = Lists<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut lists: A) -> Result<Lists<T>, A::Error> {
                let mut all = Lists::default();
                while lists.next_element_seed(Inner(&mut all.items))?.is_some() {
                    all.ends.push(all.items.len());
                }
                Ok(all)
            }
        }

        deserializer.deserialize_seq(Outer(PhantomData))
    }
}

/// Reads one list behind those that were read before.
struct Inner<'a, T>(&'a mut Vec<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Inner<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Inner<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            self.0.push(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_ends() {
        let lists: Lists<u8> = serde_json::from_str("[[1, 2], [], [3]]").expect("three lists");
        assert_eq!(lists.iter().collect::<Vec<_>>(), [&[1, 2][..], &[], &[3]]);
        assert_eq!((lists.len(), lists.items()), (3, &[1, 2, 3][..]));
        assert_eq!(Lists::<u8>::empty(2).iter().collect::<Vec<_>>(), [&[] as &[u8]; 2]);
        let error = serde_json::from_str::<Lists<u8>>("[[1], 2]").expect_err("2 is no list");
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }
}
