//! Models with random weights and true shapes, for tests and benches of what nobody can download.
//!
//! Weights are Gaussian with variance 1 / fan-in, so that activations keep their size; norms are
//! one. The vocabulary is that of the header, or a stand-in that spells bytes.

mod deck;
mod shapes;
mod stand_in;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use formats::gguf::{self, Metadata, Value};
use formats::{Bytes, TensorLayout};
use par::Pool;
use quant::QuantType;
use spec::ModelSpec;

use crate::entries::entries;
use crate::plan::add_type_keys;
use crate::target::{Policy, Target};
use crate::write::{Destination, Rows, Summary, summarise, write};
use crate::{Error, keys, vocabulary};
use deck::{Deck, Spread};
pub use shapes::names as shapes;

/// Longer than the header of any model: the largest vocabularies take a tenth of it.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// A made-up model.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic<'a> {
    pub source: Source<'a>,
    /// The same seed gives the same file.
    pub seed: u64,
    /// Replace a file that is there already.
    pub replace: bool,
}

/// Where its shape comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Shape(Shape<'a>),
    /// The keys and the table of tensors of a GGUF file, whose data need not be there.
    Header(&'a Path),
}

/// A known model's shape, as [`shapes`] lists them.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub name: &'a str,
    pub target: Target,
    /// As many as the model has if none.
    pub layers: Option<usize>,
    /// With the layer that predicts the token after next, where the model has one.
    pub next_token: bool,
}

/// Writes a made-up model to the GGUF file `out`. `progress` is told bytes written of bytes in all.
///
/// # Errors
/// [`Error::UnknownShape`]; what is wrong with a header, or with the output.
pub fn synthesize(
    what: &Synthetic<'_>,
    out: &Path,
    pool: &Pool,
    progress: &dyn Fn(u64, u64),
) -> Result<Summary, Error> {
    let destination = Destination { path: out, replace: what.replace };
    destination.check()?;
    let (metadata, wished) = match what.source {
        Source::Shape(shape) => of_shape(&shape)?,
        Source::Header(path) => of_header(path)?,
    };
    let mut decks = BTreeMap::new();
    for (layout, _) in &wished {
        let spread = Spread::of(layout);
        decks.entry(spread).or_insert_with(|| Deck::new(spread, what.seed, pool));
    }
    let hands: Vec<Hand<'_>> = wished
        .iter()
        .map(|(layout, _)| Hand {
            deck: &decks[&Spread::of(layout)],
            seed: deck::seed_of(what.seed, &layout.name),
            row_bytes: row_bytes(layout),
        })
        .collect();
    let layouts = wished.iter().map(|(layout, _)| layout.clone());
    let tensors: Vec<(TensorLayout, &dyn Rows)> =
        layouts.zip(hands.iter().map(|hand| hand as &dyn Rows)).collect();
    let bytes = write(&destination, &metadata, &tensors, pool, progress)?;
    Ok(summarise(bytes, wished.iter().map(|(layout, wished)| (layout, *wished))))
}

/// A tensor, and the type that it would have if its rows were whole blocks of it.
type Wished = (TensorLayout, QuantType);

fn of_shape(shape: &Shape<'_>) -> Result<(Metadata, Vec<Wished>), Error> {
    let config = shapes::config(shape)?;
    let spec = ModelSpec::from_config(&config)
        .map_err(|error| Error::Spec { path: shape.name.into(), source: error })?;
    let policy = Policy {
        target: shape.target,
        head: None,
        n_layers: spec.layers.len(),
        tied_head: spec.tied_head,
    };
    let mut metadata = keys::keys(Path::new(shape.name), &spec, &config)?;
    metadata.insert("tokenizer.chat_template", Value::Text(stand_in::CHAT_TEMPLATE.into()));
    vocabulary::add_vocab(&stand_in::vocabulary(spec.vocab), &mut metadata);
    add_type_keys(&policy, &mut metadata);
    let tensors = entries(&spec).into_iter().map(|entry| {
        let name = entry.gguf_name(&spec);
        let choice = policy.choose(&name, &entry.shape);
        (TensorLayout { name, quant: choice.quant, shape: entry.shape }, choice.wished)
    });
    Ok((metadata, tensors.collect()))
}

fn of_header(path: &Path) -> Result<(Metadata, Vec<Wished>), Error> {
    let of_io = |source| Error::Io { path: path.into(), doing: "read", source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(of_io)?;
    file.take(HEADER_BYTES_MAX).read_to_end(&mut bytes).map_err(of_io)?;
    let (metadata, layouts) = gguf::parse_header(path, &Bytes::from(bytes))?;
    Ok((metadata, layouts.into_iter().map(|layout| (layout.clone(), layout.quant)).collect()))
}

/// A tensor whose rows are dealt out of a deck.
struct Hand<'a> {
    deck: &'a Deck,
    seed: u64,
    row_bytes: usize,
}

impl Rows for Hand<'_> {
    fn unit(&self) -> usize {
        1
    }

    fn make(&self, first: usize, out: &mut [u8]) {
        for (i, row) in out.chunks_exact_mut(self.row_bytes).enumerate() {
            self.deck.deal(self.seed, (first + i) as u64, row);
        }
    }
}

fn row_bytes(layout: &TensorLayout) -> usize {
    let columns = layout.shape.last().copied().unwrap_or(1);
    layout.quant.row_bytes(columns).expect("the plan chose whole blocks")
}
