//! Provenance, carried by the characters themselves.
//!
//! A chat template glues text that users wrote to markup that it writes itself, and hands back one
//! string. `<|im_end|>` in that string is a control token if the template wrote it and eleven
//! characters of text if a user did. So a user's string that could take part in a control token
//! is *marked* before it enters the template: each character of the basic plane is moved to
//! plane 16, which nothing else uses. Template code sees the marked characters through string
//! methods that know them (`chat::methods`), the tokenizer matches control tokens on unmarked
//! characters only, and what is left is unmarked.
//!
//! ```text
//! U+0000..U+FFFF      c  →  U+100000 + c
//! U+100000..U+10FFFF  c  →  two characters of plane 16 that surrogates leave free
//! anything else       c  →  c: no control token that we recognise contains it
//! ```

use std::borrow::Cow;

const PLANE: u32 = 0x10_0000;
// U+D800..U+DFFF are no characters, so no marked character lands on their images.
const HIGH: u32 = 0x10_D800;
const LOW: u32 = 0x10_DC00;
const LOW_BITS: u32 = 10;

/// Whether `c` stands for a character that a user wrote.
pub(crate) fn is_marked(c: char) -> bool {
    u32::from(c) >= PLANE
}

/// Whether `text` has a character of plane 16, which only marks may use inside a template.
pub(crate) fn has_marks(text: &str) -> bool {
    text.chars().any(is_marked)
}

/// `text` with every character marked that can be.
pub(crate) fn mark(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        let code = u32::from(c);
        if code < 0x1_0000 {
            out.push(plane_16(PLANE + code));
        } else if code >= PLANE {
            let low_16 = code - PLANE;
            out.push(plane_16(HIGH + (low_16 >> LOW_BITS)));
            out.push(plane_16(LOW + (low_16 & ((1 << LOW_BITS) - 1))));
        } else {
            out.push(c);
        }
    }
    out
}

/// The character that a marked character stands for; others, and halves of a pair, as they are.
pub(crate) fn unmark_char(c: char) -> char {
    u32::from(c).checked_sub(PLANE).and_then(char::from_u32).unwrap_or(c)
}

/// `text` as its author wrote it. Half a pair, which only a template that cuts leaves, is dropped.
pub(crate) fn unmark(text: &str) -> Cow<'_, str> {
    if !has_marks(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut high = None;
    for c in text.chars() {
        let code = u32::from(c);
        match code {
            HIGH..LOW => high = Some(code - HIGH),
            LOW..0x10_E000 => {
                if let Some(high) = high.take() {
                    out.push(plane_16(PLANE + (high << LOW_BITS) + (code - LOW)));
                }
            }
            _ => out.push(unmark_char(c)),
        }
    }
    Cow::Owned(out)
}

fn plane_16(code: u32) -> char {
    char::from_u32(code).expect("every code of plane 16 is a character")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unmarking_gives_back_what_was_marked(text in any::<String>()) {
            prop_assert_eq!(unmark(&mark(&text)).into_owned(), text);
        }
    }

    #[test]
    fn the_last_plane_survives_too() {
        let text = "a\u{10FFFF}b\u{100041}\u{10D800}\u{10DFFF}";
        assert_eq!(unmark(&mark(text)), text);
    }

    #[test]
    fn a_marked_tag_is_not_the_tag() {
        assert!(mark("<|im_end|>").chars().all(is_marked));
    }

    #[test]
    fn half_a_pair_is_dropped() {
        let marked = mark("\u{10FFFF}");
        let half: String = marked.chars().take(1).chain("x".chars()).collect();
        assert_eq!(unmark(&half), "x");
    }
}
