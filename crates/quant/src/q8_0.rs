//! Q8_0: 32 weights share one f16 scale.
//!
//! ```text
//! w[i] = d · q[i]      d f16, q 32 × i8      34 bytes, 8.5 bits a weight
//! ```

use crate::coded::{CodeLayout, CodeValue, Coded, Unpacked, bytes_at, f16_at, put_f16};

pub(crate) struct Q8_0;

impl Coded<32, 34> for Q8_0 {
    const LAYOUT: CodeLayout = CodeLayout {
        sub_len: 32,
        bits: 8,
        value: CodeValue::Signed,
        has_mins: false,
        sub_scale_min: 1,
        sub_scale_max: 1,
    };

    #[inline(always)]
    fn unpack(block: &[u8; 34], out: &mut Unpacked) {
        out.scale = f16_at(block, 0);
        out.sub_scales[0] = 1;
        out.clear_mins();
        out.codes[..32].copy_from_slice(bytes_at::<32>(block, 2));
    }

    #[inline(always)]
    fn pack(fields: &Unpacked, block: &mut [u8; 34]) {
        put_f16(block, 0, fields.scale);
        block[2..].copy_from_slice(&fields.codes[..32]);
    }
}
