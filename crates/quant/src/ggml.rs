//! The numbers that ggml gives to tensor types, ours and the others.

/// What ggml calls the tensor type with this number, in lower case, whether or not a
/// [`crate::QuantType`] reads it: an error about a file names the type instead of its number.
pub fn ggml_type_name(id: u32) -> Option<&'static str> {
    GGML_TYPES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

/// Numbers are never reused: the types that ggml dropped stay listed, since old files have them.
const GGML_TYPES: [(u32, &str); 42] = [
    (0, "f32"),
    (1, "f16"),
    (2, "q4_0"),
    (3, "q4_1"),
    (4, "q4_2"),
    (5, "q4_3"),
    (6, "q5_0"),
    (7, "q5_1"),
    (8, "q8_0"),
    (9, "q8_1"),
    (10, "q2_k"),
    (11, "q3_k"),
    (12, "q4_k"),
    (13, "q5_k"),
    (14, "q6_k"),
    (15, "q8_k"),
    (16, "iq2_xxs"),
    (17, "iq2_xs"),
    (18, "iq3_xxs"),
    (19, "iq1_s"),
    (20, "iq4_nl"),
    (21, "iq3_s"),
    (22, "iq2_s"),
    (23, "iq4_xs"),
    (24, "i8"),
    (25, "i16"),
    (26, "i32"),
    (27, "i64"),
    (28, "f64"),
    (29, "iq1_m"),
    (30, "bf16"),
    (31, "q4_0_4_4"),
    (32, "q4_0_4_8"),
    (33, "q4_0_8_8"),
    (34, "tq1_0"),
    (35, "tq2_0"),
    (36, "iq4_nl_4_4"),
    (37, "iq4_nl_4_8"),
    (38, "iq4_nl_8_8"),
    (39, "mxfp4"),
    (40, "nvfp4"),
    (41, "q1_0"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QuantType;

    #[test]
    fn ours_have_the_numbers_that_ggml_gave_them() {
        for ty in QuantType::ALL {
            if let Some(id) = ty.ggml_id() {
                assert_eq!(ggml_type_name(id), Some(ty.name()));
            }
        }
        assert_eq!(ggml_type_name(39), Some("mxfp4"));
        assert_eq!(ggml_type_name(42), None);
    }
}
