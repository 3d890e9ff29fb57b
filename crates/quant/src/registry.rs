//! The list of block formats: one line each, from which [`QuantType`] is made.

macro_rules! blocks {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $ggml:expr, $len:literal in $bytes:literal;)*) => {
        /// How the elements of a tensor are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum QuantType {
            $($(#[$doc])* $variant,)*
        }

        impl QuantType {
            /// Every format, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As ggml prints it: `q4_k`, `bf16`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The number of the type in a GGUF file; none if GGUF cannot hold it.
            pub fn ggml_id(self) -> Option<u32> {
                match self {
                    $(Self::$variant => $ggml,)*
                }
            }

            /// Weights in a block.
            pub fn block_len(self) -> usize {
                match self {
                    $(Self::$variant => $len,)*
                }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(Self::$variant => $bytes,)*
                }
            }
        }
    };
}

// Variant: name, ggml's number, weights in bytes.
blocks! {
    F32: "f32", Some(0), 1 in 4;
    F16: "f16", Some(1), 1 in 2;
    Bf16: "bf16", Some(30), 1 in 2;
    Q4_0: "q4_0", Some(2), 32 in 18;
    Q4_1: "q4_1", Some(3), 32 in 20;
    Q5_0: "q5_0", Some(6), 32 in 22;
    Q5_1: "q5_1", Some(7), 32 in 24;
    Q8_0: "q8_0", Some(8), 32 in 34;
    Q2K: "q2_k", Some(10), 256 in 84;
    Q3K: "q3_k", Some(11), 256 in 110;
    Q4K: "q4_k", Some(12), 256 in 144;
    Q5K: "q5_k", Some(13), 256 in 176;
    Q6K: "q6_k", Some(14), 256 in 210;
    Iq4Nl: "iq4_nl", Some(20), 32 in 18;
    Iq4Xs: "iq4_xs", Some(23), 256 in 136;
    /// FP8 E4M3; its 128×128 block scales are a tensor of their own.
    F8E4M3: "f8_e4m3", None, 1 in 1;
}

impl QuantType {
    /// The format of this name, in any case: `Q4_K` or `q4_k`. A mixture of formats, like
    /// `Q4_K_M`, is no format.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// The format with this number in a GGUF file; none if it is unknown or not one of ours
    /// ([`crate::ggml_type_name`] then says which).
    pub fn from_ggml_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.ggml_id() == Some(id))
    }

    /// Bytes of a row of `cols` weights; none if that is not whole blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bits that a weight takes, its share of the scales included.
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_format() {
        for &ty in QuantType::ALL {
            assert_eq!(QuantType::from_name(ty.name()), Some(ty));
            assert_eq!(QuantType::from_name(&ty.name().to_uppercase()), Some(ty));
            if let Some(id) = ty.ggml_id() {
                assert_eq!(QuantType::from_ggml_id(id), Some(ty));
            }
        }
        assert_eq!(QuantType::from_name("Q4_K_M"), None);
        assert_eq!(QuantType::from_ggml_id(9), None);
    }

    #[test]
    fn a_row_is_whole_blocks() {
        assert_eq!(QuantType::Q4K.row_bytes(512), Some(288));
        assert_eq!(QuantType::Q4K.row_bytes(0), Some(0));
        assert_eq!(QuantType::Q4K.row_bytes(500), None);
        assert_eq!(QuantType::F32.row_bytes(usize::MAX), None);
        assert_eq!(QuantType::Q6K.bits_per_weight(), 6.5625);
    }
}
