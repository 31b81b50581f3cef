//! Writes a safetensors file piece by piece, so that not even one tensor needs to be in memory as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// A tensor that will be written.
#[derive(Clone, Debug)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

impl Declaration {
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A file whose tensors are written in any order, each from its beginning to its end.
pub(super) struct TensorWriter {
    file: File,
    /// For every tensor, where it goes on and where it ends.
    places: BTreeMap<String, (u64, u64)>,
}

impl TensorWriter {
    /// Creates a file with the header of these tensors. They lie in it as the library places them: by the size of their
    /// elements, the largest first, so that every tensor is aligned; then by name.
    pub(super) fn create(path: &Path, mut tensors: Vec<Declaration>) -> io::Result<Self> {
        tensors.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name)));
        let mut header = Map::new();
        // transformers refuses files that do not name the framework whose layout they have.
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        let mut places = BTreeMap::new();
        let mut start = 0;
        for tensor in tensors {
            let end = start + tensor.bytes();
            let dtype = serde_json::to_value(tensor.dtype).map_err(io::Error::other)?;
            let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end]});
            header.insert(tensor.name.clone(), entry);
            places.insert(tensor.name, (start as u64, end as u64));
            start = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = File::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let data = 8 + header.len() as u64;
        for (position, end) in places.values_mut() {
            *position += data;
            *end += data;
        }
        Ok(Self { file, places })
    }

    /// Writes the next bytes of a tensor.
    ///
    /// # Panics
    /// If the tensor was not declared, or is shorter.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (position, end) = self.places.get_mut(name).expect("only declared tensors are written");
        self.file.seek(SeekFrom::Start(*position))?;
        *position += bytes.len() as u64;
        assert!(*position <= *end, "{name} is longer than declared");
        self.file.write_all(bytes)
    }

    /// Ends the file.
    ///
    /// # Panics
    /// If a tensor was not written to its end.
    pub(super) fn finish(self) -> io::Result<()> {
        for (name, (position, end)) in &self.places {
            assert_eq!(position, end, "{name} is shorter than declared");
        }
        self.file.sync_all()
    }
}
