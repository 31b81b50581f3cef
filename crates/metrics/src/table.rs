//! Rows of counts of many documents, equal rows stored once.

use rustc_hash::FxHashMap;

/// Rows of counts, one a document, in gold order.
///
/// Documents with equal rows share one stored row, so memory grows with the number of *different*
/// rows and 4 bytes a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountTable {
    columns: usize,
    /// The distinct rows, concatenated.
    rows: Vec<u32>,
    /// The row of each document.
    row_of: Vec<u32>,
}

/// Fills a [`CountTable`].
pub(crate) struct TableBuilder {
    columns: usize,
    numbers: FxHashMap<Box<[u32]>, u32>,
    row_of: Vec<u32>,
}

impl TableBuilder {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, numbers: FxHashMap::default(), row_of: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: &[u32]) {
        debug_assert_eq!(row.len(), self.columns);
        let number = self.numbers.get(row).copied().unwrap_or_else(|| {
            let number = self.numbers.len() as u32;
            self.numbers.insert(row.into(), number);
            number
        });
        self.row_of.push(number);
    }

    pub(crate) fn finish(self) -> CountTable {
        let mut rows = vec![0; self.columns * self.numbers.len()];
        for (row, number) in self.numbers {
            let start = self.columns * number as usize;
            rows[start..start + self.columns].copy_from_slice(&row);
        }
        CountTable { columns: self.columns, rows, row_of: self.row_of }
    }
}

impl CountTable {
    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.row_of.len()
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many different rows there are.
    pub(crate) fn distinct(&self) -> usize {
        self.rows.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The number of a document's row among the different ones.
    pub(crate) fn row_number(&self, document: usize) -> u32 {
        self.row_of[document]
    }

    /// A different row by its number.
    pub(crate) fn distinct_row(&self, number: usize) -> &[u32] {
        &self.rows[self.columns * number..self.columns * (number + 1)]
    }

    /// The row of a document.
    pub fn row(&self, document: usize) -> &[u32] {
        self.distinct_row(self.row_of[document] as usize)
    }

    /// How many documents have each different row.
    pub(crate) fn multiplicities(&self) -> Vec<u32> {
        let mut counts = vec![0; self.distinct()];
        for &row in &self.row_of {
            counts[row as usize] += 1;
        }
        counts
    }

    /// The sum over all documents.
    pub fn pooled(&self) -> Vec<u64> {
        let mut sum = vec![0; self.columns];
        for (number, count) in self.multiplicities().into_iter().enumerate() {
            for (sum, &value) in sum.iter_mut().zip(self.distinct_row(number)) {
                *sum += u64::from(count) * u64::from(value);
            }
        }
        sum
    }

    /// Rows of several tables over the same documents side by side.
    ///
    /// Only the named columns of each table are taken.
    pub(crate) fn side_by_side(tables: &[CountTable], columns: &[usize]) -> CountTable {
        let documents = tables.first().map_or(0, CountTable::documents);
        let mut numbers: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
        let mut rows = Vec::new();
        let mut builder_rows: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
        let mut row_of = Vec::with_capacity(documents);
        let mut combination = Vec::with_capacity(tables.len());
        let width = tables.len() * columns.len();
        for document in 0..documents {
            combination.clear();
            combination.extend(tables.iter().map(|table| table.row_number(document)));
            if let Some(&number) = numbers.get(&combination) {
                row_of.push(number);
                continue;
            }
            let row: Box<[u32]> =
                tables.iter().flat_map(|table| columns.iter().map(|&column| table.row(document)[column])).collect();
            let next = builder_rows.len() as u32;
            let number = *builder_rows.entry(row.clone()).or_insert_with(|| {
                rows.extend_from_slice(&row);
                next
            });
            numbers.insert(combination.clone(), number);
            row_of.push(number);
        }
        CountTable { columns: width, rows, row_of }
    }

    /// Rows of several tables over the same documents added up: the seeds of one system.
    pub(crate) fn sum(tables: &[&CountTable]) -> CountTable {
        let (documents, columns) = tables.first().map_or((0, 0), |table| (table.documents(), table.columns));
        let mut builder = TableBuilder::new(columns);
        let mut row = vec![0; columns];
        for document in 0..documents {
            row.fill(0);
            for table in tables {
                for (sum, &value) in row.iter_mut().zip(table.row(document)) {
                    *sum += value;
                }
            }
            builder.push(&row);
        }
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[u32; 2]]) -> CountTable {
        let mut builder = TableBuilder::new(2);
        for row in rows {
            builder.push(row);
        }
        builder.finish()
    }

    #[test]
    fn equal_rows_are_stored_once() {
        let table = table(&[[1, 2], [3, 4], [1, 2], [0, 0]]);
        assert_eq!(table.distinct(), 3);
        assert_eq!(table.multiplicities(), [2, 1, 1]);
        assert_eq!(table.row(2), [1, 2]);
        assert_eq!(table.pooled(), [5, 8]);
    }

    #[test]
    fn tables_join_and_add_by_document() {
        let (a, b) = (table(&[[1, 2], [3, 4], [1, 2]]), table(&[[5, 6], [7, 8], [5, 9]]));
        let joined = CountTable::side_by_side(&[a.clone(), b.clone()], &[0]);
        assert_eq!((joined.row(0), joined.row(1), joined.row(2)), (&[1, 5][..], &[3, 7][..], &[1, 5][..]));
        assert_eq!(joined.distinct(), 2);
        let sum = CountTable::sum(&[&a, &b]);
        assert_eq!((sum.row(0), sum.row(2)), (&[6, 8][..], &[6, 11][..]));
    }
}
