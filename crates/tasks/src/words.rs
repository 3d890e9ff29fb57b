//! Numbers in words.

use crate::Language;

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const DIGITS: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

/// A number from 0 to 99 in words; another in digits.
pub(crate) fn number(n: i64, language: Language) -> String {
    let Ok(n @ 0..=99) = usize::try_from(n) else {
        return n.to_string();
    };
    let (tens, ones) = (n / 10, n % 10);
    match language {
        Language::English if n < 20 => ONES[n].into(),
        Language::English if ones == 0 => TENS[tens].into(),
        Language::English => format!("{}-{}", TENS[tens], ONES[ones]),
        Language::Chinese => {
            let ten = match tens {
                0 => String::new(),
                1 => "十".into(),
                _ => format!("{}十", DIGITS[tens]),
            };
            let one = if tens > 0 && ones == 0 { "" } else { DIGITS[ones] };
            format!("{ten}{one}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled() {
        let english = [0, 13, 20, 47].map(|n| number(n, Language::English));
        assert_eq!(english, ["zero", "thirteen", "twenty", "forty-seven"]);
        let chinese = [0, 7, 10, 13, 20, 47].map(|n| number(n, Language::Chinese));
        assert_eq!(chinese, ["零", "七", "十", "十三", "二十", "四十七"]);
    }
}
