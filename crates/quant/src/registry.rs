//! The list of block formats: one line each, from which [`QuantType`] and the dispatch are made.

use crate::coded::{self, CodeLayout, Coded, Unpacked};
use crate::{fp8, iq4, plain, q2_k, q3_k, q4, q4_k, q5, q5_k, q6_k, q8_0};

macro_rules! blocks {
    (
        plain {
            $($(#[$plain_doc:meta])*
            $plain:ident: $plain_name:literal, $plain_ggml:expr, $plain_bytes:literal,
                $plain_type:ty;)*
        }
        coded {
            $($coded:ident: $name:literal, $ggml:literal, $len:literal in $bytes:literal,
                $type:ty;)*
        }
    ) => {
        /// How the elements of a tensor are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum QuantType {
            $($(#[$plain_doc])* $plain,)*
            $($coded,)*
        }

        impl QuantType {
            /// Every format, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$plain,)* $(Self::$coded,)*];

            /// As ggml prints it: `q4_k`, `bf16`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$plain => $plain_name,)*
                    $(Self::$coded => $name,)*
                }
            }

            /// The number of the type in a GGUF file; none if GGUF cannot hold it.
            pub fn ggml_id(self) -> Option<u32> {
                match self {
                    $(Self::$plain => $plain_ggml,)*
                    $(Self::$coded => Some($ggml),)*
                }
            }

            /// Weights in a block.
            pub fn block_len(self) -> usize {
                match self {
                    $(Self::$plain => 1,)*
                    $(Self::$coded => $len,)*
                }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(Self::$plain => $plain_bytes,)*
                    $(Self::$coded => $bytes,)*
                }
            }

            /// What the codes of a block stand for; none if a block is a single number.
            pub fn code_layout(self) -> Option<CodeLayout> {
                match self {
                    $(Self::$plain => None,)*
                    $(Self::$coded => Some(<$type as Coded<$len, $bytes>>::LAYOUT),)*
                }
            }
        }

        /// out (N) = the weights in `bytes` (N / block_len blocks).
        ///
        /// Any bytes decode: a scale that is not finite gives weights that are not. Panics if the
        /// lengths don't match, or if either isn't whole blocks.
        pub fn decode(ty: QuantType, bytes: &[u8], out: &mut [f32]) {
            match ty {
                $(QuantType::$plain => plain::decode::<$plain_type, $plain_bytes>(bytes, out),)*
                $(QuantType::$coded => coded::decode::<$type, $len, $bytes>(bytes, out),)*
            }
        }

        /// out (N / block_len blocks) = blocks near `weights` (N).
        ///
        /// Single numbers round to the nearest, F16 and BF16 to infinity beyond their range, FP8
        /// to its largest. Formats with codes search for scales of little error; in them a NaN
        /// counts as zero, an infinity as the largest f32, and what the scale can't reach
        /// saturates. The same weights give the same bytes. Panics if the lengths don't match,
        /// or if either isn't whole blocks.
        pub fn encode(ty: QuantType, weights: &[f32], out: &mut [u8]) {
            match ty {
                $(QuantType::$plain => plain::encode::<$plain_type, $plain_bytes>(weights, out),)*
                $(QuantType::$coded => coded::encode::<$type, $len, $bytes>(weights, out),)*
            }
        }

        /// out = the fields of one block (block_bytes).
        ///
        /// Panics if `block` isn't one block, or if `ty` has no codes
        /// ([`QuantType::code_layout`]).
        // Where the type is a constant, all else goes.
        #[inline(always)]
        pub fn unpack(ty: QuantType, block: &[u8], out: &mut Unpacked) {
            match ty {
                $(QuantType::$plain)|* => panic!("{} has no codes", ty.name()),
                $(QuantType::$coded => {
                    let block = block.try_into().expect("the bytes of one block");
                    <$type as Coded<$len, $bytes>>::unpack(block, out);
                })*
            }
        }

        /// block (block_bytes) = the block of these fields, the opposite of [`unpack`]: their
        /// codes and sub-block fields within the ranges of [`CodeLayout`], `scale` and `min`
        /// values that an f16 holds.
        ///
        /// Panics if `block` isn't one block, or if `ty` has no codes.
        pub fn pack(ty: QuantType, fields: &Unpacked, block: &mut [u8]) {
            match ty {
                $(QuantType::$plain)|* => panic!("{} has no codes", ty.name()),
                $(QuantType::$coded => {
                    let block = block.try_into().expect("the bytes of one block");
                    <$type as Coded<$len, $bytes>>::pack(fields, block);
                })*
            }
        }
    };
}

blocks! {
    // Variant: name, ggml's number, bytes of a weight, implementation.
    plain {
        F32: "f32", Some(0), 4, plain::F32;
        F16: "f16", Some(1), 2, plain::F16;
        Bf16: "bf16", Some(30), 2, plain::Bf16;
        /// FP8 E4M3; its 128×128 block scales are a tensor of their own.
        F8E4M3: "f8_e4m3", None, 1, fp8::F8E4M3;
    }
    // Variant: name, ggml's number, weights in bytes of a block, implementation.
    coded {
        Q4_0: "q4_0", 2, 32 in 18, q4::Q4_0;
        Q4_1: "q4_1", 3, 32 in 20, q4::Q4_1;
        Q5_0: "q5_0", 6, 32 in 22, q5::Q5_0;
        Q5_1: "q5_1", 7, 32 in 24, q5::Q5_1;
        Q8_0: "q8_0", 8, 32 in 34, q8_0::Q8_0;
        Q2K: "q2_k", 10, 256 in 84, q2_k::Q2K;
        Q3K: "q3_k", 11, 256 in 110, q3_k::Q3K;
        Q4K: "q4_k", 12, 256 in 144, q4_k::Q4K;
        Q5K: "q5_k", 13, 256 in 176, q5_k::Q5K;
        Q6K: "q6_k", 14, 256 in 210, q6_k::Q6K;
        Iq4Nl: "iq4_nl", 20, 32 in 18, iq4::Iq4Nl;
        Iq4Xs: "iq4_xs", 23, 256 in 136, iq4::Iq4Xs;
    }
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
