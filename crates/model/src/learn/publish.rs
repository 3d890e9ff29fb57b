//! New weights for the decoder that serves: the same panels, in f32.

use formats::{Bytes, Tensor};
use panels::{Panels, View};
use par::Pool;
use quant::QuantType;

use super::book::{Adapter, Base, Book, Matrix, Vector};
use super::dense::Dense;
use super::gqa::Gqa;
use super::layer::{Attention, Ffn, Layer};
use super::mla::{Mla, Query};
use super::moe::Moe;
use crate::attention;
use crate::decoder;
use crate::experts::Expert;
use crate::ffn;
use crate::linear::{self, Linear, Room};

/// Where weights come from.
#[derive(Clone, Copy)]
pub(super) struct Press<'a> {
    pub pool: &'a Pool,
    pub book: &'a Book,
    pub room: &'a Room,
}

impl Press<'_> {
    pub(super) fn layer(self, to: &mut decoder::Layer, from: &Layer) {
        self.vector(&mut to.attention_norm, &from.attention_norm);
        self.vector(&mut to.ffn_norm, &from.ffn_norm);
        match (&mut to.attention, &from.attention) {
            (attention::Attention::Gqa(to), Attention::Gqa(from)) => self.gqa(to, from),
            (attention::Attention::Mla(to), Attention::Mla(from)) => self.mla(to, from),
            _ => unreachable!("both are of one model"),
        }
        match (&mut to.ffn, &from.ffn) {
            (ffn::Ffn::Dense(to), Ffn::Dense(from)) => self.dense(to, from),
            (ffn::Ffn::Moe(to), Ffn::Moe(from)) => self.moe(to, from),
            _ => unreachable!("both are of one model"),
        }
    }

    fn gqa(self, to: &mut attention::gqa::Gqa, from: &Gqa) {
        let matrices = [&from.query, &from.key, &from.value, &from.out];
        let panels = [&mut to.query, &mut to.key, &mut to.value, &mut to.out];
        panels.into_iter().zip(matrices).for_each(|(to, from)| self.matrix(to, from));
        if let (Some(to), Some(from)) = (&mut to.biases, &from.biases) {
            to.iter_mut().zip(from).for_each(|(to, from)| self.vector(to, from));
        }
        if let (Some(to), Some(from)) = (&mut to.norms, &from.norms) {
            to.iter_mut().zip(from).for_each(|(to, from)| self.vector(to, from));
        }
    }

    fn mla(self, to: &mut attention::mla::Mla, from: &Mla) {
        match (&mut to.query, &from.query) {
            (attention::mla::Query::Whole(to), Query::Whole(from)) => self.matrix(to, from),
            (attention::mla::Query::Ranked { down, norm, up }, Query::Ranked(from)) => {
                self.matrix(down, &from.down);
                self.vector(norm, &from.norm);
                self.matrix(up, &from.up);
            }
            _ => unreachable!("both are of one model"),
        }
        self.matrix(&mut to.latent_down, &from.latent_down);
        self.vector(&mut to.latent_norm, &from.latent_norm);
        self.matrix(&mut to.out, &from.out);
        self.latent_up((&mut to.key_up, &mut to.value_up), &from.latent_up);
    }

    /// Of each head, the latent-to-key rows turned, then the latent-to-value rows.
    fn latent_up(self, (keys, values): (&mut [Linear], &mut [Linear]), from: &Matrix) {
        let mut row = 0;
        for (key, value) in keys.iter_mut().zip(values) {
            let (key_rows, value_rows) = (key.cols(), value.rows());
            let (key_from, value_from) = (row, row + key_rows);
            row += key_rows + value_rows;
            if let Base::Learned(id) = from.base {
                let w = View::rows(&self.book.get(id).value, from.cols);
                self.fill(&mut key.w, w.from(key_from, 0).turned());
                self.fill(&mut value.w, w.from(value_from, 0));
            }
            if let Some(adapter) = from.adapter {
                let a = View::rows(&self.book.get(adapter.a).value, from.cols);
                let b = View::rows(&self.book.get(adapter.b).value, adapter.rank);
                self.adapter(key, (b.from(key_from, 0).turned(), a.turned()), adapter);
                self.adapter(value, (a, b.from(value_from, 0)), adapter);
            }
        }
    }

    /// Packs A and B beside a matrix.
    fn adapter(self, to: &mut Linear, (a, b): (View<'_>, View<'_>), from: Adapter) {
        let Linear { w, adapter } = to;
        let zeros = |rows, cols| Panels::zeros(QuantType::F32, rows, cols);
        let adapter = adapter.get_or_insert_with(|| {
            Box::new(linear::Adapter {
                a: zeros(from.rank, w.cols()),
                b: zeros(w.rows(), from.rank),
                scale: from.scale,
                room: self.room.clone(),
            })
        });
        adapter.a.fill(self.pool, a);
        adapter.b.fill(self.pool, b);
    }

    fn dense(self, to: &mut ffn::dense::Dense, from: &Dense) {
        self.matrix(&mut to.gate, &from.gate);
        self.matrix(&mut to.up, &from.up);
        self.matrix(&mut to.down, &from.down);
    }

    fn moe(self, to: &mut ffn::moe::Moe, from: &Moe) {
        self.panels(&mut to.router, &from.router);
        if let (Some(to), Some(from)) = (&mut to.shared, &from.shared) {
            self.dense(to, from);
        }
        let ffn::moe::Experts::Resident(experts) = &mut to.experts else { return };
        for (Expert { gate, up, down }, from) in experts.iter_mut().zip(&from.experts) {
            self.matrix(gate, &from.gate);
            self.matrix(up, &from.up);
            self.matrix(down, &from.down);
        }
    }

    pub(super) fn vector(self, to: &mut [f32], from: &Vector) {
        to.copy_from_slice(from.value(self.book));
    }

    fn matrix(self, to: &mut Linear, from: &Matrix) {
        self.panels(&mut to.w, from);
        if let Some(adapter) = from.adapter {
            let a = View::rows(&self.book.get(adapter.a).value, from.cols);
            let b = View::rows(&self.book.get(adapter.b).value, adapter.rank);
            self.adapter(to, (a, b), adapter);
        }
    }

    pub(super) fn panels(self, to: &mut Panels, from: &Matrix) {
        if let Base::Learned(id) = from.base {
            self.fill(to, View::rows(&self.book.get(id).value, from.cols));
        }
    }

    fn fill(self, to: &mut Panels, from: View<'_>) {
        if to.quant_type() != QuantType::F32 {
            *to = Panels::zeros(QuantType::F32, to.rows(), to.cols());
        }
        to.fill(self.pool, from);
    }

    /// A matrix as rows of a file, which is how a decoder reads its embedding.
    pub(super) fn tensor(self, to: &mut Tensor, from: &Matrix) {
        let Base::Learned(id) = from.base else { return };
        let value = &self.book.get(id).value;
        let mut bytes = vec![0; 4 * value.len()];
        let row = 4 * from.cols;
        self.pool.for_chunks(&mut bytes, row, |i, bytes| {
            let numbers = &value[i * from.cols..][..from.cols];
            for (bytes, number) in bytes.chunks_exact_mut(4).zip(numbers) {
                bytes.copy_from_slice(&number.to_le_bytes());
            }
        });
        let (name, shape) = (to.name.clone(), to.shape.clone());
        *to =
            Tensor { name, quant: QuantType::F32, shape, bytes: Bytes::from(bytes), origin: None };
    }
}
