//! A real model in another type.

use std::path::Path;

use formats::TensorLayout;
use par::Pool;
use quant::QuantType;
use spec::ModelSpec;

use crate::Error;
use crate::plan::{Output, plan};
use crate::target::{Policy, Target};
use crate::write::{Destination, Rows, Summary, summarise, write};

/// What a user chose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub target: Target,
    /// The type of the head; where none is given, what `target` makes of it.
    pub head: Option<QuantType>,
    /// Replace a file that is there already.
    pub replace: bool,
}

/// Writes the model at `source` to the GGUF file `out`, its matrices in the chosen type.
/// `progress` is told bytes written of bytes in all.
///
/// Vectors and routers stay in F32. Where rows are not whole blocks, a type of shorter blocks takes
/// the place of the chosen one, and the summary says so. Panics if `options.head` is a type that
/// GGUF has no number for.
///
/// # Errors
/// [`Error`] says what is wrong with the model or with the output; an old file at `out` then is as
/// it was.
pub fn quantize(
    source: &Path,
    out: &Path,
    options: &Options,
    pool: &Pool,
    progress: &dyn Fn(u64, u64),
) -> Result<Summary, Error> {
    assert!(options.head.is_none_or(|ty| ty.ggml_id().is_some()), "a type that GGUF can hold");
    let destination = Destination { path: out, replace: options.replace };
    // Asked once more before writing, but the answer is wanted before a long look at the source.
    destination.check()?;
    let checkpoint = formats::open(source)?;
    let spec = ModelSpec::from_config(&checkpoint.config)
        .map_err(|error| Error::Spec { path: source.into(), source: error })?;
    let policy = Policy {
        target: options.target,
        head: options.head,
        n_layers: spec.layers.len(),
        tied_head: spec.tied_head,
    };
    let plan = plan(&checkpoint, &spec, &policy)?;
    checkpoint.check_unchanged()?;
    let tensors: Vec<(TensorLayout, &dyn Rows)> =
        plan.outputs.iter().map(|output| (output.layout.clone(), output as &dyn Rows)).collect();
    let bytes = write(&destination, &plan.metadata, &tensors, pool, progress)?;
    Ok(summarise(bytes, plan.outputs.iter().map(|output| (&output.layout, output.wished))))
}

impl Rows for Output {
    fn unit(&self) -> usize {
        self.recipe.unit()
    }

    fn make(&self, first: usize, out: &mut [u8]) {
        let quant = self.layout.quant;
        let columns = self.layout.shape.last().copied().unwrap_or(1);
        let row_bytes = quant.row_bytes(columns).expect("the plan chose whole blocks");
        if let Some(bytes) = self.recipe.as_stored(quant) {
            out.copy_from_slice(&bytes[first * row_bytes..][..out.len()]);
            return;
        }
        let mut weights = vec![0.0; out.len() / row_bytes * columns];
        self.recipe.read(first, columns, &mut weights);
        quant::encode(quant, &weights, out);
    }
}
