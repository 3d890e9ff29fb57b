//! Writes GGUF files byte by byte, so that any of them can be wrong.

/// A GGUF file to be, and where it lies.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) n_tensors: u64,
    pub(crate) n_keys: u64,
    /// Name, type, bytes of the value.
    pub(crate) keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<Row>,
    pub(crate) data_bytes: usize,
}

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: Vec<u8>,
    pub(crate) n_dims: u32,
    pub(crate) dims: Vec<u64>,
    pub(crate) ty: u32,
    pub(crate) offset: u64,
}

impl Forge {
    /// A right file: `a` (2, 32) and `b` (32), both F32.
    pub(crate) fn valid() -> Self {
        let row = |name: &str, dims: &[u64], offset| Row {
            name: name.into(),
            n_dims: dims.len() as u32,
            dims: dims.into(),
            ty: 0,
            offset,
        };
        Forge {
            magic: *b"GGUF",
            version: 3,
            n_tensors: 2,
            n_keys: 1,
            keys: vec![(b"general.architecture".into(), 8, text("llama"))],
            tensors: vec![row("a", &[32, 2], 0), row("b", &[32], 256)],
            data_bytes: 384,
        }
    }

    pub(crate) fn key(&mut self, name: &str, ty: u32, value: Vec<u8>) {
        self.n_keys += 1;
        self.keys.push((name.into(), ty, value));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_keys.to_le_bytes());
        for (name, ty, value) in &self.keys {
            out.extend((name.len() as u64).to_le_bytes());
            out.extend(name);
            out.extend(ty.to_le_bytes());
            out.extend(value);
        }
        for row in &self.tensors {
            out.extend((row.name.len() as u64).to_le_bytes());
            out.extend(&row.name);
            out.extend(row.n_dims.to_le_bytes());
            out.extend(row.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(row.ty.to_le_bytes());
            out.extend(row.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32) + self.data_bytes, 0);
        out
    }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// The start of a list: its element type and its length.
pub(crate) fn list(element: u32, len: u64) -> Vec<u8> {
    [&element.to_le_bytes()[..], &len.to_le_bytes()].concat()
}
