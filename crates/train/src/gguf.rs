//! The tensors of a dense GGUF model under their Hugging Face names.
//!
//! Of Llama, GGUF has the rows of queries and keys in pairs side by side, Hugging Face in halves;
//! here they go back. Rows are moved whole, so a quantised model stays as it is.

use formats::{Bytes, Error, Tensor, Weights};
use spec::{AttentionSpec, Dialect, ModelSpec, Slot};

/// A GGUF file as a Hugging Face folder would have it.
pub(crate) struct Renamed {
    inner: Box<dyn Weights>,
    spec: ModelSpec,
    /// Hugging Face's name, GGUF's, and what the rows are.
    names: Vec<(String, String, Rows)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rows {
    AsTheyAre,
    /// In pairs within each of so many heads.
    Paired {
        n_heads: usize,
    },
}

impl Renamed {
    /// `spec` is of the Hugging Face model, and dense.
    pub(crate) fn new(inner: Box<dyn Weights>, spec: &ModelSpec) -> Renamed {
        let named = |(name, _): (String, Vec<usize>)| {
            let place = spec.place(Dialect::HuggingFace, &name)?;
            let slot = spec.names.iter().find(|slot| slot.slot == place.slot)?;
            let gguf = slot.gguf.replace("{i}", &place.layer.to_string());
            let AttentionSpec::Gqa(gqa) = &spec.layers[0].attention else { return None };
            let rows = match place.slot {
                Slot::Query if spec.family == "llama" => Rows::Paired { n_heads: gqa.n_heads },
                Slot::Key if spec.family == "llama" => Rows::Paired { n_heads: gqa.n_kv_heads },
                _ => Rows::AsTheyAre,
            };
            Some((name, gguf, rows))
        };
        let tensors = convert::hugging_face_tensors(spec);
        let mut names: Vec<_> = tensors.into_iter().filter_map(named).collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Renamed { inner, spec: spec.clone(), names }
    }

    fn find(&self, name: &str) -> Option<&(String, String, Rows)> {
        let at = self.names.binary_search_by(|entry| entry.0.as_str().cmp(name)).ok()?;
        Some(&self.names[at])
    }
}

impl Weights for Renamed {
    fn names(&self) -> Vec<&str> {
        self.names.iter().map(|entry| entry.0.as_str()).collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.find(name).is_some_and(|entry| self.inner.contains(&entry.1))
    }

    fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let Some((name, gguf, rows)) = self.find(name) else {
            return self.inner.tensor(name);
        };
        let tensor = Tensor { name: name.clone(), ..self.inner.tensor(gguf)? };
        match rows {
            Rows::AsTheyAre => Ok(tensor),
            Rows::Paired { n_heads } => {
                let n_rows = tensor.shape.first().copied().unwrap_or(0);
                let head = n_rows / n_heads;
                // One that is misshapen is named by whoever looks at its shape.
                if head * n_heads != n_rows || head % 2 != 0 || head == 0 {
                    return Ok(tensor);
                }
                let row_bytes = tensor.bytes.len() / n_rows;
                let mut bytes = vec![0; tensor.bytes.len()];
                for (row, out) in bytes.chunks_exact_mut(row_bytes).enumerate() {
                    let (of, at) = (row / head, row % head);
                    let half = head / 2;
                    let from = of * head + 2 * (at % half) + at / half;
                    out.copy_from_slice(&tensor.bytes[from * row_bytes..][..row_bytes]);
                }
                Ok(Tensor { bytes: Bytes::from(bytes), origin: None, ..tensor })
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }
}

impl std::fmt::Debug for Renamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renamed").field("family", &self.spec.family).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_gguf_model_reads_as_the_folder_that_it_was_made_of() {
        let pool = par::Pool::new(1);
        for family in ["llama", "qwen2", "qwen3"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
            let original = formats::open(&folder.join(family)).unwrap();
            let out = tempfile::tempdir().unwrap();
            let file = out.path().join("a.gguf");
            let target = convert::Target::from_name("bf16").unwrap();
            let options = convert::Options { target, head: None, replace: false };
            convert::quantize(&folder.join(family), &file, &options, &pool, &|_, _| ()).unwrap();
            let spec = ModelSpec::from_config(&original.config).unwrap();
            let renamed = Renamed::new(formats::open(&file).unwrap().weights, &spec);
            assert_eq!(renamed.names(), original.weights.names(), "{family}");
            for name in original.weights.names() {
                let (found, expected) = (renamed.tensor(name), original.weights.tensor(name));
                let (found, expected) = (found.unwrap(), expected.unwrap());
                assert_eq!(found.shape, expected.shape, "{family}: {name}");
                assert_eq!(found.to_f32(), expected.to_f32(), "{family}: {name}");
            }
        }
    }
}
